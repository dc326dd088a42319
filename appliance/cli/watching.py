"""What commands that go on share: asking again and again, and saying when the box was away."""

import threading
from collections.abc import Callable, Iterator
from typing import TypeVar

import typer

from appliance.client.errors import is_passing
from appliance.errors import ApplianceError

T = TypeVar("T")


class Outage:
    """Says once that the box went away, and once that it is back, on standard error."""

    def __init__(self) -> None:
        self._is_under_way = False

    def began(self, error: ApplianceError) -> None:
        if not self._is_under_way:
            typer.echo(f"appliance: {error}; waiting for it", err=True)
        self._is_under_way = True

    def ended(self) -> None:
        if self._is_under_way:
            typer.echo("appliance: the box is back", err=True)
        self._is_under_way = False


def polled(ask: Callable[[], T], interval_s: float) -> Iterator[T | ApplianceError]:
    """Ask for ever; give each answer, or why there is none now.

    Raises: what the first call raises, since without a box there is nothing to watch; later what
    waiting does not mend.
    """
    yield ask()
    pause = threading.Event()
    while not pause.wait(interval_s):
        yield _answer_or_outage(ask)


def _answer_or_outage(ask: Callable[[], T]) -> T | ApplianceError:
    try:
        return ask()
    except ApplianceError as exc:
        if not is_passing(exc):
            raise
        return exc
