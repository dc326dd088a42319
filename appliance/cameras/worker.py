"""A camera's worker: `python -m appliance.cameras.worker`, started by `process`.

Standard input: one job, then nothing until it ends, which means that the box is gone.
Standard output: reports. Standard error: what FFmpeg and Python have to say. Frames: the ring.

It ends by itself when its source has ended or failed, on SIGTERM between two frames (or a second
later, wherever FFmpeg hangs), and at once when the box is gone, whichever way that went.
"""

import contextlib
import ctypes
import os
import resource
import select
import signal
import sys
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from appliance.cameras.shots import ShotSource, SourceError, Tally, Wants
from appliance.cameras.urls import Kind
from appliance.cameras.wire import Ended, Failed, Job, Report, read_job, report_line

if TYPE_CHECKING:
    from appliance.cameras.capture import Capture

# How long the loop may take to notice SIGTERM; FFmpeg may be waiting for a packet.
_IN_ORDER_S = 1.0
_REPORT_EVERY_MS = 250
# prctl(2): which signal the end of the thread that started us sends.
_PR_SET_PDEATHSIG = 1


def main() -> int:
    """Do the job that comes on standard input."""
    reports = _own_stdout()
    _die_with_parent()
    # Before numpy, imported by `capture`: its libraries would start a thread per core.
    os.putenv("OPENBLAS_NUM_THREADS", "1")
    stop, finished = threading.Event(), threading.Event()
    wakes, woken = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(woken, warn_on_full_buffer=False)
    signal.signal(signal.SIGTERM, lambda _number, _frame: stop.set())
    line = sys.stdin.buffer.readline()
    if not line:
        return 0
    job = read_job(line)
    _limit(job.data_bytes)

    def report(what: Report) -> None:
        # A box that does not read must not stop the camera: what it misses is in the next counts.
        with contextlib.suppress(BlockingIOError):
            os.write(reports, report_line(what))

    from appliance.cameras.capture import Capture

    tally = Tally()
    capture = Capture(job, tally, report, stop)
    watch = threading.Thread(
        target=_watch, args=(wakes, stop, finished, capture), name="watch", daemon=True
    )
    watch.start()
    _work(job, capture, tally, report, stop)
    finished.set()
    return 0


def _work(
    job: Job,
    capture: "Capture",
    tally: Tally,
    report: Callable[[Report], None],
    stop: threading.Event,
) -> None:
    """Take pictures until there are no more, and say how it ended."""
    try:
        _passes(job, capture, tally, report, stop)
        end: Report = Ended()
    except SourceError as exc:
        end = Failed(str(exc))
    except MemoryError:
        end = Failed("decoding needs more memory than a camera may use")
    capture.report_counts()
    if not stop.is_set():
        report(end)


def _passes(
    job: Job,
    capture: "Capture",
    tally: Tally,
    report: Callable[[Report], None],
    stop: threading.Event,
) -> None:
    """Show a source once or, if it is a film that loops, again and again."""
    loops = job.source.is_on("loop", default=job.loop)
    is_first = True
    while True:
        with contextlib.closing(_open(job, tally, capture.wants)) as source:
            if is_first:
                report(source.opened)
            is_first = False
            had_any = capture.run(source)
            if stop.is_set():
                return
            if not source.is_finite:
                raise SourceError("the camera ended the stream")
            if not had_any:
                raise SourceError("there is no whole picture in it")
            if not loops:
                return


def _open(job: Job, tally: Tally, wants: Wants) -> ShotSource:
    # Imported where needed: half of a worker's start is imports.
    kind, address = job.source.kind, job.source.address
    if kind is Kind.TEST:
        from appliance.cameras.synthetic import MovingPicture

        return MovingPicture(job)
    if kind is Kind.FOLDER or (kind is Kind.FILE and os.path.isdir(address)):
        from appliance.cameras.stills import Stills

        return Stills(job, tally)
    from appliance.cameras.decoder import Film, log_to_stderr

    log_to_stderr()
    return Film(job, tally, wants)


def _own_stdout() -> int:
    """Keep standard output for reports; whoever else writes there gets standard error."""
    reports = os.dup(1)
    os.dup2(2, 1)
    # Neither a box that is held up nor a full log may stop the camera.
    os.set_blocking(reports, False)
    os.set_blocking(2, False)
    return reports


def _die_with_parent() -> None:
    # The end of standard input says so too, but not to a process that hangs.
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _limit(data_bytes: int) -> None:
    """Bound the memory, and leave no core file: it would hold the password."""
    resource.setrlimit(resource.RLIMIT_DATA, (data_bytes, data_bytes))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _watch(
    wakes: int, stop: threading.Event, finished: threading.Event, capture: "Capture"
) -> None:
    """End the process when the box is gone, or when SIGTERM has no effect; report meanwhile.

    The counts are sent from here: the loop may be waiting for a camera that has fallen silent.
    """
    poll = select.poll()
    for fd in (0, wakes):
        poll.register(fd, select.POLLIN)
    while True:
        ready = {fd for fd, _ in poll.poll(_REPORT_EVERY_MS)}
        capture.report_counts()
        if 0 in ready and not os.read(0, 4096):
            os._exit(0)
        if wakes in ready:
            os.read(wakes, 64)
            # The handler runs in the main thread, which may be deep in FFmpeg.
            stop.set()
            if not finished.wait(_IN_ORDER_S):
                os._exit(0)


if __name__ == "__main__":
    sys.exit(main())
