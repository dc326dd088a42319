"""Predictions as they come, over the socket of a serving process."""

import asyncio
import json
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx
import pytest

from appliance.api import stream
from appliance.api.stream import FORMS, SSE
from appliance.feed import Feed
from appliance.store import PredictionQuery, PredictionStore
from tests.appliance import watguests as guests
from tests.appliance.service import Service
from tests.appliance.store.rows import predict

NDJSON = {"Accept": "application/x-ndjson"}
LINES, LINE_BYTES = 200, 4000


@pytest.fixture(scope="module")
def box(service: Service) -> Service:
    """A box with two apps, and one that says very much."""
    many = (b"x" * (LINE_BYTES - 1) + b"\n") * LINES
    for name, wasm in (
        ("cats", guests.emitting(b'{"label": "cat", "score": 0.25}')),
        ("dogs", guests.emitting(b'{"label": "dog", "score": 0.75}')),
        ("chatty", guests.command(guests.write(1, len(many)), ("fd_write",), many, pages=16)),
    ):
        assert service.deploy(name, wasm).status_code == 200
    return service


class Stream:
    """A stream that is open, and what comes in it."""

    def __init__(self, response: httpx.Response) -> None:
        self.response = response
        self._lines = response.iter_lines()

    def event(self) -> dict[str, str]:
        """Read one event of SSE, by field."""
        fields = {}
        while line := next(self._lines):
            key, _, value = line.partition(": ")
            fields[key] = value
        return fields

    def line(self) -> Any:
        """Read one line of NDJSON, None if it is empty."""
        line = next(self._lines)
        return json.loads(line) if line else None

    def rest(self) -> list[Any]:
        """Read NDJSON to its end."""
        return [json.loads(line) for line in self._lines if line]


@contextmanager
def following(
    service: Service, headers: dict[str, str] | None = None, **filters: Any
) -> Iterator[Stream]:
    """Open a stream; it is live when this returns."""
    with service.http.stream(
        "GET", "/v1/predictions/stream", params=filters, headers=headers
    ) as response:
        assert response.status_code == 200, response.read()
        stream = Stream(response)
        if headers and "Accept" in headers:
            assert stream.line() is None
        else:
            assert stream.event() == {"retry": "2000"}
        yield stream


def show(service: Service, app: str, picture: bytes) -> dict[str, Any]:
    """Show a picture; give the first prediction."""
    response = service.show(app, picture)
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()["predictions"][0]
    return answer


def newest(service: Service) -> int:
    found = service.http.get("/v1/predictions", params={"limit": 1}).json()["predictions"]
    return int(found[0]["id"]) if found else 0


def test_predictions_come_as_events(box: Service, picture: bytes) -> None:
    """As EventSource reads them: id, kind, and the JSON that the history has."""
    with following(box) as opened:
        cat = show(box, "cats", picture)
        event = opened.event()

    assert opened.response.headers["Content-Type"].startswith("text/event-stream")
    assert opened.response.headers["Cache-Control"] == "no-store"
    assert (event["id"], event["event"]) == (str(cat["id"]), "prediction")
    assert json.loads(event["data"]) == cat


def test_predictions_come_as_lines(box: Service, picture: bytes) -> None:
    """NDJSON, by Accept; filters hold."""
    with following(box, NDJSON, label="dog", min_score=0.75, app="dogs", camera="api") as opened:
        show(box, "cats", picture)
        dog = show(box, "dogs", picture)
        line = opened.line()

    assert opened.response.headers["Content-Type"] == "application/x-ndjson"
    assert line == dog


def test_a_stream_begins_after_an_id(box: Service, picture: bytes) -> None:
    """What is stored first, then what comes; the header goes before the parameter."""
    first = show(box, "cats", picture)["id"]
    stored = [show(box, "cats", picture), show(box, "cats", picture)]
    with following(box, NDJSON, after=first) as opened:
        live = show(box, "cats", picture)
        from_parameter = [opened.line() for _ in range(3)]
    with following(box, {**NDJSON, "Last-Event-ID": str(stored[1]["id"])}, after=first) as opened:
        from_header = opened.line()

    assert from_parameter == [*stored, live]
    assert from_header == live


def test_a_resumed_stream_has_no_gap_and_no_double(box: Service, picture: bytes) -> None:
    """While others append, over more than one page of the store, again and again."""
    begin = newest(box)

    def append() -> None:
        for _ in range(8):
            show(box, "chatty", picture)

    appending = threading.Thread(target=append)
    appending.start()
    last, wanted = begin, begin + 8 * LINES
    seen = []
    while last < wanted:
        with following(box, NDJSON, after=last) as opened:
            for _ in range(min(300, wanted - last)):
                seen.append(opened.line()["id"])
        last = seen[-1]
    appending.join()

    assert seen == list(range(begin + 1, wanted + 1))


def test_an_id_of_another_history_is_no_reason_to_wait(box: Service, picture: bytes) -> None:
    """After a damaged file was set aside ids begin anew; the reader gets what comes."""
    with following(box, NDJSON, after=10**15) as opened:
        cat = show(box, "cats", picture)

        assert opened.line() == cat


