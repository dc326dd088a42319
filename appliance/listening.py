"""Tables of the settings that say how the box is asked: `[http]` and `[tcp]`."""

from pathlib import Path

from pydantic import Field, SecretStr

from appliance.tables import KIB, SizeBytes, Table


class HttpLimits(Table):
    """What clients of the socket may use, over all listeners.

    max_requests: under way at once; a stream counts until it begins to answer.
    max_head_bytes, max_head_fields: request line and header fields.
    head_timeout_s: from a request's first byte to the end of its head.
    body_timeout_s: between two pieces of a body; a body may also take no longer in all, but for
    one second more per 500 bytes that came.   keep_alive_s: an idle connection is closed.
    send_timeout_s: a client that reads nothing of its answer is cut off.
    """

    max_requests: int = Field(64, gt=0, le=4096)
    max_connections: int = Field(512, gt=0, le=65536)
    max_head_bytes: SizeBytes = 32 * KIB
    max_head_fields: int = Field(100, gt=0)
    head_timeout_s: float = Field(10.0, gt=0)
    body_timeout_s: float = Field(20.0, gt=0)
    keep_alive_s: float = Field(75.0, gt=0)
    send_timeout_s: float = Field(60.0, gt=0)


class Tcp(Table):
    """The same HTTP over TCP, if the operator asks for it.

    token, token_file: what clients must send as `Authorization: Bearer TOKEN`.
    tls_cert, tls_key: PEM files; without them the connection is in the clear.
    allow_loopback_without_token: whoever can run a program on this machine may then use the box.
    What they may not be together is checked where the socket is opened, so that no message ever
    quotes a table that holds a token.
    """

    host: str = "127.0.0.1"
    # 0: the kernel chooses.
    port: int = Field(ge=0, le=65535)
    token: SecretStr | None = None
    token_file: Path | None = None
    tls_cert: Path | None = None
    tls_key: Path | None = None
    allow_loopback_without_token: bool = False
