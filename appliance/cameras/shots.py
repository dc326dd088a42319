"""What a source of frames is to the worker."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from appliance.cameras.wire import Opened

if TYPE_CHECKING:
    from av.video.frame import VideoFrame


# (seconds, whether they are of the film and not of the clock) -> whether it is a frame's turn.
Wants = Callable[[float, bool], bool]


class SourceError(Exception):
    """A source cannot go on; the message is one sentence without secrets or paths."""


@dataclass(slots=True)
class Tally:
    """Frames of a worker so far, as in `wire.Counts`."""

    decoded: int = 0
    rate: int = 0
    corrupt: int = 0
    motion: int = 0
    busy: int = 0


@dataclass(frozen=True, slots=True)
class Shot:
    """One picture as the decoder made it.

    media_s: its time in a film, from 0, to be shown then; None if it is shown as it comes.
    is_chosen: the wanted rate has been applied already.
    """

    picture: "VideoFrame"
    media_s: float | None = None
    is_chosen: bool = False


class ShotSource(Protocol):
    """An open source.

    is_finite: ends by itself, as a film does; the end of any other is a fault.
    """

    opened: Opened
    is_finite: bool

    def shots(self) -> Iterator[Shot]:
        """Give its pictures, once. Raises: SourceError."""

    def close(self) -> None:
        """Let go of it."""
