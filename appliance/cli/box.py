"""Commands that talk to a running box: deploy, apps, predict."""

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Column, Table

from appliance.api import shapes
from appliance.bundles import Bundle, read_bundle, write_bundle
from appliance.cli.options import Json, State, connect, console, print_json, read_file
from appliance.client import Client, Refused
from appliance.drops import manifest_beside, signature_beside
from appliance.golden import files_named
from appliance.manifests import name_from, parse_app_manifest


def add_to(app: typer.Typer) -> None:
    app.command("deploy")(deploy)
    app.command("apps")(apps)
    app.command("predict")(predict)


def deploy(
    guest: Annotated[
        Path, typer.Argument(help="A .wasm, or a .zip or .tar.gz with it and an app.toml.")
    ],
    name: Annotated[
        str | None, typer.Option(help="The app's name; else the manifest's, else the file's.")
    ] = None,
    manifest: Annotated[
        Path | None,
        typer.Option(help="Its app.toml; else the one in the bundle or beside the guest."),
    ] = None,
    state: State = None,
) -> None:
    """Put a guest on the box; it answers when this returns. A signature beside it goes along."""
    bundle = bundle_of(guest, manifest)
    content = bundle.wasm
    if bundle.manifest is not None:
        name = name or parse_app_manifest(bundle.manifest, default_name=guest.name).name
    if bundle.manifest is not None or bundle.signature is not None:
        content = write_bundle(bundle.wasm, bundle.manifest, bundle.signature, bundle.files)
    with connect(state) as box:
        done = box.deploy(name or name_from(guest.name), content)
    what = "deployed" if done.is_new else "was live already"
    console.print(f"{done.name} {done.version} {what}")


def bundle_of(guest: Path, manifest: Path | None) -> Bundle:
    """Read what the user named, with the manifest beside it and the files that this names.

    manifest: another app.toml than the one in the bundle or beside it.
    Raises: BadRequest for what cannot be read; else as `read_bundle`.
    """
    signed = signature_beside(guest)
    bundle = read_bundle(read_file(guest)).signed(read_file(signed) if signed.is_file() else None)
    lying = manifest_beside(guest)
    # As in the inbox: one inside a bundle beats one beside it.
    if manifest is None and bundle.manifest is None and lying.is_file():
        manifest = lying
    if manifest is None:
        return bundle
    text = read_file(manifest)
    files = {name: read_file(manifest.parent / name) for name in files_named(text)}
    return Bundle(bundle.wasm, text, bundle.signature, files)


def apps(state: State = None, as_json: Json = False) -> None:
    """List the apps."""
    with connect(state) as box:
        listed = box.apps()
    if as_json:
        print_json(listed)
        return
    # Names stay whole in a narrow terminal; the error is what gives way.
    columns = [Column(name, no_wrap=True) for name in ("app", "version", "state", "mode")]
    table = Table(*columns, "frames", "predictions", "failed", "last error")
    for app in listed:
        table.add_row(
            app.name, app.version, _state_of(app), app.mode or "", str(app.frames),
            str(app.predictions), str(sum(app.failures.values())),
            app.last_deploy_error or app.last_error,
        )  # fmt: skip
    console.print(table if listed else "no app is deployed")


def _state_of(app: shapes.App) -> str:
    """Say how an app is, and what is on the way to it."""
    if app.deploying is None:
        return app.state
    return f"{app.state}, {app.deploying.version} {app.deploying.stage}"


def predict(
    pictures: Annotated[list[Path], typer.Argument(help="JPEG, PNG or WebP files.")],
    app: Annotated[str, typer.Option(help="Which app to ask.")] = "classifier",
    state: State = None,
    as_json: Json = False,
) -> None:
    """Show pictures to an app and print what it says."""
    with connect(state) as box:
        answers = [(picture, _ask(box, app, picture)) for picture in pictures]
    if as_json:
        for picture, answer in answers:
            typer.echo(json.dumps({"picture": str(picture), **answer.model_dump()}))
        return
    console.print(answer_table(answers))


def _ask(box: Client, app: str, picture: Path) -> shapes.Answer:
    try:
        return box.predict(app, read_file(picture))
    except Refused as exc:
        # Of ten pictures the user must find the one.
        raise exc.about(str(picture)) from exc


def answer_table(answers: list[tuple[Path, shapes.Answer]]) -> Table:
    """Show answers to pictures: one line a picture, its best labels and where the time went."""
    table = Table("picture", "top labels", "guest ms", "total ms")
    for picture, answer in answers:
        timing = answer.timing_ms
        lines = [line for p in answer.predictions for line in _labels_of(p)]
        table.add_row(
            picture.name, "\n".join(lines[:3]) or "-", f"{timing.guest:.1f}",
            f"{timing.total:.1f}", end_section=True,
        )  # fmt: skip
    return table


def _labels_of(prediction: shapes.Prediction) -> list[str]:
    """Say a prediction in a line or more: its top list, its label, or its text."""
    data = prediction.data
    top = data.get("top")
    if isinstance(top, list) and all(isinstance(t, dict) and "label" in t for t in top):
        return [_scored(t["label"], t.get("score")) for t in top]
    if prediction.label is not None:
        return [_scored(prediction.label, prediction.score)]
    return [str(data.get("text", json.dumps(data)))]


def _scored(label: object, score: object) -> str:
    return f"{label} {score:.3f}" if isinstance(score, float) else str(label)
