"""An app is tried: linked, instantiated with its limits, and shown a picture. Runs apart."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import wasmtime

from appliance.errors import (
    ApplianceError,
    BadGuest,
    BadPicture,
    FailureReason,
    GuestFailed,
)
from appliance.golden import AppSample, top_of
from appliance.guests.command import CommandRunner
from appliance.guests.engine import GuestEngine
from appliance.guests.program import Host, Program, make_program
from appliance.guests.reactor import ReactorRunner
from appliance.guests.runner import Runner
from appliance.manifests import AppManifest, Mode, parse_app_manifest
from appliance.models import ModelRepository
from appliance.pictures import decode
from appliance.policies import PolicySettings
from appliance.records import Frame, Prediction, prediction_from_output
from appliance.settings import AppLimits
from appliance.trials.registries import NotingCatalogue, backends_named, load_modestly
from wasi_nn.executor import DirectExecutor
from wasi_nn.registry import Registry

INSTANTIATE, SHOW = "instantiate", "show"
# About our picture nobody needs an answer; a guest that loops should not hold the deploy for long.
OWN_PICTURE_S = 5.0
_SOURCE = "trial"


@dataclass(frozen=True, slots=True)
class AppErrand:
    """What to try.

    name: if the manifest has none.   limits: the box's defaults, as JSON.   models: the roots of
    the repository.   scratch: for a command's frame.
    """

    name: str
    counts_fuel: bool
    limits: dict[str, Any]
    allow_fallback: bool
    max_pixels: int
    models: list[str]
    backends: list[str]
    scratch: str


def shown_deadline_s(manifest: AppManifest, defaults: AppLimits) -> float:
    """How long the guest may take for the picture."""
    own_s = manifest.limits_over(defaults).deadline_s
    return own_s if manifest.sample is not None else min(own_s, OWN_PICTURE_S)


def try_app(
    asked: AppErrand, blobs: Sequence[bytes], on_stage: Callable[[str], None]
) -> dict[str, Any]:
    """Try an app. blobs: its compiled code, its app.toml, the picture, the policy.

    Returns: label, score, warnings, models asked for.
    Raises: BadGuest, GuestFailed, BadPicture.
    """
    code, text, picture, policy = blobs
    on_stage(INSTANTIATE)
    manifest = parse_app_manifest(text, default_name=asked.name)
    defaults = AppLimits.model_validate(asked.limits)
    shown_s = shown_deadline_s(manifest, defaults)
    engine = GuestEngine(counts_fuel=asked.counts_fuel)
    engine.start()
    noting = NotingCatalogue(ModelRepository([Path(root) for root in asked.models]))
    registry = Registry(backends_named(asked.backends), noting, load_modestly)
    granted = PolicySettings.model_validate_json(policy)
    host = Host(engine, registry, DirectExecutor(), defaults, asked.allow_fallback, granted)
    program = make_program(host, wasmtime.Module.deserialize(engine.engine, code), manifest)
    runner = _runner(program, Path(asked.scratch), shown_s)
    on_stage(SHOW)
    seen = _show(runner, _frame(picture, manifest.sample, asked.max_pixels), manifest)
    return {**seen, "models": noting.noted}


def _runner(program: Program, scratch: Path, shown_s: float) -> Runner:
    """Instantiate under the app's own deadline, and make what shows the picture under another."""
    limits = program.limits.model_copy(update={"deadline_s": shown_s})
    shown = replace(program, limits=limits)
    if program.mode is not Mode.REACTOR:
        return CommandRunner(shown, scratch)
    started = ReactorRunner(program, 1)
    started.warm_up()
    if limits == program.limits:
        return started
    started.close()
    return ReactorRunner(shown, 1)


def _frame(picture: bytes, sample: AppSample | None, max_pixels: int) -> Frame:
    try:
        pixels, media_type = decode(picture, max_pixels=max_pixels)
    except BadPicture as exc:
        name = "the box's own" if sample is None else sample.picture
        raise BadPicture(f"sample {name}: {exc}") from exc
    return Frame(_SOURCE, 0, time.time(), time.monotonic(), pixels, picture, media_type)


def _show(runner: Runner, frame: Frame, manifest: AppManifest) -> dict[str, Any]:
    """Show the picture. Without a sample it is the box's, which the guest may not want."""
    sample = manifest.sample
    try:
        answer = runner.run(frame)
    except ApplianceError as exc:
        if sample is not None:
            raise _about(sample, exc) from exc
        return _seen((), [_warning(exc)])
    predictions = [
        prediction_from_output(
            output, app=manifest.name, version="trial", frame=frame, emitted_at=frame.captured_at
        )
        for output in answer.outputs
    ]
    complaint = "" if sample is None else sample.complaint(predictions)
    if complaint:
        raise BadGuest(f"guest: {complaint}; is it the right model, and its preprocessing?")
    return _seen(predictions, [])


def _about(sample: AppSample, error: ApplianceError) -> ApplianceError:
    sentence = f"sample {sample.picture}: {error}"
    if isinstance(error, GuestFailed):
        return GuestFailed(sentence, reason=error.reason)
    return BadGuest(sentence)


def _warning(error: ApplianceError) -> str:
    if isinstance(error, GuestFailed) and error.reason is FailureReason.DEADLINE:
        return (
            f"no answer about the box's own picture within {OWN_PICTURE_S:g} s or the app's "
            "deadline; give it a [sample] to be sure"
        )
    return f"failed on the box's own picture: {error}; give it a [sample] to be sure"


def _seen(predictions: Sequence[Prediction], warnings: list[str]) -> dict[str, Any]:
    best = top_of(predictions)
    return {
        "label": None if best is None else best.label,
        "score": None if best is None else best.score,
        "warnings": warnings,
    }
