"""The supervisor: starts the service, starts it again when it dies or hangs, passes signals on.

    supervise([sys.executable, "-m", "appliance"], ["serve", "--state", "/tmp/x"])

Guarantees:
1. The listening sockets outlive the service: who connects between two of them waits in the queue.
2. SIGTERM and SIGINT go to the service, and nobody else's Ctrl-C does: it is in a process group of
   its own. It ends as the service ended.
3. A service that never was ready and ends by itself is not started again: its settings are wrong,
   or another box runs. One that ends with status 0 is not, either.
4. When it is killed itself, the kernel kills the service (`link`).

Imports are few: without dataclasses, json and ctypes it takes 5 MiB of its own instead of 6.5.
"""

import fcntl
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

from appliance.supervision.link import MAX_MESSAGE_BYTES, MAX_SOCKETS
from appliance.supervision.notify import Notifier
from appliance.supervision.restarts import Restarts

# sd_listen_fds(3).
_FIRST_FD = 3
# Above all that we have open; chosen, not measured.
_HIGH_FD = 100
# Until the first word of a service: importing takes a second here, and ten times that on a
# small board with a cold disk.
_START_S = 60.0
# After the second signal, for a service that does not even notice it.
_FORCED_S = 5.0
# systemd is told that it goes on while we wait to start the service again.
_FEED_S = 1.0
_OURS = ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "NOTIFY_SOCKET", "WATCHDOG_USEC",
         "WATCHDOG_PID")  # fmt: skip


class _Service:
    """A service's process.

    until_s: when it is ended unless it says something, monotonic.   verdict: why we ended it.
    """

    def __init__(self, pid: int, link: socket.socket, now: float) -> None:
        self.pid = pid
        self.link = link
        self.until_s = now + _START_S
        self.silence_s = _START_S
        self.verdict = ""


class Supervisor:
    """Keeps one service alive. command: without `--link`."""

    def __init__(self, command: Sequence[str]) -> None:
        self._command = list(command)
        self._signals: list[int] = []
        self._forwarded = 0
        self._restarts = Restarts()
        self._notify = Notifier(os.environ.get("NOTIFY_SOCKET", ""))
        self._kept = _inherited()
        self._made: tuple[str, int] | None = None
        self._was_ready = False
        self._wake = -1

    def run(self) -> int:
        """Return the service's last exit status, minus the signal that ended it."""
        with self._woken_by_signals():
            try:
                return self._keep_alive()
            finally:
                self._remove_made()

    def _keep_alive(self) -> int:
        fate = ""
        while True:
            service = self._start(fate)
            status = self._attend(service)
            service.link.close()
            if self._signals or status == 0 or (status > 0 and not self._was_ready):
                return 1 if service.verdict and self._signals else status
            fate = _fate_of(status, service.verdict)
            wait_s = self._restarts.wait_s(time.monotonic())
            _say("error", f"service ended, starting it again fate={fate!r} wait_s={wait_s:.1f}")
            self._notify(f"STATUS=starting again after: {fate}")
            if not self._pause(wait_s):
                return 0

    # -- one service -----------------------------------------------------------------------------

    def _start(self, fate: str) -> _Service:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.send(f"fate {os.getpid()} {fate}".encode())
        pid = os.fork()
        if pid == 0:
            try:
                self._become_service(theirs.fileno())
            finally:
                os._exit(127)
        theirs.close()
        now = time.monotonic()
        self._restarts.started(now)
        return _Service(pid, ours, now)

    def _become_service(self, link: int) -> None:
        """Be the new process: sockets where sd_listen_fds has them, then the link; execute."""
        os.setpgid(0, 0)
        environment = {k: v for k, v in os.environ.items() if k not in _OURS}
        if self._kept:
            environment |= {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": str(len(self._kept))}
        high = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, _HIGH_FD) for fd in (*self._kept, link)]
        for target, descriptor in enumerate(high, _FIRST_FD):
            os.dup2(descriptor, target)
        last = _FIRST_FD + len(self._kept)
        os.execve(self._command[0], [*self._command, "--link", str(last)], environment)

    def _attend(self, service: _Service) -> int:
        """Listen to a service until it has ended."""
        poll = select.poll()
        poll.register(self._wake, select.POLLIN)
        poll.register(service.link, select.POLLIN)
        while True:
            self._forward(service)
            left_s = max(0.0, service.until_s - time.monotonic())
            events = dict(poll.poll(min(left_s, 60.0) * 1000))
            if self._wake in events:
                os.read(self._wake, 4096)
            if service.link.fileno() in events and not self._hear(service):
                poll.unregister(service.link)
            pid, status = os.waitpid(service.pid, os.WNOHANG)
            if pid:
                # What it said last, such as that it hangs or has stopped.
                while self._hear(service):
                    pass
                return os.waitstatus_to_exitcode(status)
            if not events and time.monotonic() >= service.until_s:
                self._end(service, f"no progress for {service.silence_s:g} s")

    def _hear(self, service: _Service) -> bool:
        """Take one message. Returns: whether there was one."""
        try:
            message, descriptors, _, _ = socket.recv_fds(
                service.link, MAX_MESSAGE_BYTES, MAX_SOCKETS, socket.MSG_DONTWAIT
            )
        except OSError:
            return False
        word, _, rest = message.decode().partition(" ")
        if not word:
            return False
        match word:
            case "listening":
                silence, _, made = rest.partition(" ")
                service.silence_s = float(silence)
                self._keep(descriptors, made)
            case "closed":
                self._keep([], "")
                return True
            case "ready":
                self._was_ready = True
                self._notify(f"READY=1\nSTATUS=serving\nMAINPID={os.getpid()}")
            case "hung":
                self._end(service, rest)
                return True
        if not service.verdict:
            quiet_s = service.silence_s
            if word == "stopping":
                quiet_s = service.silence_s = float(rest)
                self._notify("STOPPING=1")
            service.until_s = time.monotonic() + quiet_s
            self._notify("WATCHDOG=1")
        return True

    def _keep(self, descriptors: list[int], made: str) -> None:
        for descriptor in self._kept:
            os.close(descriptor)
        for descriptor in descriptors:
            os.set_inheritable(descriptor, False)
        self._kept = descriptors
        if made:
            with suppress(OSError):
                self._made = made, os.stat(made).st_ino

    def _remove_made(self) -> None:
        """Remove the socket that a service made: a later one found it there and leaves it."""
        if self._made is None:
            return
        path, number = self._made
        with suppress(OSError):
            # Another box may have come meanwhile, and made its own.
            if os.stat(path).st_ino == number:
                os.unlink(path)

    def _end(self, service: _Service, verdict: str) -> None:
        if not service.verdict:
            _say("error", f"service hangs, killing it reason={verdict!r}")
        service.verdict = service.verdict or verdict
        service.until_s = time.monotonic() + _START_S
        with suppress(ProcessLookupError):
            os.kill(service.pid, signal.SIGKILL)

    def _forward(self, service: _Service) -> None:
        """Pass on what came since; the second signal is the last."""
        for number in self._signals[self._forwarded :]:
            self._forwarded += 1
            with suppress(ProcessLookupError):
                os.kill(service.pid, number)
            if self._forwarded > 1:
                service.silence_s = _FORCED_S
                service.until_s = min(service.until_s, time.monotonic() + _FORCED_S)

    # -- between services ------------------------------------------------------------------------

    def _pause(self, wait_s: float) -> bool:
        """Wait. Returns: False if we are to stop."""
        end_s = time.monotonic() + wait_s
        poll = select.poll()
        poll.register(self._wake, select.POLLIN)
        while not self._signals and (left_s := end_s - time.monotonic()) > 0:
            self._notify("WATCHDOG=1")
            if poll.poll(min(left_s, _FEED_S) * 1000):
                os.read(self._wake, 4096)
        return not self._signals

    @contextmanager
    def _woken_by_signals(self) -> Iterator[None]:
        """Have signals end a wait."""
        self._wake, theirs = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(theirs, warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda number, _frame: self._signals.append(number))
        signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
        yield
        signal.set_wakeup_fd(-1)


