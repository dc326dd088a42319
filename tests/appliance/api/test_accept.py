"""The header Accept."""

import pytest

from appliance.api.accept import choose
from appliance.errors import NotAcceptable

OFFERED = ("application/json", "text/csv", "application/x-ndjson")


@pytest.mark.parametrize(
    ("accept", "chosen"),
    [
        (None, "application/json"),
        ("", "application/json"),
        ("*/*", "application/json"),
        ("text/csv", "text/csv"),
        ("TEXT/CSV; charset=utf-8", "text/csv"),
        ("text/*", "text/csv"),
        ("application/json;q=0.5, text/csv;q=0.9", "text/csv"),
        ("application/json;q=0, */*;q=0.1", "text/csv"),
        ("text/html,application/xhtml+xml,*/*;q=0.8", "application/json"),
        ("application/x-ndjson,", "application/x-ndjson"),
        ("text/csv;q=2", "text/csv"),
        (", ,text/csv", "text/csv"),
    ],
)
def test_the_best_liked_form_is_chosen(accept: str | None, chosen: str) -> None:
    """By quality, the most exact range first; ours first among equals."""
    assert choose(accept, OFFERED) == chosen


@pytest.mark.parametrize(
    "accept", ["image/png", "text/csv;q=0", "csv", "text/csv;q=much", ",", "application/jsonx"]
)
def test_what_we_cannot_give_is_refused(accept: str) -> None:
    """With what there is."""
    with pytest.raises(NotAcceptable, match="wanted any of application/json, text/csv"):
        choose(accept, OFFERED)


def test_a_long_header_is_shown_in_part() -> None:
    """An error stays short."""
    with pytest.raises(NotAcceptable, match=r"^Accept: got 'x{100}', wanted"):
        choose("x" * 10_000, OFFERED)