class SlowReader:
    """A client that asks for the stream and does not read."""

    def __init__(self, path: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(60)
        self._socket.connect(str(path))
        self._socket.sendall(
            b"GET /v1/predictions/stream?app=chatty HTTP/1.1\r\nHost: box\r\n"
            b"Accept: application/x-ndjson\r\n\r\n"
        )
        self._file = self._socket.makefile("rb")
        # The empty line that says it is live is a chunk of its own: its size, and the line.
        while self._file.readline() != b"\r\n":
            pass
        assert [self._file.readline() for _ in range(2)] == [b"1\r\n", b"\n"]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:  # fmt: skip
        self._file.close()
        self._socket.close()

    def read_until(self, last: int) -> tuple[list[int], list[int]]:
        """Give the ids, and what was said to be lost, up to an id."""
        ids: list[int] = []
        lost: list[int] = []
        while not ids or ids[-1] != last:
            line = self._file.readline()
            # Between the lines there are the sizes of chunks.
            if line.startswith(b'{"lost"'):
                lost.append(json.loads(line)["lost"])
            elif line.startswith(b'{"id"'):
                ids.append(json.loads(line)["id"])
        return ids, lost


def test_a_slow_reader_is_told_how_many_it_lost(box: Service, picture: bytes) -> None:
    """The box goes on; the reader has the newest, and what it has and lost is all there was."""
    before = newest(box)
    with SlowReader(box.socket) as reader:
        for _ in range(10):
            show(box, "chatty", picture)
        ids, lost = reader.read_until(before + 10 * LINES)

    assert len(lost) == 1
    assert len(ids) + lost[0] == 10 * LINES
    assert ids == sorted(set(ids))


@pytest.mark.parametrize(
    ("query", "headers", "status", "sentence"),
    [
        ("after=-1", {}, 400, "query.after: input should be greater than or equal to 0"),
        ("after=x", {}, 400, "query.after"),
        ("lable=cat", {}, 400, "query.lable"),
        ("min_score=nan", {}, 400, "query.min_score"),
        ("", {"Last-Event-ID": "x"}, 400, "Last-Event-ID: got 'x', wanted the id"),
        ("", {"Last-Event-ID": "9" * 19}, 400, "Last-Event-ID: got"),
        ("", {"Accept": "image/png"}, 406, "wanted any of text/event-stream"),
    ],
)  # fmt: skip
def test_bad_streams_are_refused(
    box: Service, query: str, headers: dict[str, str], status: int, sentence: str
) -> None:
    """Before the stream begins, in our error shape."""
    response = box.http.get(f"/v1/predictions/stream?{query}", headers=headers)

    assert response.status_code == status
    assert sentence in response.json()["error"]
    assert response.json()["code"] == {400: "bad_request", 406: "not_acceptable"}[status]


@pytest.fixture
def small(tmp_path_factory: pytest.TempPathFactory, state: Path) -> Iterator[Service]:
    """A box that lets one client follow."""
    folder = state.with_name("small")
    folder.mkdir(exist_ok=True)
    (folder / "settings.toml").write_text("max_streams = 1\n")
    with Service(folder) as running:
        assert running.deploy("cats", guests.labelled("cat")).status_code == 200
        yield running


def test_too_many_streams_are_refused_until_one_leaves(small: Service) -> None:
    """503 with Retry-After; a client that went makes room although nothing was sent to it."""
    with following(small):
        refusal = small.http.get("/v1/predictions/stream")
    status = 503
    while status == 503:
        with small.http.stream("GET", "/v1/predictions/stream") as again:
            status = again.status_code

    assert (refusal.status_code, refusal.json()["code"]) == (503, "unavailable")
    assert int(refusal.headers["Retry-After"]) > 0
    assert status == 200


def test_a_stop_ends_streams_and_a_restart_resumes(small: Service, picture: bytes) -> None:
    """The body ends in order; with the last id nothing is missed over the restart."""
    with following(small, NDJSON) as opened:
        seen = show(small, "cats", picture)
        first = opened.line()
        small.tell(signal.SIGTERM)
        rest = opened.rest()
    assert small.wait() == 0
    small.start()
    missed = show(small, "cats", picture)
    with following(small, {**NDJSON, "Last-Event-ID": str(first["id"])}) as opened:
        resumed = opened.line()
        live = show(small, "cats", picture)
        after_it = opened.line()

    assert (first, rest) == (seen, [])
    assert (resumed, after_it) == (missed, live)
    assert small.end() == 0
    assert "Traceback" not in small.log.read_text()


def test_what_was_not_stored_is_an_event_without_an_id() -> None:
    """The reader keeps the id before it, and would resume from there."""
    text = FORMS[SSE].prediction(predict(3)).decode()

    assert text.startswith('event: prediction\ndata: {"id":null,')
    assert text.endswith("}\n\n")


@pytest.mark.parametrize(
    ("form", "pieces"),
    [(SSE, [b"retry: 2000\n\n", b": keep-alive\n\n"]), ("application/x-ndjson", [b"\n", b"\n"])],
)
def test_silence_is_kept_alive(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, form: str, pieces: list[bytes]
) -> None:
    """So that a reader, and whatever is between, knows that the box is there."""
    monkeypatch.setattr(stream, "KEEP_ALIVE_S", 0.0)
    feed = Feed(max_subscribers=1)
    store = PredictionStore(tmp_path / "predictions.db")

    async def read_two() -> list[object]:
        answer = await stream.open_stream(feed, store, PredictionQuery(), None, FORMS[form])
        body = answer.body_iterator
        return [await anext(body), await anext(body)]

    assert pieces == asyncio.run(read_two())
