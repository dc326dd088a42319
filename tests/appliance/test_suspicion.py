"""Who is blamed for a death."""

import pytest

from appliance.marks import Doing, Mark
from appliance.suspicion import WINDOW_S, Kind, Subject, convicted, recent, struck, suspects

MODEL = Subject(Kind.MODEL, "cats:1", "aa")
OTHER = Subject(Kind.MODEL, "dogs:1", "bb")
APP = Subject(Kind.APP, "door", "v1")
IN_MODEL = Mark(Doing.RUN, "cats:1", "aa", 90.0)
IN_OTHER = Mark(Doing.LOAD, "dogs:1", "bb", 99.9)
IN_APP = Mark(Doing.APP, "door", "v1", 89.0)


@pytest.mark.parametrize(
    ("marks", "fate", "blamed"),
    [
        pytest.param([IN_MODEL, IN_APP], "crash SIGSEGV", {MODEL}, id="a-graph-before-its-guest"),
        pytest.param([IN_MODEL, IN_OTHER], "crash SIGABRT", {MODEL, OTHER}, id="all-graphs"),
        pytest.param([IN_APP], "crash SIGSEGV", {APP}, id="a-guest-alone"),
        pytest.param([], "crash SIGSEGV", set(), id="nobody"),
        pytest.param([IN_MODEL, IN_OTHER], "hang no progress", {MODEL}, id="a-hang-takes-long"),
        pytest.param([IN_OTHER], "hang no progress", set(), id="a-hang-of-our-own"),
        pytest.param([IN_MODEL], "killed", set(), id="somebody's-will"),
        pytest.param([IN_MODEL], "", set(), id="a-power-cut"),
    ],
)
def test_what_was_in_native_code_is_suspected(
    marks: list[Mark], fate: str, blamed: set[Subject]
) -> None:
    """Graphs first; after a hang those that were at it for long; nobody for a kill."""
    assert blamed == suspects(marks, fate, now_s=100.0)


def test_three_strikes_convict() -> None:
    """Not two, and not one who was there once."""
    strikes = struck({}, [MODEL, OTHER], 10.0)
    strikes = struck(strikes, [MODEL], 20.0)
    assert frozenset() == convicted(strikes)

    assert {MODEL} == convicted(struck(strikes, [MODEL], 30.0))


def test_old_strikes_do_not_count() -> None:
    """They are forgotten after an hour; so are those of a clock that was set back."""
    strikes = {MODEL: (10.0, 20.0), OTHER: (5000.0,)}

    assert {MODEL: (20.0,)} == recent(strikes, 15.0 + WINDOW_S)
