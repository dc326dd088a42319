"""`appliance check`: try an app or a model as the box would, without a box."""

import logging
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from appliance.cli.box import bundle_of
from appliance.cli.options import Json, State, console, printable, settings_of
from appliance.drops import bring, is_folder, is_model, stem_of, suffix_of
from appliance.errors import BadRequest
from appliance.guests.aot import AotCache
from appliance.guests.engine import GuestEngine
from appliance.manifests import load_model_folder, name_from, parse_app_manifest
from appliance.settings import Settings
from appliance.shipped import models_folder
from appliance.trials import trials as room
from appliance.trials.book import Trial
from appliance.trials.trials import Surroundings, Trials
from appliance.unpacking import Bounds, model_root
from wasi_nn.backends import all_backends


def add_to(app: typer.Typer) -> None:
    app.command("check")(check)


def check(
    source: Annotated[
        Path,
        typer.Argument(
            help="An app: .wasm or bundle; or a model: folder, archive, .onnx, .tflite."
        ),
    ],
    manifest: Annotated[
        Path | None, typer.Option(help="Its app.toml; else the one in the bundle or beside it.")
    ] = None,
    state: State = None,
    as_json: Json = False,
) -> None:
    """Try an app or a model as a box would before it lets it answer; nothing is deployed."""
    settings = settings_of(state)
    # What it warns of is printed below.
    logging.getLogger(room.__name__).setLevel(logging.ERROR)
    if not source.exists():
        raise BadRequest(f"{source}: no such file or folder")
    with tempfile.TemporaryDirectory(prefix="appliance-check-") as name:
        folder = Path(name)
        trials = _trials(settings, folder)
        if is_folder(source) or _is_model_file(source, settings):
            _check_model(trials, source, folder / "model", settings, as_json=as_json)
        else:
            _check_app(trials, source, manifest, as_json=as_json)


def _is_model_file(source: Path, settings: Settings) -> bool:
    # Whatever has no name of ours is taken for a guest, as by `deploy`.
    return bool(suffix_of(source)) and is_model(source, settings.max_model_bytes)


def _trials(settings: Settings, folder: Path) -> Trials:
    engine = GuestEngine()
    place = Surroundings(
        (settings.models, models_folder()), tuple(b.name for b in all_backends()), folder,
        settings.limits, settings.max_pixels, settings.allow_device_fallback, settings.policy,
    )  # fmt: skip
    return Trials(place, AotCache(folder / "aot", engine), engine, folder / "trials.json")


def _check_app(trials: Trials, guest: Path, manifest: Path | None, *, as_json: bool) -> None:
    bundle = bundle_of(guest, manifest)
    parsed = parse_app_manifest(bundle.manifest or b"", default_name=guest.name)
    trial = trials.app(bundle, parsed)
    if as_json:
        console.print_json(data={
            "app": parsed.name, "version": bundle.version, "seconds": round(trial.seconds, 3),
            "picture": trial.picture, "label": trial.label, "score": trial.score,
            "models": list(trial.models), "warnings": list(trial.warnings),
        })  # fmt: skip
        return
    console.print(f"{parsed.name} {bundle.version} is good; tried in {trial.seconds:.1f} s")
    console.print(_said(trial), markup=False)
    if trial.models:
        console.print(f"models: {printable(', '.join(trial.models))}", markup=False)
    for warning in trial.warnings:
        console.print(f"warning: {printable(warning)}", markup=False)


def _said(trial: Trial) -> str:
    picture = f"its sample {trial.picture}" if trial.picture else "the box's own picture"
    if trial.label is None:
        return f"{picture}: no label"
    score = "" if trial.score is None else f" {trial.score:.3f}"
    return f"{picture}: {printable(trial.label)}{score}"


def _check_model(
    trials: Trials, source: Path, target: Path, settings: Settings, *, as_json: bool
) -> None:
    bring(source, target, Bounds(settings.max_model_bytes))
    root = model_root(target)
    default = name_from(stem_of(source.resolve()))
    manifest = load_model_folder(root, default_name=default, is_verified=True).manifest
    trial = trials.model(root, manifest.name, manifest.version)
    if as_json:
        console.print_json(data={
            "model": manifest.name, "version": manifest.version, "loaded": list(trial.loaded),
            "untried": list(trial.untried),
        })  # fmt: skip
        return
    console.print(f"{manifest.name}:{manifest.version} is good; loads as {', '.join(trial.loaded)}")
    if trial.untried:
        console.print(f"not tried, this box has no runtime: {', '.join(trial.untried)}")
