from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.appliance.inference.rig import Make, Rig
from tests.appliance.workshop import Workshop


@pytest.fixture
def make_rig(workshop: Workshop, tmp_path: Path) -> Iterator[Make]:
    """Makes a service; it is closed after the test."""
    made: list[Rig] = []

    def make(**options: object) -> Rig:
        made.append(Rig(workshop, tmp_path, **options))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for rig in made:
        rig.close()


@pytest.fixture
def rig(make_rig: Make) -> Rig:
    """A service with one model, tiny."""
    made = make_rig()
    made.put()
    return made
