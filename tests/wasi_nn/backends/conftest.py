"""What the backend tests share: the tiny models in data/, made by scripts/make_test_models.py."""

from collections.abc import Callable
from pathlib import Path

import pytest

_DATA = Path(__file__).parent / "data"


@pytest.fixture
def read() -> Callable[[str], bytes]:
    """Read one of the models."""
    return lambda name: (_DATA / name).read_bytes()
