"""What the appliance's tests share: pictures, an engine, a box in a process of its own."""

import io
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from appliance.guests.engine import GuestEngine
from appliance.records import Frame
from tests.appliance.deploybench import Bench
from tests.appliance.service import Service
from tests.appliance.workshop import Workshop, png

SAMPLES = Path(__file__).parents[2] / "models" / "samples"


@pytest.fixture(scope="session")
def picture() -> bytes:
    """A PNG of 8 by 6 pixels."""
    return png()


@pytest.fixture(scope="session")
def frame(picture: bytes) -> Frame:
    """The same, decoded."""
    pixels = np.asarray(Image.open(io.BytesIO(picture)))
    return Frame("door", 7, 1_700_000_000.25, 5.0, pixels, picture, "image/png")


@pytest.fixture(scope="session")
def read_sample() -> Callable[[str], bytes]:
    """Read one of the sample pictures."""
    return lambda name: (SAMPLES / name).read_bytes()


@pytest.fixture(scope="module")
def state() -> Iterator[Path]:
    """A state folder whose name is short enough for a socket in it."""
    with tempfile.TemporaryDirectory(prefix="box-", dir="/tmp") as folder:
        yield Path(folder) / "state"


@pytest.fixture(scope="module")
def service(state: Path) -> Iterator[Service]:
    """A box that serves as long as the module runs."""
    with Service(state) as running:
        yield running


@pytest.fixture(scope="session")
def engine() -> Iterator[GuestEngine]:
    """An engine that ticks."""
    made = GuestEngine()
    made.start()
    yield made
    made.stop()


@pytest.fixture
def workshop(engine: GuestEngine, tmp_path: Path) -> Workshop:
    """A workshop with an empty model repository."""
    return Workshop(engine, tmp_path / "models")


@pytest.fixture
def bench(workshop: Workshop, tmp_path: Path) -> Iterator[Bench]:
    """A deployer over an empty folder."""
    made = Bench(workshop, tmp_path)
    made.deployer.restore()
    yield made
    made.table.close()
