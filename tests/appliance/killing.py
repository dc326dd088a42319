"""A box that is killed amid deploys, again and again, while frames go in the whole time."""

import json
import os
import random
import signal
import socket
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from itertools import count
from pathlib import Path

import httpx

from appliance.bundles import Bundle
from tests.appliance import watguests as guests
from tests.appliance.service import Service, wait_until

APP = "cat"
LABELS = ("one", "two", "three", "four")
# Between two frames: the box is to have time for other things.
_PAUSE_S = 0.002
# More services than this in a minute and the supervisor takes its time (`supervision.restarts`).
_MAX_SERVICES = 3
# From the deploy's first byte to the kill: within it, or while the guest is compiled as well.
_WITHIN_S = (0.04, 0.4, 1.2)


def guest(label: str, mark: int = 0) -> bytes:
    """A guest that answers with its label. mark: others make another version of the same."""
    name = f"mark{mark}".encode()
    section = bytes([len(name)]) + name
    return guests.labelled(label) + b"\0" + bytes([len(section)]) + section


@contextmanager
def connected(path: Path) -> Iterator[HTTPConnection]:
    """Connect to a box. Raises: OSError; and HTTPException inside, when it goes away."""
    # Not httpx: it connects anew, and leaves a socket open when nobody answers there.
    http = HTTPConnection("box")
    http.auto_open = 0
    with socket.socket(socket.AF_UNIX) as http.sock:
        http.sock.settimeout(60)
        http.sock.connect(str(path))
        yield http


@dataclass
class Frames:
    """A client that shows pictures without end, and notes what was acknowledged.

    acknowledged: id and label of each answer that arrived.   wrong: answers that cannot be.
    """

    socket: Path
    picture: bytes
    labels: dict[str, str] = field(default_factory=dict)
    acknowledged: list[tuple[int, str]] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    _stop: threading.Event = field(default_factory=threading.Event)

    @contextmanager
    def going_in(self) -> Iterator[None]:
        """Show pictures as long as the block lasts."""
        with ThreadPoolExecutor(1, "frames") as pool:
            done = pool.submit(self._work)
            try:
                yield
            finally:
                self._stop.set()
            done.result(60)

    def _work(self) -> None:
        while not self._stop.is_set():
            with suppress(OSError, HTTPException), connected(self.socket) as http:
                while not self._stop.wait(_PAUSE_S):
                    self._show(http)
            self._stop.wait(_PAUSE_S)

    def _show(self, http: HTTPConnection) -> None:
        http.request("POST", f"/v1/apps/{APP}/frames", self.picture)
        response = http.getresponse()
        body = response.read()
        if response.status == 503:
            return  # it starts
        if response.status != 200:
            self.wrong.append(f"{response.status} {body[:300]!r}")
            return
        answer = json.loads(body)
        (prediction,) = answer["predictions"]
        if not answer["is_stored"] or self.labels[answer["version"]] != prediction["label"]:
            self.wrong.append(body.decode())
        self.acknowledged.append((prediction["id"], prediction["label"]))


