"""A command that goes on, as a process of its own whose output is read as it comes."""

import signal
import subprocess
import sys
import threading
from types import TracebackType
from typing import Any, Self

# Only ever reached by a failure.
_WAIT_S = 60


class Process:
    """`appliance` with arguments, its stdout a pipe; use it in a `with`."""

    def __init__(self, *arguments: Any) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "appliance", *map(str, arguments)],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        # A hung command ends its pipe, and so the test that reads it.
        self._guard = threading.Timer(_WAIT_S, self._process.kill)

    def __enter__(self) -> Self:
        self._guard.start()
        return self

    def line(self) -> str:
        """Read the next line of stdout; "" at its end."""
        assert self._process.stdout is not None
        return self._process.stdout.readline()

    def until(self, words: str) -> str:
        """Read stdout up to a line with these words, and give that line."""
        while line := self.line():
            if words in line:
                return line
        raise AssertionError(f"no line with {words!r}; stderr: {self.stderr()}")

    def first_error(self) -> str:
        """Read the next line of stderr."""
        assert self._process.stderr is not None
        return self._process.stderr.readline()

    def stderr(self) -> str:
        """Read stderr to its end."""
        assert self._process.stderr is not None
        return self._process.stderr.read()

    def close_stdout(self) -> None:
        """Leave, as `head` does."""
        assert self._process.stdout is not None
        self._process.stdout.close()

    def end(self, number: signal.Signals | None = None) -> tuple[int, list[str]]:
        """Send a signal if one is given, and give the exit status and the lines of stderr."""
        if number is not None:
            self._process.send_signal(number)
        return self._process.wait(_WAIT_S), self.stderr().splitlines()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:  # fmt: skip
        self._guard.cancel()
        self._guard.join()
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdout, self._process.stderr):
            assert stream is not None
            stream.close()
