"""Which form of an answer the client wants: the header Accept (RFC 9110, 12.5.1)."""

from collections.abc import Sequence

from appliance.errors import NotAcceptable

_MAX_SHOWN = 100


def choose(accept: str | None, offered: Sequence[str]) -> str:
    """Choose the offered media type that the client likes best, the first if it has no favourite.

    accept: the header; None or empty accepts anything.   offered: such as "text/csv".
    Raises: NotAcceptable if it accepts none of them.
    """
    if not accept or not accept.strip():
        return offered[0]
    ranges = [_range(part) for part in accept.lower().split(",") if part.strip()]
    qualities = {media_type: _quality(media_type, ranges) for media_type in offered}
    # max gives the first of equals.
    best = max(offered, key=lambda media_type: qualities[media_type])
    if qualities[best] <= 0:
        raise NotAcceptable(
            f"Accept: got {accept[:_MAX_SHOWN]!r}, wanted any of {', '.join(offered)}"
        )
    return best


def _range(part: str) -> tuple[str, float]:
    name, *parameters = (piece.strip() for piece in part.split(";"))
    for parameter in parameters:
        key, _, value = parameter.partition("=")
        if key.strip() == "q":
            try:
                return name, min(max(float(value), 0.0), 1.0)
            except ValueError:
                return name, 0.0
    return name, 1.0


def _quality(media_type: str, ranges: Sequence[tuple[str, float]]) -> float:
    """Find the quality that the most exact matching range gives, 0 if none matches."""
    wholes = (media_type, f"{media_type.split('/')[0]}/*", "*/*")
    for whole in wholes:
        qualities = [quality for name, quality in ranges if name == whole]
        if qualities:
            return max(qualities)
    return 0.0
