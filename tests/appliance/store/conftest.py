"""A store that is open."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from appliance.store import PredictionStore
from tests.appliance.store.rows import NOW


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "predictions.db"


@pytest.fixture
def store(path: Path) -> Iterator[PredictionStore]:
    with PredictionStore(path, clock=lambda: NOW) as opened:
        yield opened
