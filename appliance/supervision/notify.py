"""sd_notify(3) by hand: one datagram to whoever started us, if it wants to know."""

import contextlib
import socket


class Notifier:
    """Tells systemd how it goes.

    address: NOTIFY_SOCKET, "" if nobody wants to know; "@" begins an abstract one.
    """

    def __init__(self, address: str) -> None:
        self._address = "\0" + address[1:] if address.startswith("@") else address

    def __call__(self, state: str) -> None:
        """Send such as READY=1. Who does not listen is not waited for."""
        if not self._address:
            return
        with (
            contextlib.suppress(OSError),
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender,
        ):
            sender.setblocking(False)
            sender.sendto(state.encode(), self._address)
