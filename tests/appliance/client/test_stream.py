"""A stream over a real socket, with a peer that breaks it in every way."""

import gc
import threading
from typing import Any

import anyio
import pytest

from appliance.client import AsyncClient, Client, Lost, Patience, Refused
from appliance.errors import ApplianceError, Unavailable
from tests.appliance.client.conftest import HASTY, Take
from tests.appliance.client.peer import Peer, http, streaming
from tests.appliance.client.test_following import ids, line

BUSY = http(b'{"error": "starting", "code": "unavailable"}', "503 Service Unavailable")


def nothing(_: Any) -> None:
    return None


def afters(peer: Peer) -> list[str]:
    """Tell where each request for a stream began."""
    return [r.split("after=")[1].split(" ")[0] for r in peer.requests if "after=" in r]


def test_a_broken_stream_goes_on_where_it_was(peer: Peer, take: Take) -> None:
    """Cut inside a line, refused for now, cut at the start, ended in order: none lost or twice."""
    peer.play(
        streaming(line(1) + line(2) + line(3)[:20]),
        BUSY,
        b"",
        streaming(b"\n" + line(3)),
        http(line(4)),
        streaming(b'{"lost": 7}\n' + line(20)),
        hold=True,
    )
    told: list[ApplianceError] = []

    taken = take(peer.socket, 6, nothing, after=0, on_break=told.append)
    assert [1, 2, 3, 4, 7, 20] == ids(taken)
    assert Lost(7) == taken[4]
    assert ["0", "2", "2", "2", "3", "4"] == afters(peer)
    assert 5 == len(told)


def test_it_begins_after_the_newest_that_is_there(peer: Peer, take: Take) -> None:
    """So that even a break before the first event loses none."""
    page = b'{"predictions": [' + line(41) + b'], "next_before": 41}'
    peer.play(http(page), streaming(b""), streaming(line(42)), hold=True)

    assert [42] == ids(take(peer.socket, 1, nothing, app="a", min_score=0.5))
    assert ["41", "41"] == afters(peer)
    assert "limit=1" in peer.requests[0]
    assert "app=a&min_score=0.5" in peer.requests[1]


def test_a_box_that_says_nothing_any_more_is_dead(peer: Peer, take: Take) -> None:
    """Its keep-alives are missed, and the stream is resumed."""
    patience = Patience(silence_s=0.05, retry_first_s=0.01)
    peer.play(streaming(line(1)), streaming(line(2)), hold=True)

    assert [1, 2] == ids(take(peer.socket, 2, nothing, after=0, patience=patience))


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        pytest.param(
            http(b'{"error": "camera: unknown", "code": "not_found"}', "404 Not Found"),
            "camera: unknown", id="refused",
        ),
        pytest.param(BUSY, "starting", id="at first"),
        pytest.param(b"SSH-2.0-hello\r\n", "did not answer", id="no HTTP"),
    ],
)  # fmt: skip
def test_what_waiting_does_not_mend_is_raised(
    peer: Peer, take: Take, answer: bytes, words: str
) -> None:
    """At once, in the box's words."""
    peer.play(answer)

    with pytest.raises((Refused, Unavailable), match=words):
        take(peer.socket, 1, nothing, after=0)


# httpcore 1.0 does not close a Unix socket whose connect failed.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_stream_is_closed_while_it_waits_for_the_box(peer: Peer) -> None:
    """Whoever closes does not wait for the pause to end."""
    peer.play(streaming(line(1)))
    patience = Patience(retry_first_s=600, retry_max_s=600)
    with Client(peer.socket, patience=patience) as box:
        stream = box.stream(after=0, on_break=lambda _: stream.close())

        assert [1] == ids(list(stream))
    gc.collect()  # here, where the warning is expected


def test_another_thread_closes_a_stream_that_waits_for_an_event(peer: Peer) -> None:
    """The reader's loop ends as if the stream had."""
    peer.play(streaming(line(1)), hold=True)
    with Client(peer.socket, patience=HASTY) as box:
        stream = box.stream(after=0)
        next(stream)
        rest: list[object] = []
        reader = threading.Thread(target=lambda: rest.extend(stream))
        reader.start()
        stream.close()
        reader.join(30)

        assert (False, []) == (reader.is_alive(), rest)


def test_another_task_closes_a_stream_that_waits_for_an_event(peer: Peer) -> None:
    """The same for an event loop."""
    peer.play(streaming(line(1)), hold=True)
    rest: list[object] = []

    async def run() -> None:
        async with AsyncClient(peer.socket, patience=HASTY) as box, box.stream(after=0) as stream:
            await anext(stream)

            async def read() -> None:
                rest.extend([event async for event in stream])

            with anyio.fail_after(30):
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(read)
                    await anyio.wait_all_tasks_blocked()
                    stream.close()

    anyio.run(run)

    assert [] == rest
