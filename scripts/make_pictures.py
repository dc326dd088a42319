"""Makes the README's pictures: see `scripts/pictures`."""

import io
import tempfile
import time
from pathlib import Path

from rich.console import Console

from appliance.bundles import write_bundle
from appliance.cli.demo import running_box
from appliance.cli.film import Film, make_film
from appliance.cli.top import poll_of, view_of
from appliance.client import Client
from appliance.settings import load_settings
from appliance.shipped import classifier_folder, samples_folder

FOLDER = Path(__file__).parent / "readme"
# A README is read by people who wait for its pictures.
_MAX_BYTES = 300_000
_LABEL = "espresso"
# What `top` shows is the mean of so long.
_TOP_S = 2.0


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="pictures-", dir="/tmp") as place:
        state = Path(place) / "state"
        state.mkdir()
        with (
            running_box(state),
            Client(load_settings(state=state).socket_path) as box,
        ):
            _fill(box, Path(place))
            _wait_for(box, "kitchen", _LABEL)
            _write("snapshot.jpg", box.snapshot("kitchen"))
            _write("top.svg", _top(box).encode())


def _fill(box: Client, place: Path) -> None:
    """Deploy the classifier and let two cameras feed it."""
    folder = classifier_folder()
    bundle = write_bundle(
        (folder / "classifier.wasm").read_bytes(), (folder / "app.toml").read_bytes()
    )
    box.deploy("classifier", bundle)
    pictures = sorted(samples_folder().glob("*.jpg"))
    coffee = [picture for picture in pictures if picture.stem == "coffee"]
    for name, shown in (("kitchen", coffee), ("yard", pictures)):
        film = place / f"{name}.mp4"
        make_film(film, shown, Film(seconds=4.0))
        box.add_camera(name, f"{film}?loop=1")


def _wait_for(box: Client, camera: str, label: str) -> None:
    with box.stream(camera=camera, label=label, after=0) as stream:
        next(stream)


def _top(box: Client) -> str:
    """Give what `appliance top --once` prints, as SVG."""
    old = poll_of(box)
    time.sleep(_TOP_S)
    console = Console(record=True, width=88, file=io.StringIO())
    console.print(view_of(poll_of(box), old))
    return console.export_svg(title="appliance top")


def _write(name: str, content: bytes) -> None:
    assert len(content) <= _MAX_BYTES, f"{name}: {len(content)} bytes, wanted {_MAX_BYTES}"
    (FOLDER / name).write_bytes(content)


if __name__ == "__main__":
    main()