def _inherited() -> list[int]:
    """Take over the sockets that systemd opened for us."""
    if os.environ.get("LISTEN_PID") != str(os.getpid()):
        return []
    count = os.environ.get("LISTEN_FDS", "")
    found = list(range(_FIRST_FD, _FIRST_FD + int(count))) if count.isdecimal() else []
    for descriptor in found:
        os.set_inheritable(descriptor, False)
    return found


def _fate_of(status: int, verdict: str) -> str:
    """Say how a service ended: by a hang, a crash, or somebody else's will."""
    if verdict:
        return f"hang {verdict}"
    if status >= 0:
        return f"crash status {status}"
    # The kernel's for want of memory, or a person's; a native crash is another signal.
    if -status in (signal.SIGKILL, signal.SIGTERM, signal.SIGINT):
        return "killed"
    return f"crash {signal.Signals(-status).name}"


def _say(level: str, message: str) -> None:
    """Log, in the words of `appliance.logs`, which would cost its imports."""
    moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime()) + ".000Z"
    name = "appliance.supervision"
    if sys.stderr.isatty():
        line = f"{moment} {level:7} {name}: {message}"
    else:
        import json  # here: a supervisor that has nothing to say does not need it

        entry = {"time": moment, "level": level, "logger": name, "message": message}
        line = json.dumps(entry)
    with suppress(OSError):
        os.write(2, line.encode() + b"\n")


def supervise(command: Sequence[str], arguments: Sequence[str]) -> None:
    """Keep a service alive until it is stopped; ends this process as the service ended.

    command: an absolute program and what makes it the service, to which the arguments are added.
    """
    status = Supervisor([*command, *arguments]).run()
    if status < 0:
        signal.signal(-status, signal.SIG_DFL)
        os.kill(os.getpid(), -status)
    sys.exit(status)
