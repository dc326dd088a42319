"""`appliance cameras ...`: add, list, show, change, remove, discover, and a picture."""

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Column, Table

from appliance.api import shapes
from appliance.cli.options import Json, State, connect, console, print_json
from appliance.errors import BadRequest

cameras = typer.Typer(
    name="cameras", help="Cameras: frames that keep coming.", no_args_is_help=True
)

Name = Annotated[str, typer.Argument(help="Lower-case letters, digits and dashes.")]
Apps = Annotated[
    list[str] | None,
    typer.Option(
        "--app",
        help="Feed this app, and no others; again for more. NAME@2 shows it 2 frames a second, "
        "NAME:0.5,0,0.5,1 a part: left, top, width, height in shares of the picture.",
    ),
]
Fps = Annotated[float | None, typer.Option(help="Frames a second at most; else as they come.")]


def add_to(app: typer.Typer) -> None:
    app.add_typer(cameras)


@cameras.command()
def add(
    name: Name,
    url: Annotated[
        str,
        typer.Argument(
            help="rtsp://..., http://..., /dev/v4l/by-id/..., a file, a folder, test:, push:"
        ),
    ],
    fps: Fps = None,
    app: Apps = None,
    size: Annotated[
        str | None, typer.Option(metavar="WIDTHxHEIGHT", help="Scale larger frames down.")
    ] = None,
    loop: Annotated[bool, typer.Option("--loop", help="Begin files again at their end.")] = False,
    motion: Annotated[
        bool, typer.Option("--motion", help="Leave out frames in which nothing moves.")
    ] = False,
    state: State = None,
) -> None:
    """Add a camera; it begins at once, and after every start of the box."""
    settings: dict[str, object] = {"fps": fps, "loop": loop}
    if app:
        settings["apps"] = [feed_of(text) for text in app]
    if size is not None:
        settings["size_wh"] = _size_of(size)
    if motion:
        settings["motion"] = {}
    with connect(state) as box:
        added = box.add_camera(name, _absolute(url), **settings)
    feeds = ", ".join(added.apps) or "no app yet"
    console.print(f"{added.name} added: {added.url} feeds {feeds}", soft_wrap=True)


@cameras.command("list")
def list_(state: State = None, as_json: Json = False) -> None:
    """List the cameras, how each is, and what became of its frames."""
    with connect(state) as box:
        listed = box.cameras()
    if as_json:
        print_json(listed.cameras)
        return
    table = Table(
        Column("camera", no_wrap=True), "url", Column("state", no_wrap=True), "picture",
        Column("fps", justify="right"), Column("frames", justify="right"), "dropped", "apps",
    )  # fmt: skip
    for camera in listed.cameras:
        table.add_row(
            camera.name, camera.url, f"{camera.state}: {camera.reason}".removesuffix(": "),
            f"{camera.width}x{camera.height}" if camera.width else "-", f"{camera.fps:.1f}",
            str(camera.frames), _counted(camera.dropped), ", ".join(camera.apps) or "-",
        )  # fmt: skip
    console.print(table if listed.cameras else "no camera is added")
    for name, problem in listed.problems.items():
        console.print(f"{name}: not read: {problem}", soft_wrap=True)


@cameras.command()
def show(name: Name, state: State = None, as_json: Json = False) -> None:
    """Say all about one camera: settings, what it feeds, its decoder's last lines."""
    with connect(state) as box:
        camera = box.camera(name)
    if as_json:
        print_json([camera])
        return
    console.print(
        f"{camera.name} {camera.url}\n{camera.state} {camera.reason}\n"
        f"{camera.width}x{camera.height} at {camera.fps:.1f} frames/s, {camera.frames} frames, "
        f"dropped: {_counted(camera.dropped)}; opened again {camera.reconnects} times",
        soft_wrap=True,
    )
    console.print(_routes(camera.routes) if camera.routes else "feeds no app")
    for line in camera.log:
        console.print(f"  {line}", soft_wrap=True)


@cameras.command()
def change(
    name: Name, url: Annotated[str | None, typer.Option()] = None, fps: Fps = None,
    app: Apps = None, state: State = None,
) -> None:  # fmt: skip
    """Change what is named, and nothing else."""
    settings: dict[str, object] = {"url": None if url is None else _absolute(url), "fps": fps}
    settings["apps"] = [feed_of(text) for text in app] if app else None
    given = {key: value for key, value in settings.items() if value is not None}
    if not given:
        raise BadRequest("nothing to change; name --url, --fps or --app")
    with connect(state) as box:
        box.change_camera(name, **given)
    console.print(f"{name} changed")


