"""The official Triton clients for HTTP, over the Unix socket, which they cannot by themselves.

    from tritonclient.http import InferenceServerClient
    client = over_unix_socket(InferenceServerClient("box"), "/var/lib/appliance/run/appliance.sock")

The gRPC client needs nothing of this: it takes `unix:/path` as its address.

Private attributes of tritonclient are set here, as there is no other way; tested with 2.73.
"""

import os
import socket
from typing import Any, TypeVar

Client = TypeVar("Client")


def over_unix_socket(client: Client, path: str | os.PathLike[str]) -> Client:
    """Let a `tritonclient.http.InferenceServerClient` connect to a Unix socket. Returns: it."""
    # Any: what its connection pool is, no public name tells.
    made: Any = client
    address = (socket.AF_UNIX, socket.SOCK_STREAM, 0, "", os.fspath(path))
    made._client_stub._connection_pool._resolve = lambda: [address]
    return client


async def over_unix_socket_aio(client: Client, path: str | os.PathLike[str]) -> Client:
    """Let a `tritonclient.http.aio.InferenceServerClient` do so. Returns: it."""
    # Theirs, not ours: whoever has such a client has it.
    import aiohttp

    made: Any = client
    await made.close()
    made._conn = aiohttp.UnixConnector(os.fspath(path))
    made._stub = aiohttp.ClientSession(
        connector=made._conn, timeout=made._stub.timeout, auto_decompress=False
    )
    return client
