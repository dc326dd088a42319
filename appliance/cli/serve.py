"""`appliance serve`: run the box."""

import contextlib
import ctypes
import logging
import os
import resource
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Never

import typer

from appliance.api.http import create_api
from appliance.api.listeners import Listeners, listen
from appliance.api.server import Serveable, Server, Serving
from appliance.app import Box
from appliance.cli.options import State, settings_of
from appliance.logs import LogLevel, LogStyle, configure
from appliance.settings import MIB

# Read by whoever started us, to know that the socket answers.
READY = "listening on "

# malloc.h.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8


def add_to(app: typer.Typer) -> None:
    app.command("serve")(run)


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


def keep_freed_memory() -> None:
    """Have the allocator keep the buffers of one frame for the next.

    By its defaults glibc gives them back to the kernel after every frame and gets the same pages
    anew, one fault each: decoding a picture of 600 x 400 took 2.9 ms instead of 1.3. Bounded, so
    that a burst of large pictures is given back: 32 MiB for each of a few arenas.
    """
    with contextlib.suppress(AttributeError, OSError):  # another libc
        mallopt = ctypes.CDLL(None).mallopt
        for parameter, value in (
            (_M_MMAP_THRESHOLD, 12 * MIB),
            (_M_TRIM_THRESHOLD, 32 * MIB),
            (_M_ARENA_MAX, max(4, os.cpu_count() or 1)),
        ):
            mallopt(parameter, value)


def _say_ready(listeners: Listeners) -> None:
    lines = [f"{READY}{listener.name}\n" for listener in listeners.all]
    sys.stdout.write("".join(lines))
    sys.stdout.flush()


@contextlib.contextmanager
def _with_grpc(box: Box) -> Iterator[Serveable]:
    """Open the gRPC socket. Gives the box and its gRPC as one."""
    # Imported here: a box without it does not pay for it, 14 MiB.
    from appliance.api.rpc.server import BoxWithRpc, RpcServer
    from appliance.api.rpc.service import Service

    rpc = RpcServer(box.settings, Service(box.inference, box.readiness))
    with rpc.bound():
        yield BoxWithRpc(box, rpc)


def _give_up(_number: int, _frame: object) -> Never:
    raise KeyboardInterrupt


def _take_signals(server: Server, made: Path | None) -> None:
    """Have the first signal stop the box in order, and the second end it at once."""

    def on_signal(number: int, _frame: object) -> None:
        if not server.should_exit:
            server.stop_soon()
            return
        # What is on disk survives it, as it survives a power cut.
        if made is not None:
            made.unlink(missing_ok=True)
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, on_signal)


def run(
    state: State = None,
    log_level: Annotated[LogLevel, typer.Option(help="The least that is logged.")] = LogLevel.INFO,
    log_style: Annotated[
        LogStyle, typer.Option(help="auto: text on a terminal, else JSON lines.")
    ] = LogStyle.AUTO,
) -> None:
    """Run the box until Ctrl-C or SIGTERM; a second one ends it at once."""
    configure(log_style, level=log_level.number)
    for name in ("watchfiles", "uvicorn"):
        logging.getLogger(name).setLevel(max(logging.WARNING, log_level.number))
    # Until there is a server that can be stopped.
    signal.signal(signal.SIGTERM, _give_up)
    settings = settings_of(state)
    bound_memory(settings.max_process_bytes)
    keep_freed_memory()
    # The sockets first: they also lock the state folder.
    with (
        contextlib.suppress(KeyboardInterrupt),
        listen(settings) as listeners,
        contextlib.ExitStack() as opened,
    ):
        box = Box(settings)
        api = create_api(box, time.time, token=listeners.token)
        served = opened.enter_context(_with_grpc(box)) if settings.grpc else box
        server = Server(served, Serving(api, listeners.all, lambda: _say_ready(listeners)))
        _take_signals(server, listeners.made)
        server.serve_until_stopped()