@cameras.command()
def remove(name: Name, state: State = None) -> None:
    """Forget a camera; its predictions stay."""
    with connect(state) as box:
        box.remove_camera(name)
    console.print(f"{name} removed")


@cameras.command()
def enable(name: Name, state: State = None) -> None:
    """Let a camera begin again."""
    with connect(state) as box:
        camera = box.enable_camera(name)
    console.print(f"{name} {camera.state}")


@cameras.command()
def disable(name: Name, state: State = None) -> None:
    """Stop a camera until it is enabled."""
    with connect(state) as box:
        camera = box.disable_camera(name)
    console.print(f"{name} {camera.state}")


@cameras.command()
def discover(state: State = None, as_json: Json = False) -> None:
    """List the capture devices of the box, by names that stay."""
    with connect(state) as box:
        found = box.devices().devices
    if as_json:
        print_json(found)
        return
    table = Table("device", "for `cameras add`", "formats")
    for device in found:
        formats = [f"{f.name}: {', '.join(_shown(size) for size in f.sizes_wh)}"
                   for f in device.formats]  # fmt: skip
        table.add_row(f"{device.name} ({device.node})", device.url,
                      "\n".join(formats) or device.problem)  # fmt: skip
    console.print(table if found else "no capture device is plugged in")


@cameras.command()
def snapshot(
    name: Name,
    output: Annotated[Path, typer.Option("-o", "--output", help="Write the JPEG there.")],
    labels: Annotated[bool, typer.Option(help="Draw in what the apps said last.")] = True,
    width: Annotated[int | None, typer.Option(help="Of the picture, pixels, at most.")] = None,
    state: State = None,
) -> None:
    """Save what a camera sees now, with labels."""
    with connect(state) as box:
        picture = box.snapshot(name, has_labels=labels, width=width)
    try:
        output.write_bytes(picture)
    except OSError as exc:
        raise BadRequest(f"{output}: {exc.strerror}") from exc
    console.print(f"{output}: {len(picture)} bytes", soft_wrap=True)


def _absolute(url: str) -> str:
    """Make a path of files what it means here; the box runs in another folder."""
    return url if ":" in url or url.startswith("/") else str(Path(url).absolute())


def feed_of(text: str) -> dict[str, object]:
    """Read NAME[@FPS][:X,Y,WIDTH,HEIGHT]. Raises: BadRequest; the box checks the values."""
    rest, _, region = text.partition(":")
    name, _, fps = rest.partition("@")
    feed: dict[str, object] = {"app": name}
    try:
        if fps:
            feed["fps"] = float(fps)
        if region:
            feed["region_xywh"] = [float(share) for share in region.split(",")]
    except ValueError as exc:
        raise BadRequest(
            f"--app {text}: wanted NAME, NAME@2 or NAME:0.5,0,0.5,1, numbers after the signs"
        ) from exc
    return feed


def _size_of(text: str) -> list[int]:
    width, _, height = text.partition("x")
    if not (width.isdecimal() and height.isdecimal()):
        raise BadRequest(f"--size {text}: wanted WIDTHxHEIGHT, such as 640x480")
    return [int(width), int(height)]


def _routes(routes: tuple[shapes.Route, ...]) -> Table:
    table = Table("app", "rate", "inferred", "skipped", "limited", "refused", "failed",
                  "p50 ms", "p99 ms", "last error")  # fmt: skip
    for route in routes:
        table.add_row(
            route.app, "as it comes" if route.fps is None else f"{route.fps:g}/s",
            str(route.inferred), str(route.skipped), str(route.limited), str(route.refused),
            _counted(route.failed), _figure(route.p50_ms), _figure(route.p99_ms), route.last_error,
        )  # fmt: skip
    return table


def _counted(counts: dict[str, int]) -> str:
    return ", ".join(f"{count} {reason}" for reason, count in counts.items() if count) or "-"


def _shown(size_wh: tuple[int, int]) -> str:
    return f"{size_wh[0]}x{size_wh[1]}"


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"
