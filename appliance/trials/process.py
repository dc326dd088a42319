"""A process for one trial: started ahead, asked once, and killed with all its children.

It says where it is (`stage`), and each stage has its time; what it says last is the outcome. It
trusts the box and the box believes nothing it says: `isolation.wire` bounds the messages.
"""

import contextlib
import fcntl
import logging
import math
import os
import select
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from appliance.guests.compiler import NICENESS
from appliance.isolation import wire
from appliance.isolation.blobs import write_blobs

log = logging.getLogger(__name__)

# Importing takes 0.4 s here, and ten times that on a small board with a cold disk.
START_S = 60.0
# Until the kernel has cleared away one that says nothing any more.
_END_S = 5.0
_LAST_WORDS_BYTES = 64 * 1024
_SHOWN_WORDS = 300
# What Rust's allocator, C++ and Python say when they meet the limit.
_OUT_OF_MEMORY = (b"memory allocation of", b"bad_alloc", b"MemoryError", b"Cannot allocate memory")

OnStage = Callable[[str], None]


class Lost(Exception):
    """The process ended or had to be ended. stage: what it was at.   how: "was ended by ..."."""

    def __init__(self, stage: str, how: str) -> None:
        super().__init__(f"{how} at stage {stage}")
        self.stage = stage
        self.how = how


@dataclass(frozen=True, slots=True)
class ProcessBounds:
    """memory_bytes: of data.   cpu_s: of all threads; the stages' times come first, mostly."""

    memory_bytes: int
    cpu_s: float


@dataclass(frozen=True, slots=True)
class Errand:
    """What a process is to do.

    message: JSON.   blobs: what is too large for it.   stages: in their order, with the seconds
    that each may take.
    """

    message: dict[str, Any]
    blobs: Sequence[bytes]
    stages: Mapping[str, float]


class Throwaway:
    """One process; use it in a `with`, in a thread that stays until its end: it dies with that.

    Raises: OSError if the machine has no process or memory left.
    """

    def __init__(self, bounds: ProcessBounds) -> None:
        self._memory_bytes = bounds.memory_bytes
        self._words = _last_words()
        try:
            self._control, theirs = wire.pair()
            with theirs:
                self._process = subprocess.Popen(
                    [
                        sys.executable, "-m", "appliance.trials.worker", str(theirs.fileno()),
                        str(bounds.memory_bytes), str(math.ceil(bounds.cpu_s)), str(os.getpid()),
                    ],
                    pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL, stderr=self._words,
                    # A group of its own, so that its children can be ended with it.
                    start_new_session=True,
                )  # fmt: skip
            # Behind whoever answers frames, and from here: importing is half of what it does.
            os.setpriority(os.PRIO_PROCESS, self._process.pid, NICENESS)
            self._pidfd = os.pidfd_open(self._process.pid)
        except BaseException:
            os.close(self._words)
            raise

    @property
    def pid(self) -> int:
        return self._process.pid

    def ask(self, errand: Errand, on_stage: OnStage = lambda stage: None) -> dict[str, Any]:
        """Send the errand and wait for its outcome.

        Returns: the last message, which has no stage.   Raises: Lost; OSError for want of memory.
        """
        stages = {"start": START_S, **errand.stages}
        at = "start"
        sizes = [len(blob) for blob in errand.blobs]
        blobs = _in_memory(errand.blobs)
        try:
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                # One that died before is found out below.
                wire.send(self._control, {**errand.message, "sizes": sizes}, [blobs])
        finally:
            os.close(blobs)
        while True:
            self._control.settimeout(stages[at])
            try:
                answer = self._receive()
                if "stage" not in answer:
                    return answer
                at = _next(list(stages), at, answer["stage"])
            except (OSError, EOFError, ValueError) as exc:
                raise Lost(at, self._how(exc, stages[at])) from exc
            on_stage(at)

    def _receive(self) -> dict[str, Any]:
        answer, fds = wire.receive(self._control)
        for fd in fds:
            os.close(fd)
        return answer

    def _how(self, cause: BaseException, allowed_s: float) -> str:
        """Say how it ended; one that hangs or talks nonsense is ended by `end`."""
        if isinstance(cause, TimeoutError):
            return f"gave no answer for {allowed_s:.0f} s and was stopped"
        if isinstance(cause, ValueError):
            return "gave an answer that is none and was stopped"
        status = self._kill()
        words = os.pread(self._words, _LAST_WORDS_BYTES, 0).rstrip(b"\0")
        said = words.decode("utf-8", "replace").strip()[-_SHOWN_WORDS:]
        log.warning("trial's process lost status=%d said=%r", status, said)
        if any(sign in words for sign in _OUT_OF_MEMORY):
            return f"wanted more than its {self._memory_bytes // 1024**2} MiB of memory and crashed"
        if status == -signal.SIGXCPU:
            return "took too much processor time and was stopped"
        if status < 0:
            return f"crashed (signal {-status})"
        return f"ended with status {status}"

    def _kill(self) -> int:
        """End it and its children. Returns: its status, minus the signal that ended it."""
        if self._process.returncode is None:
            # Its own end comes first, if it is on its way: a crash is not to look like our kill.
            select.select([self._pidfd], [], [], _END_S)
            self._end_group()
        return self._process.wait()

    def _end_group(self) -> None:
        # Before it is waited for: until then nobody else can get its number.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)

    def stop(self) -> None:
        """Let whoever waits for its outcome wait no longer; from any thread, before `end`."""
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(self._pidfd, signal.SIGKILL)

    def end(self) -> None:
        """End it, at once, with whatever it started."""
        if self._process.returncode is None:
            self._end_group()
            self._process.wait()
        self._control.close()
        os.close(self._pidfd)
        os.close(self._words)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:  # fmt: skip
        self.end()


def _next(stages: list[str], at: str, said: object) -> str:
    """Follow it to a later stage. Raises: ValueError if there is no such."""
    if said not in stages[stages.index(at) + 1 :]:
        raise ValueError("not a later stage")
    return str(said)


def _last_words() -> int:
    """Make what standard error goes to: memory that takes a little and refuses the rest."""
    descriptor = os.memfd_create("trial-words", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.ftruncate(descriptor, _LAST_WORDS_BYTES)
    fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK)
    return descriptor


def _in_memory(blobs: Sequence[bytes]) -> int:
    """Put blobs where another process can read them. Raises: OSError."""
    descriptor = os.memfd_create("trial", os.MFD_CLOEXEC)
    try:
        write_blobs(descriptor, blobs)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor
