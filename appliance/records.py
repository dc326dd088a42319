"""What travels between rooms: a frame that came in, a prediction that came out.

Both are valid by construction; ValueError from a constructor is our own broken promise, since
whatever a guest says goes through `prediction_from_output`, which never raises.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Of one line of a guest. 1000 labels with scores as JSON are about 40 KB.
MAX_OUTPUT_BYTES = 64 * 1024
# Readers of ours (browsers, jq, SQLite's JSON functions) stop between 100 and 1000 levels.
MAX_DEPTH = 64
MAX_LABEL_LENGTH = 256


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Frame:
    """One picture of a source.

    sequence: counts up from 0 within the source; gaps mean dropped frames.
    captured_at: Unix seconds, for people.   captured_monotonic_s: for deadlines and ages.
    pixels: uint8 (H, W, 3), RGB, C-contiguous or not; shared by all, so made read-only here.
    encoded: the picture as it came, if it came encoded, with its media type ("image/jpeg").
    """

    source: str
    sequence: int
    captured_at: float
    captured_monotonic_s: float
    pixels: NDArray[np.uint8]
    encoded: bytes | None = None
    media_type: str | None = None

    def __post_init__(self) -> None:
        shape = self.pixels.shape
        if self.pixels.dtype != np.uint8 or len(shape) != 3 or shape[2] != 3 or 0 in shape:
            raise ValueError(
                f"frame pixels: got {self.pixels.dtype} {shape}, wanted uint8 (H, W, 3)"
            )
        # 2**63: the store keeps it as one of SQLite's integers.
        if not self.source or not 0 <= self.sequence < 2**63:
            raise ValueError(f"frame: got source {self.source!r} sequence {self.sequence}")
        if (self.encoded is None) != (self.media_type is None):
            raise ValueError("frame: encoded bytes and media type come together or not at all")
        if self.pixels.flags.writeable:
            read_only = self.pixels.view()
            read_only.flags.writeable = False
            object.__setattr__(self, "pixels", read_only)

    @property
    def width(self) -> int:
        return int(self.pixels.shape[1])

    @property
    def height(self) -> int:
        return int(self.pixels.shape[0])

    def __repr__(self) -> str:
        encoded = "" if self.encoded is None else f" {self.media_type} {len(self.encoded)} bytes"
        return f"<Frame {self.source} #{self.sequence} {self.width}x{self.height}{encoded}>"


@dataclass(frozen=True, slots=True)
class Prediction:
    """What an app said about a frame.

    source, sequence, captured_at: the frame's.   emitted_at: Unix seconds.
    label, score: the guest's top answer, if it named one; score is finite.
    data: the JSON object the guest gave; shared, never changed.
    id: given by the store, growing, never used twice; None until stored.
    """

    app: str
    version: str
    source: str
    sequence: int
    captured_at: float
    emitted_at: float
    label: str | None
    score: float | None
    data: Mapping[str, Any]
    id: int | None = None

    def __post_init__(self) -> None:
        if not self.app or not self.source:
            raise ValueError(f"prediction: got app {self.app!r} source {self.source!r}")
        if not (math.isfinite(self.captured_at) and math.isfinite(self.emitted_at)):
            raise ValueError("prediction: times must be finite")
        if self.score is not None and not math.isfinite(self.score):
            raise ValueError(f"prediction score: got {self.score}, wanted a finite number")
        if self.label is not None and not _is_label(self.label):
            raise ValueError(f"prediction label: wanted 1..{MAX_LABEL_LENGTH} printable characters")
        _check_json(self.data)

    def __repr__(self) -> str:
        return f"<Prediction {self.app} {self.source} #{self.sequence} {self.label} {self.score}>"


def prediction_from_output(
    output: bytes | str, *, app: str, version: str, frame: Frame, emitted_at: float
) -> Prediction:
    """Keep whatever a guest printed or emitted about a frame; never raises on account of it.

    output: one line or one emitted message; invalid UTF-8 is replaced (U+FFFD).
    A JSON object within the limits becomes `data`, and its "label" (printable text) and "score"
    (finite number) are picked up. Everything else is kept as text, {"text": ...}: other JSON,
    NaN and Infinity, over MAX_DEPTH levels, lone surrogates. Over MAX_OUTPUT_BYTES the text is
    cut there and {"truncated": true} says so.
    """
    raw = output.encode("utf-8", "replace") if isinstance(output, str) else output
    text = raw[:MAX_OUTPUT_BYTES].decode("utf-8", "replace").strip("\r\n")
    if len(raw) > MAX_OUTPUT_BYTES:
        data: dict[str, Any] = {"text": text, "truncated": True}
    else:
        parsed = json_object(text)
        data = {"text": text} if parsed is None else parsed
    label, score = data.get("label"), data.get("score")
    return Prediction(
        app=app,
        version=version,
        source=frame.source,
        sequence=frame.sequence,
        captured_at=frame.captured_at,
        emitted_at=emitted_at,
        label=label if isinstance(label, str) and _is_label(label) else None,
        score=_finite(score),
        data=data,
    )


def json_object(output: bytes | str) -> dict[str, Any] | None:
    """Read one JSON object of at most MAX_OUTPUT_BYTES and MAX_DEPTH levels; None for all else.

    output: bytes must be UTF-8; json.loads by itself would also guess at UTF-16 and UTF-32.
    """
    if len(output) > MAX_OUTPUT_BYTES:
        return None
    try:
        text = output if isinstance(output, str) else output.decode()
        # RecursionError: json descends the C stack, guarded by the interpreter's limit (1000).
        value = json.loads(text) if text.lstrip().startswith("{") else None
        if not isinstance(value, dict):
            return None
        _check_json(value)
    except (ValueError, RecursionError):
        return None
    return value


def _check_json(data: Mapping[str, Any]) -> None:
    """Refuse what other readers of JSON would choke on; a loop, because depth is the enemy."""
    pending: list[tuple[Any, int]] = [(data, 1)]
    while pending:
        value, depth = pending.pop()
        if isinstance(value, str):
            if not value.isascii():
                value.encode()  # a lone surrogate raises UnicodeEncodeError, a ValueError
        elif isinstance(value, float):
            if not math.isfinite(value):
                raise ValueError(f"JSON: got {value}, wanted finite numbers")
        elif value is None or isinstance(value, int):
            continue
        # Mapping last: it is asked in Python.
        elif isinstance(value, (dict, list, Mapping)):
            if depth > MAX_DEPTH:
                raise ValueError(f"JSON: got over {MAX_DEPTH} levels, wanted at most {MAX_DEPTH}")
            if not isinstance(value, list):
                for key in value:
                    if not isinstance(key, str):
                        raise ValueError("JSON: a key is not text")
                    key.encode()
                value = value.values()
            pending += [(inner, depth + 1) for inner in value]
        else:
            raise ValueError(f"JSON: got {type(value).__name__}, wanted JSON types")


def _is_label(text: str) -> bool:
    return 0 < len(text) <= MAX_LABEL_LENGTH and text.isprintable()


def _finite(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:  # an integer of 400 digits is good JSON
        return None
    return number if math.isfinite(number) else None
