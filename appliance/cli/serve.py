"""`appliance serve`: run the box."""

import logging
import os
import resource
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Never

import typer

from appliance.api.http import create_api
from appliance.api.socket import bind, serve
from appliance.app import Box
from appliance.cli.options import State, settings_of
from appliance.logs import LogStyle, configure
from appliance.settings import Settings

# Read by whoever started us, to know that the socket answers.
READY = "listening on "


def add_to(app: typer.Typer) -> None:
    app.command("serve")(run)


class _Stop(BaseException):
    """SIGTERM came; like KeyboardInterrupt, it unwinds whatever is under way."""


def _on_sigterm(_number: int, _frame: object) -> Never:
    raise _Stop


def bound_memory(max_bytes: int | None) -> None:
    """Bound what this process may allocate.

    A model of a few hundred bytes can ask for any amount. Over the bound an allocation fails and
    ends that call; without it the kernel would end the box.
    """
    machine_bytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    wanted = max_bytes or machine_bytes * 3 // 4
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    if hard != resource.RLIM_INFINITY:
        wanted = min(wanted, hard)
    # Of private writable memory: what wasm reserves and never uses does not count.
    resource.setrlimit(resource.RLIMIT_DATA, (wanted, hard))


def _say_ready(path: Path) -> None:
    sys.stdout.write(f"{READY}{path}\n")
    sys.stdout.flush()


@contextmanager
def _running(settings: Settings) -> Iterator[Box]:
    """Start the box, with gRPC if it is wanted."""
    box = Box(settings)
    if not settings.grpc:
        with box:
            yield box
        return
    # Imported here: a box without it does not pay for it, 14 MiB.
    from appliance.api.rpc.server import RpcServer
    from appliance.api.rpc.service import Service

    rpc = RpcServer(settings, Service(box.inference))
    # Bound before the box starts threads, and answered by a box that runs.
    with rpc.bound(), box, rpc.serving():
        yield box


def run(state: State = None) -> None:
    """Run the box until Ctrl-C or SIGTERM."""
    configure(LogStyle.AUTO)
    logging.getLogger("watchfiles").setLevel(logging.WARNING)
    # Before the slow start, so that a stop during it is orderly too. While it serves, uvicorn
    # puts its own handlers in place; it raises the signal again here when it is done.
    signal.signal(signal.SIGTERM, _on_sigterm)
    settings = settings_of(state)
    bound_memory(settings.max_process_bytes)
    try:
        # The socket first: it is also the lock of the state folder.
        with bind(settings) as listener, _running(settings) as box:
            serve(create_api(box, time.time), listener, lambda: _say_ready(settings.socket_path))
    except (_Stop, KeyboardInterrupt):
        return
