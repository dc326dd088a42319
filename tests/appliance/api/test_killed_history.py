"""A service that is killed while it stores."""

import json
import signal
import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection, HTTPException
from pathlib import Path

import pytest

from tests.appliance import watguests as guests
from tests.appliance.service import Service

INSERTS = 1000
CLIENTS = 8


class Clients:
    """Several clients that show pictures at once and note what was acknowledged."""

    def __init__(self, service: Service, picture: bytes) -> None:
        self._service = service
        self._picture = picture
        self._lock = threading.Lock()
        self.ids: list[int] = []
        self.has_enough = threading.Event()

    def work(self, enough: int) -> None:
        """Show pictures until all are sent or the service is gone."""
        # Not httpx: it connects anew, and leaves a socket open when nobody answers there.
        http = HTTPConnection("box")
        http.auto_open = 0
        with socket.socket(socket.AF_UNIX) as http.sock:
            try:
                http.sock.connect(str(self._service.socket))
            except OSError:
                return
            for _ in range(INSERTS // CLIENTS):
                try:
                    http.request("POST", "/v1/apps/cats/frames", self._picture)
                    answer = json.loads(http.getresponse().read())
                except (OSError, HTTPException):
                    return
                assert answer["is_stored"]
                with self._lock:
                    self.ids += [one["id"] for one in answer["predictions"]]
                    if len(self.ids) >= enough:
                        self.has_enough.set()


@pytest.mark.parametrize("enough", [1, 300, 700])
def test_a_kill_loses_nothing_that_was_acknowledged(
    state: Path, picture: bytes, enough: int
) -> None:
    """Of 1000 inserts by 8 clients, kill -9 amid them: every answered one is there, once."""
    with Service(state.with_name(f"state-{enough}")) as service:
        service.deploy("cats", guests.labelled("cat"))
        clients = Clients(service, picture)
        with ThreadPoolExecutor(CLIENTS) as pool:
            working = [pool.submit(clients.work, enough) for _ in range(CLIENTS)]
            assert clients.has_enough.wait(60)
            service.end(signal.SIGKILL)
            assert [None] * CLIENTS == [future.result(60) for future in working]
        service.start()
        stored = service.http.get(
            "/v1/predictions", params={"limit": INSERTS}, headers={"Accept": "text/csv"}
        ).text.splitlines()[1:]
        found = [int(line.split(",")[0]) for line in stored]
        total = service.http.get("/v1/predictions/summary").json()["total"]

    assert enough <= len(clients.ids) < INSERTS
    assert set(clients.ids) <= set(found)
    assert total == len(found) == len(set(found))
