"""A camera's worker as a process: started, asked to end, killed, reaped; what it says is kept.

Everything here is bounded: lines are cut, the log keeps its last 100. Nothing blocks: the owner
waits on the descriptors, all at once, and calls the reader of the one that has something.
"""

import contextlib
import os
import re
import signal
import subprocess
import sys
from collections import deque

from appliance.cameras.ring import RingReader
from appliance.cameras.urls import HIDDEN, redact
from appliance.cameras.wire import MAX_LINE_BYTES, Job, Report, read_report

LOG_LINES = 100
_LOG_LINE_LENGTH = 300
_READ_BYTES = 65536
# The folders of a path, not those of a URL.
_FOLDERS = re.compile(r"(?<![\w:/.])/(?:[^/\s\"':]+/)+")


class Lines:
    """Cuts a stream of bytes into lines; the rest of one that is too long is left out."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._rest = b""

    def feed(self, content: bytes) -> list[bytes]:
        """Take some bytes; returns the lines that are complete."""
        *lines, rest = (self._rest + content).split(b"\n")
        self._rest = rest[: self._max_bytes]
        return [line[: self._max_bytes] for line in lines]


class DecoderLog:
    """The last lines of standard error, shown without secrets. The log outlives workers.

    secrets: hidden wherever they stand. Lines are cleaned when asked for, not when they come: a
    damaged stream makes thousands a second.
    """

    def __init__(self, secrets: tuple[str, ...]) -> None:
        self._secrets = secrets
        self._lines: deque[bytes] = deque(maxlen=LOG_LINES)

    def add(self, line: bytes) -> None:
        """Keep a line."""
        if line.strip():
            self._lines.append(line[: 2 * _LOG_LINE_LENGTH])

    def clean(self, text: str) -> str:
        """Hide secrets, folders of the machine, and what could drive a terminal."""
        text = "".join(c if c.isprintable() else " " for c in text).strip()
        for secret in self._secrets:
            text = text.replace(secret, HIDDEN)
        return _FOLDERS.sub("", redact(text))[:_LOG_LINE_LENGTH]

    def lines(self) -> list[str]:
        return [self.clean(line.decode("utf-8", "replace")) for line in self._lines.copy()]


class WorkerProcess:
    """One worker, from its start to `reap`.

    Must be made by the thread that lives as long as the worker is to: the kernel ends the worker
    with it (PR_SET_PDEATHSIG). Raises: OSError if the machine has no process or memory left.
    """

    def __init__(self, job: Job, ring: RingReader) -> None:
        self._process = subprocess.Popen(
            (sys.executable, "-m", "appliance.cameras.worker"),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            pass_fds=ring.writer_ends.all(),
            # Ctrl-C in a terminal is for the box, which ends its workers in order.
            start_new_session=True,
            bufsize=0,
        )
        assert self._process.stdin
        assert self._process.stdout
        assert self._process.stderr
        self._stdin = self._process.stdin
        self.reports_fd = self._process.stdout.fileno()
        self.log_fd = self._process.stderr.fileno()
        for fd in (self.reports_fd, self.log_fd):
            os.set_blocking(fd, False)
        try:
            self.exit_fd = os.pidfd_open(self._process.pid)
        except OSError:
            self._process.kill()
            self._close()
            raise
        # Descriptors at their end: they would look readable for ever.
        self.ended: set[int] = set()
        self._reports = Lines(MAX_LINE_BYTES)
        self._log = Lines(4 * _LOG_LINE_LENGTH)
        # A worker that is dead already is noticed by its exit.
        with contextlib.suppress(BrokenPipeError):
            self._stdin.write(job.line())

    @property
    def pid(self) -> int:
        return self._process.pid

    def read_reports(self) -> list[Report]:
        """Read what the worker reported since; what is no report is left out."""
        lines = self._reports.feed(self._read(self.reports_fd))
        return [report for report in map(read_report, lines) if report is not None]

    def read_log(self, log: DecoderLog) -> None:
        """Move what it wrote to standard error into the log."""
        for line in self._log.feed(self._read(self.log_fd)):
            log.add(line)

    def terminate(self) -> None:
        self._process.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self._process.send_signal(signal.SIGKILL)

    def reap(self) -> int:
        """Take the status of a worker that is gone, and close all of it.

        Returns: the status, negative for a signal. Waits if it is not gone.
        """
        os.close(self.exit_fd)
        return self._close()

    def _close(self) -> int:
        code = self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout, self._process.stderr):
            assert pipe is not None
            pipe.close()
        return code

    def _read(self, fd: int) -> bytes:
        try:
            content = os.read(fd, _READ_BYTES)
        except BlockingIOError:
            return b""
        if not content:
            self.ended.add(fd)
        return content
