"""Commands that talk to a running box: deploy, apps, predict, predictions."""

import json
import time
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Column, Table

from appliance.bundles import read_bundle, write_bundle
from appliance.cli.options import State, connect, console, read_file
from appliance.client import Client, Refused
from appliance.manifests import name_from, parse_app_manifest

Json = Annotated[bool, typer.Option("--json", help="Print JSON, one object a line.")]


def add_to(app: typer.Typer) -> None:
    app.command("deploy")(deploy)
    app.command("apps")(apps)
    app.command("predict")(predict)
    app.command("predictions")(predictions)


def deploy(
    guest: Annotated[Path, typer.Argument(help="A .wasm, or a .zip with one and an app.toml.")],
    name: Annotated[
        str | None, typer.Option(help="The app's name; else the manifest's, else the file's.")
    ] = None,
    manifest: Annotated[
        Path | None,
        typer.Option(help="Its app.toml; else the one in the .zip or beside the guest."),
    ] = None,
    state: State = None,
) -> None:
    """Put a guest on the box; it answers when this returns."""
    content = read_file(guest)
    bundle = read_bundle(content)
    beside = guest.with_suffix(".toml")
    # As in the inbox: one inside a bundle beats one beside it.
    if manifest is None and bundle.manifest is None and beside.is_file():
        manifest = beside
    text = bundle.manifest if manifest is None else read_file(manifest)
    if text is not None:
        name = name or parse_app_manifest(text, default_name=guest.name).name
        content = write_bundle(bundle.wasm, text)
    with connect(state) as box:
        done = box.deploy(name or name_from(guest.name), content)
    what = "deployed" if done["is_new"] else "was live already"
    console.print(f"{done['name']} {done['version']} {what}")


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
            app["name"], app["version"], app["state"], app["mode"] or "",
            str(app["frames"]), str(app["predictions"]), str(sum(app["failures"].values())),
            app["last_deploy_error"] or app["last_error"],
        )  # fmt: skip
    console.print(table if listed else "no app is deployed")


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
        print_json([{"picture": str(picture), **answer} for picture, answer in answers])
        return
    console.print(answer_table(answers))


def _ask(box: Client, app: str, picture: Path) -> dict[str, Any]:
    try:
        return box.predict(app, read_file(picture))
    except Refused as exc:
        # Of ten pictures the user must find the one.
        raise Refused(f"{picture}: {exc}") from exc


def answer_table(answers: list[tuple[Path, dict[str, Any]]]) -> Table:
    """Show answers to pictures: one line a picture, its best labels and where the time went."""
    table = Table("picture", "top labels", "guest ms", "total ms")
    for picture, answer in answers:
        timing = answer["timing_ms"]
        lines = [line for p in answer["predictions"] for line in _labels_of(p)]
        table.add_row(
            picture.name, "\n".join(lines[:3]) or "-", f"{timing['guest']:.1f}",
            f"{timing['total']:.1f}", end_section=True,
        )  # fmt: skip
    return table


def _labels_of(prediction: dict[str, Any]) -> list[str]:
    """Say a prediction in a line or more: its top list, its label, or its text."""
    data = prediction["data"]
    top = data.get("top")
    if isinstance(top, list) and all(isinstance(t, dict) and "label" in t for t in top):
        return [_scored(t["label"], t.get("score")) for t in top]
    if prediction["label"] is not None:
        return [_scored(prediction["label"], prediction["score"])]
    return [str(data.get("text", json.dumps(data)))]


def _scored(label: object, score: object) -> str:
    return f"{label} {score:.3f}" if isinstance(score, float) else str(label)


def predictions(
    app: str | None = None,
    camera: str | None = None,
    label: str | None = None,
    min_score: float | None = None,
    limit: Annotated[int, typer.Option(min=1, max=1000)] = 20,
    state: State = None,
    as_json: Json = False,
) -> None:
    """Query the history, newest first."""
    with connect(state) as box:
        page = box.predictions(
            app=app, camera=camera, label=label, min_score=min_score, limit=limit
        )
    if as_json:
        print_json(page["predictions"])
        return
    table = Table("id", "when", "app", "camera", "frame", "label", "score")
    for row in page["predictions"]:
        when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(row["captured_at"]))
        score = "" if row["score"] is None else f"{row['score']:.3f}"
        table.add_row(
            str(row["id"]), when, row["app"], row["source"], str(row["sequence"]),
            row["label"] or "", score,
        )  # fmt: skip
    console.print(table if page["predictions"] else "no prediction matches")


def print_json(rows: list[dict[str, Any]]) -> None:
    for row in rows:
        typer.echo(json.dumps(row))
