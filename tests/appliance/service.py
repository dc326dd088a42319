"""A box as an operator runs it: `python -m appliance serve` in a process of its own."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

from appliance.bundles import write_bundle

_WAIT_S = 60
ROOT = Path(__file__).parents[2]


def appliance(*arguments: str | Path, stdin: bytes = b"", cwd: Path | None = None,
              env: dict[str, str] | None = None) -> subprocess.CompletedProcess[bytes]:  # fmt: skip
    """Run the command line to its end."""
    return subprocess.run(
        [sys.executable, "-m", "appliance", *map(str, arguments)],
        input=stdin, capture_output=True, check=False, timeout=_WAIT_S, cwd=cwd, env=env,
    )  # fmt: skip


def wait_until(is_so: Callable[[], bool]) -> None:
    """Ask a process until it says yes."""
    end_s = time.monotonic() + _WAIT_S
    while not is_so():
        assert time.monotonic() < end_s, "it never came to that"


class Service:
    """A serving process over a state folder, and HTTP to its socket; use it in a `with`.

    module: what is run, with `serve`.
    """

    def __init__(self, state: Path, module: str = "appliance") -> None:
        self._module = module
        self.state = state
        self.socket = state / "run" / "appliance.sock"
        self.log = state.with_name(state.name + ".log")
        self._process: subprocess.Popen[str] | None = None
        self.http = httpx.Client(
            transport=httpx.HTTPTransport(uds=str(self.socket)), base_url="http://box", timeout=60
        )

    def start(self) -> None:
        """Return when it listens."""
        command = [sys.executable, "-m", self._module, "serve", "--state", str(self.state)]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line == f"listening on {self.socket}\n", self.log.read_text()

    @property
    def supervisor(self) -> int:
        """Give the process that was started, and that starts the box again."""
        assert self._process is not None, "it is started"
        return self._process.pid

    @property
    def pid(self) -> int:
        """Give the process of the box itself."""
        (child,) = (
            Path(f"/proc/{self.supervisor}/task/{self.supervisor}/children").read_text().split()
        )
        return int(child)

    def address(self) -> str:
        """Read where it listens besides its own socket, one address a call."""
        assert self._process is not None
        assert self._process.stdout is not None
        return self._process.stdout.readline().removeprefix("listening on ").strip()

    def tell(self, number: signal.Signals) -> None:
        """Send a signal and go on."""
        assert self._process is not None
        self._process.send_signal(number)

    def wait(self) -> int:
        """Return its exit status when it has ended."""
        process, self._process = self._process, None
        assert process is not None
        assert process.stdout is not None
        status = process.wait(_WAIT_S)
        # To its end: what was killed with its supervisor takes a moment to be gone.
        process.stdout.read()
        process.stdout.close()
        return status

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send a signal and return the exit status; 0 if it has ended already."""
        if self._process is None:
            return 0
        self.tell(number)
        return self.wait()

    def kill_when(self, is_seen: Callable[[], object], ask: Callable[[], object]) -> None:
        """Ask something of the box, and kill it as soon as a trace of that is seen on its disk."""

        def asking() -> None:
            with suppress(httpx.TransportError):
                ask()

        with ThreadPoolExecutor(1) as thread:
            asked = thread.submit(asking)
            end_s = time.monotonic() + _WAIT_S
            while not is_seen() and not asked.done():
                assert time.monotonic() < end_s, "no trace was seen"
            self.end(signal.SIGKILL)
            asked.result(_WAIT_S)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:  # fmt: skip
        self.http.close()
        status = self.end()
        if error is None:
            assert status == 0, self.log.read_text()

    def deploy(self, name: str, wasm: bytes, manifest: bytes | None = None) -> httpx.Response:
        """PUT an app, in a bundle if it has a manifest."""
        body = wasm if manifest is None else write_bundle(wasm, manifest)
        return self.http.put(f"/v1/apps/{name}", content=body)

    def show(self, name: str, picture: bytes) -> httpx.Response:
        """POST a picture to an app."""
        return self.http.post(f"/v1/apps/{name}/frames", content=picture)

    def labels(self, name: str, picture: bytes) -> list[Any]:
        """Give the labels that an app finds in a picture."""
        response = self.show(name, picture)
        assert response.status_code == 200, response.text
        return [prediction["label"] for prediction in response.json()["predictions"]]

    def files(self) -> set[str]:
        """List what is on disk, except the history and compiled guests, which only ever grow."""
        paths = (path.relative_to(self.state) for path in self.state.rglob("*"))
        return {
            str(path) for path in paths
            if not path.name.startswith("predictions.db") and path.suffix !=
            ".cwasm"
        }  # fmt: skip
