"""`appliance models`: list them; `add`, `remove`, `show` and `sample` for one."""

import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, BinaryIO

import typer
from rich.table import Table

from appliance.api import shapes
from appliance.cli.manage import Yes, confirm
from appliance.cli.meters import graph_name
from appliance.cli.options import Json, State, connect, console, print_json, read_file
from appliance.errors import BadModel, BadRequest
from appliance.manifests import (
    MAX_MANIFEST_BYTES,
    MODEL_MANIFEST,
    ModelManifest,
    load_model_folder,
    name_from,
    parse_model_manifest,
)
from appliance.unpacking import find_in

Name = Annotated[str, typer.Argument(help="The model's name.")]
Version = Annotated[str, typer.Argument(help="The version.")]

commands = typer.Typer(invoke_without_command=True)


def add_to(app: typer.Typer) -> None:
    app.add_typer(commands, name="models")


@commands.callback()
def models(context: typer.Context, state: State = None, as_json: Json = False) -> None:
    """List the box's models, and where those in use compute; or change them."""
    if context.invoked_subcommand is not None:
        if state is not None or as_json:
            raise BadRequest(f"models: say options after {context.invoked_subcommand}")
        return
    with connect(state) as box:
        listed = box.models()
    if as_json:
        print_json([listed])
        return
    repository = Table("model", "version", "encodings, the preferred first", "licence")
    repository.columns[0].no_wrap = True
    for model in listed.models:
        encodings = ", ".join(model.encodings) or f"broken: {model.reason}"
        repository.add_row(model.name, model.version, encodings, model.licence)
    console.print(repository)
    graphs = Table("loaded graph", "backend, device", "plan", "rows", "a run")
    graphs.columns[0].no_wrap = True
    for graph in listed.graphs:
        device = graph.device
        if device != graph.asked:
            device += f" (asked for {graph.asked})"
        graphs.add_row(graph_name(graph), f"{graph.backend}, {device}", *_work_of(graph))
    console.print(graphs)
    console.print(
        f"{listed.loads} loads, {listed.hits} answered by the cache, {listed.failures} refused"
    )


def _work_of(graph: shapes.Graph) -> tuple[str, str, str]:
    """Say how a graph is run and what it did: plan, rows, rows a run.

    The plan: runs side by side x threads of each, rows of a full batch, rows per second.
    """
    plan, counts = graph.plan, graph.counts
    planned = (
        f"{plan.parallel} x {plan.threads}, batch {plan.max_batch_rows}: {plan.rows_per_s:.0f}/s"
        if plan is not None
        else "not measured"
    )
    if counts is None or not counts.executions:
        return planned, "0", ""
    return planned, str(counts.rows), f"{counts.rows / counts.executions:.2f}"


@commands.command("add")
def add(
    source: Annotated[
        Path, typer.Argument(help="A folder with the model's files, or a .tar, .tar.gz or .zip.")
    ],
    name: Annotated[
        str | None, typer.Option(help="The name; else the manifest's, else the file's.")
    ] = None,
    version: Annotated[
        str | None, typer.Option(help="The version; else the manifest's, else 1.")
    ] = None,
    state: State = None,
) -> None:
    """Upload a model; the box checks it, and loads it for trial, before anybody finds it."""
    said = _manifest_of(source)
    name = name or (name_from(source.resolve().name) if said is None else said.name)
    version = version or ("1" if said is None else said.version)
    with connect(state) as box, _packed(source) as archive:
        done = box.upload_model(name, version, archive)
    console.print(f"{done.name}:{done.version} added; loads as {', '.join(done.loaded)}")
    if done.untried:
        console.print(f"not tried, this box has no runtime: {', '.join(done.untried)}")
    if not done.is_default:
        console.print(f"a higher version remains what {done.name} means")


def _manifest_of(source: Path) -> ModelManifest | None:
    """Read the model.toml of a folder or an archive; None if it has none."""
    default = source.resolve().name
    if source.is_dir():
        return load_model_folder(source, default_name=default).manifest
    if not source.is_file():
        raise BadRequest(f"{source}: no such file or folder")
    text = find_in(source, MODEL_MANIFEST, MAX_MANIFEST_BYTES)
    return None if text is None else parse_model_manifest(text, default_name=default)


