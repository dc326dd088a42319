"""The service's end of the line to its supervisor, and what is said over it.

One message a packet, a word and what belongs to it:

    supervisor  fate PID TEXT          first and only: who it is and how the last service ended
    service     listening SECONDS PATH with its listening sockets; it says something every SECONDS;
                                       PATH is the socket file it made, or empty
                beat                   progress
                ready                  the box is up
                closed             nobody new is to be let in: the sockets are not to be kept
                stopping SECONDS       it stops in order and takes so long at most
                hung TEXT              it knows itself that it hangs
"""

import contextlib
import os
import signal
import socket
from collections.abc import Sequence

MAX_MESSAGE_BYTES = 4096
MAX_SOCKETS = 32
# linux/prctl.h.
_PR_SET_PDEATHSIG = 1


class Link:
    """The service's end.

    fate: how the service before this one ended, "" if there was none: "crash ...", "hang ..." or
    "killed".
    """

    def __init__(self, descriptor: int) -> None:
        os.set_inheritable(descriptor, False)
        self._socket = socket.socket(fileno=descriptor)
        word, pid, self.fate = self._socket.recv(MAX_MESSAGE_BYTES).decode().split(" ", 2)
        assert word == "fate", "the supervisor speaks first"
        import ctypes  # here: the supervisor imports this file, and has no use for its megabyte

        # Nobody would start the box again, and the next one finds the state folder taken.
        with contextlib.suppress(AttributeError, OSError):  # another libc
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != int(pid):
            raise SystemExit(1)  # it ended before we could ask to be told
        # A beat that does not fit is one that nobody misses.
        self._socket.setblocking(False)

    def listening(self, sockets: Sequence[socket.socket], silence_s: float, made: str) -> None:
        """Hand over the sockets, to be kept open between two services."""
        message = f"listening {silence_s} {made}".encode()
        with contextlib.suppress(OSError):
            socket.send_fds(self._socket, [message], [one.fileno() for one in sockets])

    def ready(self) -> None:
        """Say that the box is up."""
        self._say("ready")

    def beat(self) -> None:
        """Say that it goes on."""
        self._say("beat")

    def closed(self) -> None:
        """Give the sockets up."""
        self._say("closed")

    def stopping(self, within_s: float) -> None:
        """Say that the box stops in order."""
        self._say(f"stopping {within_s}")

    def hung(self, reason: str) -> None:
        """Ask to be ended and started again."""
        self._say(f"hung {reason}")

    def _say(self, text: str) -> None:
        with contextlib.suppress(OSError):
            self._socket.send(text.encode())
