"""A stream of predictions without its I/O: lines in, events out, and what to do when it breaks.

A stream is resumed after the last prediction that was handed out, so that a break neither loses
one nor gives one twice. Both clients drive this; neither parses anything.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from pydantic import TypeAdapter, ValidationError

from appliance.api.shapes import Prediction
from appliance.client.address import Patience
from appliance.client.errors import is_passing
from appliance.errors import ApplianceError, Unavailable

# A prediction is at most 64 KiB of the guest's JSON, and its escapes; beyond this it is no box.
MAX_LINE_BYTES = 4 * 2**20

_prediction = TypeAdapter(Prediction)


@dataclass(frozen=True, slots=True)
class Lost:
    """This reader was too slow: so many predictions were left out here. The history has them."""

    count: int


Event = Prediction | Lost
OnBreak = Callable[[ApplianceError], None]


class Following:
    """How far one stream has come, and how often in a row it could not be had.

    after: hand out what came after this prediction's id; None = not yet known where it begins.
    jitter: gives a number from 0 to 1, so that many readers of one box do not return at once.
    """

    def __init__(self, patience: Patience, jitter: Callable[[], float], after: int | None) -> None:
        self.after = after
        self._patience = patience
        self._jitter = jitter
        self._rest = b""
        self._failures = 0
        self._was_open = False

    def open(self) -> None:
        """Note that the box answered; what was half read before is read again."""
        self._rest = b""
        self._was_open = True

    def feed(self, chunk: bytes) -> Iterator[Event]:
        """Take what came and give the events that are whole."""
        # By hand: the vendor's reader of lines also splits at U+2028 and others inside of strings.
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        if len(self._rest) > MAX_LINE_BYTES:
            raise Unavailable("the stream holds no lines; is this our socket?")
        for line in lines:
            event = self._read(line) if line.strip() else None
            # The box is well again, and be it only a keep-alive: the next pause is a short one.
            self._failures = 0
            if event is not None:
                yield event

    def _read(self, line: bytes) -> Event:
        try:
            if line.startswith(b'{"lost"'):
                return Lost(int(json.loads(line)["lost"]))
            prediction = _prediction.validate_json(line)
        except (ValidationError, ValueError, TypeError) as exc:
            raise Unavailable("the stream holds a line that is no prediction") from exc
        if prediction.id is not None:
            # Ids grow within a stream. A lower one than before means that the history began anew.
            self.after = prediction.id
        return prediction

    def pause_s(self, error: ApplianceError) -> float:
        """Say how long to wait before the stream is resumed.

        Raises: the error itself if another try would not help, or if there never was a stream.
        """
        if not (self._was_open and is_passing(error)):
            raise error
        longest = self._patience.retry_max_s
        # Beyond 2**32 the bound has long been reached, and a float would overflow some day.
        doubled: float = self._patience.retry_first_s * 2 ** min(self._failures, 32)
        self._failures += 1
        return min(longest, doubled) * (0.5 + 0.5 * self._jitter())