class Killing:
    """Rounds of deploy and kill over one box. counts: what was met, for people."""

    def __init__(self, box: Service, picture: bytes, seed: int) -> None:
        self.box = box
        self.frames = Frames(box.socket, picture)
        self.counts: Counter[str] = Counter()
        self._random = random.Random(seed)
        self._marks = count(1)
        self._services = 1
        self._home = box.state / "apps" / APP

    def begin(self) -> None:
        """Deploy the first version."""
        assert self.box.deploy(APP, self._next("one", mark=0)).status_code == 200

    def round(self, number: int) -> None:
        """Deploy the next version, kill the box meanwhile, and look at what is there then."""
        mark = next(self._marks) if self._random.random() < 0.5 else 0
        wasm = self._next(LABELS[number % len(LABELS)], mark)
        new, old = Bundle(wasm).version, self._pointer()
        with ThreadPoolExecutor(1, "deploy") as pool:
            asked = self._send(pool, wasm, is_dropped=number % 2 == 1)
            # A moment of the deploy's life, whichever that is.
            asked_or_not = threading.Event()
            asked_or_not.wait(self._random.random() * self._random.choice(_WITHIN_S))
            self._kill()
            is_acknowledged = asked.result(60)
        self._settle()
        if is_acknowledged is None or is_acknowledged:
            self._check({new})
        else:
            self._check({old, new})
        self._count(is_acknowledged, is_new=self._pointer() == new)

    def lost(self) -> set[tuple[int, str]]:
        """Ask for the whole history. Returns: what was acknowledged and is not in it."""
        rows, page = [], {"limit": "100000"}
        accept = {"Accept": "application/x-ndjson"}
        response = self.box.http.get("/v1/predictions", params=page, headers=accept)
        assert response.status_code == 200, response.text
        rows = [json.loads(line) for line in response.text.splitlines()]
        while len(rows) % 100_000 == 0 and rows:
            page["before"] = str(rows[-1]["id"])
            more = self.box.http.get("/v1/predictions", params=page, headers=accept).text
            if not more:
                break
            rows += [json.loads(line) for line in more.splitlines()]
        found = [(row["id"], row["label"]) for row in rows]
        assert len(found) == len(set(found)) == len({id for id, _ in found})
        return set(self.frames.acknowledged) - set(found)

    def _next(self, label: str, mark: int) -> bytes:
        wasm = guest(label, mark)
        self.frames.labels[Bundle(wasm).version] = label
        return wasm

    def _send(
        self, pool: ThreadPoolExecutor, wasm: bytes, *, is_dropped: bool
    ) -> Future[bool | None]:
        """Deploy. The future: whether the box said that it answers; None for a drop, which has
        arrived when this returns."""
        if not is_dropped:
            return pool.submit(self._put, wasm)
        inbox = self.box.state / "inbox"
        (inbox / ".arriving").write_bytes(wasm)
        (inbox / ".arriving").rename(inbox / f"{APP}.wasm")
        return pool.submit(lambda: None)

    def _put(self, wasm: bytes) -> bool:
        with suppress(OSError, HTTPException), connected(self.box.socket) as http:
            http.request("PUT", f"/v1/apps/{APP}", wasm)
            response = http.getresponse()
            body = response.read()
            is_refused = response.status == 503 and b"the box is starting" in body
            assert is_refused or response.status == 200, body
            return not is_refused
        return False

    def _kill(self) -> None:
        """End the service's process, or its supervisor's, which takes it along."""
        self._services += 1
        if self._services <= _MAX_SERVICES and self._random.random() < 0.5:
            pid = self.box.pid
            os.kill(pid, signal.SIGKILL)
            self.counts["service killed"] += 1
            wait_until(lambda: self._pid() not in (None, pid))
        else:
            self.box.end(signal.SIGKILL)
            self.counts["supervisor killed"] += 1
            self.counts["unfinished files met"] += bool(self._temporaries())
            self.box.start()
            self._services = 1

    def _pid(self) -> int | None:
        with suppress(OSError, ValueError):
            return self.box.pid
        return None

    def _settle(self) -> None:
        """Wait until the box is up and has taken what was dropped."""

        def is_settled() -> bool:
            with suppress(httpx.TransportError):
                is_up = self.box.http.get("/readyz").status_code == 200
                return is_up and not (self.box.state / "inbox" / f"{APP}.wasm").exists()
            return False

        wait_until(is_settled)

    def _check(self, wanted: set[str]) -> None:
        """See that one of these versions is whole, and that all who are asked name it."""
        pointed = self._pointer()
        assert pointed in wanted
        (app,) = self.box.http.get("/v1/apps").json()
        assert (app["version"], app["state"]) == (pointed, "live"), app
        answer = self.box.show(APP, self.frames.picture).json()
        assert answer["version"] == pointed
        assert answer["predictions"][0]["label"] == self.frames.labels[pointed]
        folders = [path for path in self._home.iterdir() if path.is_dir()]
        assert pointed in {folder.name for folder in folders}
        for folder in folders:
            assert Bundle((folder / "app.wasm").read_bytes()).version == folder.name
        assert self._temporaries() == []

    def _temporaries(self) -> list[Path]:
        return list(self.box.state.rglob(".tmp-*"))

    def _pointer(self) -> str:
        return (self._home / "current").read_text().strip()

    def _count(self, is_acknowledged: bool | None, *, is_new: bool) -> None:
        how = {None: "dropped", True: "acknowledged", False: "cut off"}[is_acknowledged]
        self.counts[f"{how}, then {'new' if is_new else 'old'} serves"] += 1
