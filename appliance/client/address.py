"""Where a box is, and how long to wait for it."""

import ssl
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from appliance.client.routes import Call
from appliance.errors import BadRequest


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to wait for what, in seconds.

    connect_s: until it takes the connection.   answer_s: for what a box has at hand.
    work_s: for a picture, a deploy, an upload: compiling takes tens of seconds for a large guest,
    and a frame's own bound is the app's deadline.
    silence_s: of a stream; a box says something every 15 s, so that this means it is dead.
    retry_first_s, retry_max_s: pauses before a stream is resumed double from one to the other.
    """

    connect_s: float = 5.0
    answer_s: float = 15.0
    work_s: float = 180.0
    silence_s: float = 45.0
    retry_first_s: float = 0.1
    retry_max_s: float = 5.0

    def bounds_of(self, call: Call[Any]) -> httpx.Timeout:
        """Bound one call and its answer."""
        return self.bounds(self.work_s if call.is_work else self.answer_s)

    def bounds(self, silence_s: float) -> httpx.Timeout:
        """Bound the connection, and each silence on it."""
        return httpx.Timeout(silence_s, connect=self.connect_s)


USUAL = Patience()


@dataclass(frozen=True, slots=True)
class Address:
    """Where a box listens: a path of a Unix socket, or http(s)://host:port.

    token: sent with every request, which a box asks for on anything but loopback.
    ca: of https, a file with the certificates to trust; None trusts the system's.
    agent: what the client calls itself; "" for what the library does.
    """

    where: Path | str
    token: str | None = field(default=None, repr=False)
    ca: Path | None = None
    agent: str = ""

    def __post_init__(self) -> None:
        if self.is_tcp and not httpx.URL(self.shown).host:
            raise BadRequest(f"address: got {self.shown}, wanted http://HOST:PORT or a socket path")

    @property
    def shown(self) -> str:
        return str(self.where)

    @property
    def is_tcp(self) -> bool:
        return self.shown.startswith(("http://", "https://"))

    @property
    def socket_path(self) -> str | None:
        return None if self.is_tcp else self.shown

    @property
    def base_url(self) -> str:
        return self.shown if self.is_tcp else "http://appliance"

    @property
    def headers(self) -> dict[str, str]:
        agent = {"User-Agent": self.agent} if self.agent else {}
        return agent | ({} if self.token is None else {"Authorization": f"Bearer {self.token}"})

    def trust(self) -> ssl.SSLContext | bool:
        """Tell whose certificates are believed. Raises: BadRequest if the file is not readable."""
        if self.ca is None:
            return True
        try:
            return ssl.create_default_context(cafile=str(self.ca))
        except OSError as exc:  # an SSLError is one, too
            raise BadRequest(f"certificates {self.ca}: {exc.strerror or exc}") from exc
