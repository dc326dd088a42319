"""`appliance serve`: run the box."""

import contextlib
import ctypes
import gc
import logging
import os
import resource
import signal
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Never

import typer

from appliance.api.http import create_api
from appliance.api.listeners import Listeners, listen
from appliance.api.server import Serveable, Server, Serving
from appliance.app import Box
from appliance.cli.options import State, settings_of
from appliance.errors import Unavailable
from appliance.files import is_read_only
from appliance.logs import LogLevel, LogStyle, configure
from appliance.settings import MIB
from appliance.supervision.link import Link

log = logging.getLogger(__name__)

# Read by whoever started us, to know that the socket answers.
READY = "listening on "

# After the grace period: what is cut off may end, and the box is taken down.
_STOP_S = 30.0
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


def _served(box: Box, opened: contextlib.ExitStack) -> Serveable:
    """Give the box, with its gRPC if that is wanted and there is a place for its socket."""
    if not box.settings.grpc:
        return box
    try:
        return opened.enter_context(_with_grpc(box))
    except Unavailable as exc:
        # Our own socket was handed over by the service before us, when the disk had turned.
        if not is_read_only(box.settings.run_dir):
            raise
        log.error("grpc not served, the folder of sockets is read-only reason=%s", exc)
        return box


@contextlib.contextmanager
def _with_grpc(box: Box) -> Iterator[Serveable]:
    """Open the gRPC socket. Gives the box and its gRPC as one."""
    # Imported here: a box without it does not pay for it, 14 MiB.
    from appliance.api.rpc.server import BoxWithRpc, RpcServer
    from appliance.api.rpc.service import Service

    rpc = RpcServer(box.settings, Service(box.inference, box.readiness))
    with rpc.bound():
        yield BoxWithRpc(box, rpc)


@dataclass(frozen=True, slots=True)
class _Watched:
    """A box, and the line to its supervisor if it has one."""

    box: Box
    link: Link | None

    def on_listening(self, listeners: Listeners) -> None:
        if self.link is None:
            return
        settings, made = self.box.settings, listeners.made
        sockets = [listener.socket for listener in listeners.all]
        self.link.listening(sockets, settings.watchdog_s, "" if made is None else str(made))
        stop_s = settings.stop_settle_s + settings.stop_grace_s + _STOP_S
        self.box.readiness.on_stopping(lambda: self._on_stopping(stop_s))

    def _on_stopping(self, within_s: float) -> None:
        assert self.link is not None, "it was there when the box was made"
        self.link.stopping(within_s)

    def on_closed(self) -> None:
        if self.link is not None:
            self.link.closed()

    def on_beat(self) -> None:
        """Show progress: this loop turns, no lane is locked up, and no graph runs for ever."""
        if self.link is None:
            return
        stuck = self.box.guard.stuck(self.box.settings.max_run_s)
        if stuck is not None:
            self.link.hung(f"model {stuck.name} runs longer than {self.box.settings.max_run_s:g} s")
            return
        self.box.scheduler.statistics()
        self.link.beat()

    def on_ready(self, listeners: Listeners) -> None:
        # What is there now is there to stay. The collector would look through all of it twice a
        # minute, and no thread answers meanwhile, for 0.1 s.
        gc.freeze()
        _say_ready(listeners)
        if self.link is not None:
            self.link.ready()


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
    supervisor: Annotated[
        bool, typer.Option(help="Start it again when it crashes or hangs.")
    ] = True,
    link: Annotated[int | None, typer.Option(hidden=True)] = None,
) -> None:
    """Run the box until Ctrl-C or SIGTERM; a second one ends it at once."""
    if supervisor and link is None:
        # Not by way of `__main__`: the supervisor is to be a process that imports none of this.
        os.execv(sys.executable, [sys.executable, "-P", "-m", "appliance", *sys.argv[1:]])
    configure(log_style, level=log_level.number)
    for name in ("watchfiles", "uvicorn"):
        logging.getLogger(name).setLevel(max(logging.WARNING, log_level.number))
    # Until there is a server that can be stopped.
    signal.signal(signal.SIGTERM, _give_up)
    line = None if link is None else Link(link)
    settings = settings_of(state)
    bound_memory(settings.max_process_bytes)
    keep_freed_memory()
    # The sockets first: they also lock the state folder.
    with (
        contextlib.suppress(KeyboardInterrupt),
        listen(settings) as listeners,
        contextlib.ExitStack() as opened,
    ):
        box = Box(settings, fate="" if line is None else line.fate)
        watched = _Watched(box, line)
        watched.on_listening(listeners)
        api = create_api(box, time.time, token=listeners.token)
        served = _served(box, opened)
        server = Server(served, Serving(
            api, listeners.all, lambda: watched.on_ready(listeners), watched.on_beat,
            watched.on_closed,
        ))  # fmt: skip
        _take_signals(server, listeners.made)
        server.serve_until_stopped()
