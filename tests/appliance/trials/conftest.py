"""A place to try versions in."""

from pathlib import Path

import pytest

from appliance.guests.engine import GuestEngine
from tests.appliance.trials.rig import Rig


@pytest.fixture
def rig(engine: GuestEngine, tmp_path: Path) -> Rig:
    return Rig(engine, tmp_path)
