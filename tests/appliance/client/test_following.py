"""A stream without its I/O: whole lines become events, and a break is got over from the last."""

import json
from typing import Any

import pytest

from appliance.client.address import Patience
from appliance.client.errors import Refused
from appliance.client.following import MAX_LINE_BYTES, Event, Following, Lost
from appliance.errors import Unavailable

GONE = Unavailable("gone")


def line(id: int | None, **rest: Any) -> bytes:
    """One prediction as a box sends it."""
    row = {
        "id": id, "app": "a", "version": "v", "source": "api", "sequence": 1, "captured_at": 1.0,
        "emitted_at": 2.0, "label": "cat", "score": 0.5, "data": {}, **rest,
    }  # fmt: skip
    return json.dumps(row, ensure_ascii=False).encode() + b"\n"


def following(after: int | None = 0, jitter: float = 1.0) -> Following:
    made = Following(Patience(retry_first_s=1, retry_max_s=5), lambda: jitter, after)
    made.open()
    return made


def ids(events: list[Event]) -> list[object]:
    return [event.count if isinstance(event, Lost) else event.id for event in events]


@pytest.mark.parametrize("size", [1, 7, 10_000])
def test_lines_are_put_together(size: int) -> None:
    """However the bytes are cut on their way; empty lines only say that the box is there."""
    sent = line(1) + b"\n\r\n" + b'{"lost": 12}\n' + line(2)
    one = following()

    taken = [e for at in range(0, len(sent), size) for e in one.feed(sent[at : at + size])]
    assert [1, 12, 2] == ids(taken)


def test_only_a_line_feed_ends_a_line() -> None:
    """A guest's text may hold what other readers of lines take for an end."""
    (event,) = following().feed(line(1, data={"text": "a\u2028b\x85c\x0bd"}))

    assert {"text": "a\u2028b\x85c\x0bd"} == getattr(event, "data", None)


def test_it_goes_on_after_the_last_that_was_handed_out() -> None:
    """Not after the last that came: the reader may never ask for the rest of a chunk."""
    one = following(after=3)
    taken = one.feed(line(4) + line(5) + line(6))
    next(taken)
    next(taken)

    assert 5 == one.after


def test_what_the_history_could_not_keep_does_not_move_it() -> None:
    """Such a prediction has no id."""
    one = following(after=3)

    assert [None] == ids(list(one.feed(line(None))))
    assert 3 == one.after


def test_a_history_that_began_anew_is_followed_from_there() -> None:
    """Its ids are lower than those of the damaged one that was set aside."""
    one = following(after=900)
    list(one.feed(line(1)))

    assert 1 == one.after


def test_half_a_line_before_a_break_is_forgotten() -> None:
    """The box sends it again, whole."""
    one = following()
    assert [] == list(one.feed(line(1)[:-5]))
    one.open()

    assert [1] == ids(list(one.feed(line(1))))


@pytest.mark.parametrize(
    "sent",
    [b"hello\n", b"{}\n", b"[]\n", b'{"lost": "many"}\n', b'{"lost"}\n', b"\xff\xfe\n",
     b"x" * (MAX_LINE_BYTES + 1)],
)  # fmt: skip
def test_what_is_no_prediction_is_noticed(sent: bytes) -> None:
    """One of our errors, and memory stays bounded."""
    with pytest.raises(Unavailable, match="the stream holds"):
        list(following().feed(sent))


def test_pauses_double_up_to_a_bound_and_begin_anew() -> None:
    """A keep-alive is enough to show that the box is well."""
    one = following()
    assert [1, 2, 4, 5, 5] == [one.pause_s(GONE) for _ in range(5)]
    list(one.feed(b"\n"))

    assert 1 == one.pause_s(GONE)


def test_a_peer_that_sends_nonsense_is_not_asked_faster_and_faster() -> None:
    """Only a good line resets the pause."""
    one = following()
    one.pause_s(GONE)
    with pytest.raises(Unavailable, match="no prediction"):
        list(one.feed(b"hello\n"))

    assert 2 == one.pause_s(GONE)


def test_jitter_shortens_a_pause_by_half_at_most() -> None:
    """So that many readers of one box do not return at once."""
    assert [0.5, 0.75, 1.0] == [following(jitter=j).pause_s(GONE) for j in (0, 0.5, 1)]


@pytest.mark.parametrize("status", [429, 502, 503])
def test_what_may_pass_is_waited_for(status: int) -> None:
    """A box that stops, starts, or is full."""
    assert 1 == following().pause_s(Refused("no", status=status, code="x"))


@pytest.mark.parametrize("status", [400, 401, 404, 500])
def test_what_stays_is_raised(status: int) -> None:
    """A wrong token does not become right by waiting."""
    with pytest.raises(Refused, match="no"):
        following().pause_s(Refused("no", status=status, code="x"))


def test_a_stream_that_never_was_is_not_waited_for() -> None:
    """Who starts a reader without a box is told so."""
    with pytest.raises(Unavailable, match="gone"):
        Following(Patience(), lambda: 1.0, 0).pause_s(GONE)