@contextmanager
def _packed(source: Path) -> Iterator[BinaryIO]:
    """Open an archive, or make one of a folder, for the block."""
    try:
        with source.open("rb") if source.is_file() else tempfile.TemporaryFile() as packed:
            # Of a gigabyte, so not in memory; and plain, for weights do not compress.
            if source.is_dir():
                _pack(source, packed)
            yield packed
    except OSError as exc:
        raise BadRequest(f"{source}: {exc.strerror}") from exc


def _pack(source: Path, packed: BinaryIO) -> None:
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for path in sorted(p for p in source.rglob("*") if p.is_file()):
            relative = path.relative_to(source)
            if not any(part.startswith(".") for part in relative.parts):
                archive.add(path.resolve(), relative.as_posix(), recursive=False)
    packed.seek(0)


@commands.command("remove")
def remove(name: Name, version: Version, yes: Yes = False, state: State = None) -> None:
    """Delete a version that was uploaded; apps that use it now go on with it."""
    confirm(f"Delete {name}:{version}?", is_sure=yes)
    with connect(state) as box:
        box.delete_model(name, version)
    console.print(f"{name}:{version} deleted")


@commands.command("show")
def show(name: Name, state: State = None, as_json: Json = False) -> None:
    """Say all about a model, version by version."""
    with connect(state) as box:
        detail = box.model(name)
    if as_json:
        print_json([detail])
        return
    for version in detail.versions:
        table = Table(show_header=False, box=None)
        for key, value in _lines_of(version):
            table.add_row(key, value)
        console.print(table)
        console.print()


def _lines_of(version: shapes.ModelDetail) -> list[tuple[str, str]]:
    marks = [
        word for word, is_so in (("default", version.is_default), ("shipped",
        version.is_shipped)) if is_so
    ]  # fmt: skip
    lines = [
        ("model", f"{version.name}:{version.version}"),
        ("", ", ".join(marks)),
        ("state", version.state + (f": {version.reason}" if version.reason else "")),
        ("title", version.title),
        ("licence", version.licence),
        ("origin", version.origin),
        ("size", f"{version.size_bytes / 1e6:.1f} MB"),
    ]
    for image in version.inputs:
        width, height = image.size_wh
        lines.append(
            (
                f"input {image.name}",
                f"{image.type} {width}x{height} {image.color}, {image.resize}, crop "
                f"{image.crop_fraction:g}, mean {image.mean}, std {image.std}",
            )
        )
    for output in version.outputs:
        lines.append((f"output {output.name}", f"{output.kind}, {output.labels} labels"))
    for file in version.files:
        lines.append((file.encoding, f"{file.layout}, {', '.join(file.paths)}"))
    for graph in version.graphs:
        lines.append(("loaded", f"{graph.encoding} by {graph.backend}, {graph.device}"))
    return [(key, value) for key, value in lines if value]


@commands.command("sample")
def sample(
    name: Name,
    picture: Annotated[
        Path | None, typer.Argument(help="JPEG, PNG or WebP; else the model's own sample.")
    ] = None,
    version: Annotated[str | None, typer.Option(help="The default version else.")] = None,
    encoding: Annotated[str | None, typer.Option(help="Such as onnx; the preferred else.")] = None,
    state: State = None,
    as_json: Json = False,
) -> None:
    """Show a picture to a model, without an app."""
    content = None if picture is None else read_file(picture)
    with connect(state) as box:
        seen = box.sample(name, content, version=version, encoding=encoding)
    if as_json:
        print_json([seen])
    else:
        table = Table("label", "score")
        for score in seen.top:
            table.add_row(score.label or f"class {score.index}", f"{score.score:.3f}")
        console.print(table)
        timing = seen.timing_ms
        console.print(
            f"{seen.name}:{seen.version} as {seen.encoding} by {seen.backend}, "
            f"{seen.device}: preprocess {timing.preprocess:.1f} ms, compute "
            f"{timing.compute:.1f} ms"
        )
    if seen.is_as_expected is False:
        raise BadModel(f"model {name}: wanted {seen.expected} first")
