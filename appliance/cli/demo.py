"""`appliance demo`: the main job on real pictures, as a user would do it.

A box is started as a process of its own on an empty state folder, the built-in classifier is
dropped into its inbox, the sample pictures are sent over its socket, a film made of them is played
as a camera, and it is stopped again.
"""

import json
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from watchfiles import watch

from appliance.cli.box import answer_table
from appliance.cli.film import Film, make_film
from appliance.cli.options import console
from appliance.cli.serve import READY
from appliance.client import Client, Event, Lost
from appliance.errors import Unavailable
from appliance.settings import Settings, load_settings
from appliance.shipped import classifier_folder, samples_folder

FILM = Film()
_CAMERA = "film"
# Long enough to see all four pictures but for the end of the last.
_WATCH_S = 7.0
_DEPLOY_TIMEOUT_MS = 60_000
_STOP_TIMEOUT_S = 30


def add_to(app: typer.Typer) -> None:
    app.command("demo")(demo)


def demo(
    keep: Annotated[bool, typer.Option("--keep", help="Leave it running until Ctrl-C.")] = False,
) -> None:
    """Start a box, drop the classifier, classify pictures and a moving camera, stop."""
    # Under /tmp: a socket's path may have no more than 107 bytes.
    with tempfile.TemporaryDirectory(prefix="appliance-demo-", dir="/tmp") as folder:
        settings = load_settings(state=Path(folder))
        console.print(f"1. starting a box on the empty folder {folder}")
        with running_box(settings.state) as process:
            console.print(f"2. dropping classifier.wasm into {settings.inbox}")
            console.print("   (it is tried, its model loaded and timed: a few seconds, once)")
            guest = settings.inbox / "classifier.wasm"
            shutil.copyfile(classifier_folder() / "app.toml", guest.with_suffix(".toml"))
            shutil.copyfile(classifier_folder() / "classifier.wasm", guest)
            status = _wait_for_status(guest.with_name("classifier.wasm.status"))
            console.print(f"   {status['app']} {status['version']} is live")
            console.print("3. sending the sample pictures as frames")
            pictures = sorted(samples_folder().glob("*.jpg"))
            with Client(settings.socket_path) as box:
                answers = [(p, box.predict("classifier", p.read_bytes())) for p in pictures]
            console.print(answer_table(answers))
            console.print(f"4. a camera: a film of them, {FILM.seconds:g} s long, again and again")
            film = Path(folder) / "film.mp4"
            make_film(film, pictures, FILM)
            with Client(settings.socket_path) as box:
                _watch_camera(box, film)
            console.print("5. the same by hand, while a box runs:")
            _print_commands(settings, pictures[0])
            if keep:
                console.print("   the box runs on; Ctrl-C stops it")
                _wait_for_interrupt(process)
            console.print("6. stopping")
    console.print("done")


@contextmanager
def running_box(state: Path) -> Iterator[subprocess.Popen[str]]:
    """Run `appliance serve` until the block ends, then stop it as an operator would.

    Raises: Unavailable if it does not come up or does not stop cleanly.
    """
    command = [sys.executable, "-m", "appliance", "serve", "--state", str(state)]
    with (state / "serve.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
    try:
        assert process.stdout is not None, "a pipe was asked for"
        if not process.stdout.readline().startswith(READY):
            process.wait()
            raise Unavailable("the box did not start:\n" + (state / "serve.log").read_text())
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            status = process.wait(_STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise Unavailable(f"the box did not stop within {_STOP_TIMEOUT_S} s") from None
        finally:
            if process.stdout is not None:
                process.stdout.close()
    if status != 0:
        raise Unavailable(
            f"the box ended with status {status}:\n" + (state / "serve.log").read_text()
        )


def _wait_for_status(path: Path) -> dict[str, Any]:
    """Wait until the inbox has said what became of a dropped file."""
    changes = watch(
        path.parent, rust_timeout=_DEPLOY_TIMEOUT_MS, yield_on_timeout=True, recursive=False,
        step=20, debounce=100,
    )  # fmt: skip
    while not path.is_file():
        if not next(changes):
            raise Unavailable("the box did not take the file within a minute")
    status: dict[str, Any] = json.loads(path.read_text())
    if status["state"] != "live":
        raise Unavailable(f"the box refused the guest: {status['reason']}")
    return status


def _wait_for_interrupt(process: subprocess.Popen[str]) -> None:
    try:
        process.wait()
    except KeyboardInterrupt:
        console.print()


def _print_commands(settings: Settings, picture: Path) -> None:
    base = f"curl --unix-socket {settings.socket_path}"
    for line in (
        f"{base} --data-binary @{picture} http://box/v1/apps/classifier/frames",
        f"{base} 'http://box/v1/predictions?label=espresso'",
        f"{base} -o now.jpg http://box/v1/cameras/{_CAMERA}/snapshot.jpg",
        f"appliance predictions --follow --camera {_CAMERA} --state {settings.state}",
    ):
        console.print(f"   {line}", soft_wrap=True)


def _watch_camera(box: Client, film: Path) -> None:
    """Play a film as a camera and print what is seen in it, whenever that changes."""
    box.add_camera(_CAMERA, f"{film}?loop=1", apps=["classifier"])
    with box.stream(camera=_CAMERA, after=0) as stream:
        end = threading.Timer(_WATCH_S, stream.close)
        end.name = "demo-end"
        end.start()
        try:
            _print_changes(stream)
        finally:
            end.cancel()
            end.join()
    camera = box.camera(_CAMERA)
    (route,) = camera.routes
    if not route.inferred:
        raise Unavailable(f"the camera gave no prediction: it is {camera.state} {camera.reason}")
    console.print(
        f"   {route.inferred} frames predicted in {_WATCH_S:g} s, {route.skipped} skipped, "
        f"capture to prediction {route.p50_ms:.0f} ms (median)"
    )


def _print_changes(events: Iterable[Event]) -> None:
    """Print a line for each label that stays for more than a frame."""
    last = shown = ""
    for event in events:
        if isinstance(event, Lost) or event.label is None:
            continue
        if event.label == last != shown:
            shown = last
            console.print(f"   frame {event.sequence:>4}  {event.label} {event.score or 0:.2f}")
        last = event.label
