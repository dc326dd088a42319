"""One guest that a sequence of steps is done to, and what has to be true after every step."""

import logging
import struct
import sys
from dataclasses import dataclass
from typing import Any

import numpy as np

from tests.wasi_nn.conformance.dialects import Dialect
from tests.wasi_nn.conformance.driver import Driver, Violation, paths
from tests.wasi_nn.conformance.nets import Net
from wasi_nn.errors import InvalidArgument
from wasi_nn.policy import SessionLimits
from wasi_nn.registry import Registry
from wasi_nn.session import Context, Session

MAX_GROWTH_PAGES = 6
# Small enough to be met by sequences of some hundred calls.
LIMITS = SessionLimits(graphs=8, contexts=24, model_bytes=60_000, tensor_bytes=40_000)


@dataclass(frozen=True)
class Call:
    """Call a function with unsigned arguments."""

    name: str
    arguments: tuple[int, ...]


@dataclass(frozen=True)
class Poke:
    """Write into the guest's memory, as the guest could itself."""

    at: int
    content: bytes


@dataclass(frozen=True)
class Grow:
    """Grow the guest's memory by pages."""

    pages: int


Step = Call | Poke | Grow


class Complaints(logging.Handler):
    """Everything that a host says when it is surprised; nothing may be."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.heard: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.heard.append(f"{record.getMessage()} {record.exc_info}")

    def listen(self) -> None:
        """Hear the package's errors, and exceptions that Python cannot deliver."""
        self.attach().propagate = False
        sys.unraisablehook = self._unraisable

    def attach(self) -> logging.Logger:
        """Hear the package's errors. Returns: the logger, to be left again."""
        log = logging.getLogger("wasi_nn")
        log.addHandler(self)
        return log

    def _unraisable(self, unraisable: Any) -> None:
        self.heard.append(f"{unraisable.err_msg} {unraisable.exc_value!r}")


class World:
    """A guest on a host of its own.

    graphs, contexts: how many handles it was given; the next one is the number itself.
    """

    def __init__(self, dialect: Dialect, net: Net, path: str, complaints: Complaints) -> None:
        self.dialect = dialect
        self.backend = net.make()
        self.registry = Registry([self.backend], net.catalogue())
        session = Session(self.registry, limits=LIMITS)
        unit = net.unit if dialect.is_legacy else 1
        self.driver = Driver(dialect, session, unit=unit, path=paths()[path])
        self.graphs = self.contexts = 0
        self._named: set[int] = set()
        self._complaints = complaints
        self._pages = 0

    @property
    def size(self) -> int:
        """Bytes of the guest's memory."""
        return len(self.driver.view())

    def context(self, handle: int) -> Context | None:
        """Look behind a handle, to draw a call that fits."""
        try:
            return self.driver.guest.session.context(handle)
        except InvalidArgument:
            return None

    def do(self, step: Step) -> int | None:
        """Do a step. Returns: the errno of a call. Raises: Violation."""
        errno = None
        match step:
            case Poke(at, content):
                self.driver.view()[at : at + len(content)] = np.frombuffer(content, np.uint8)
            case Grow(pages):
                self._pages += pages
                if self._pages <= MAX_GROWTH_PAGES:
                    self.driver.grow(pages)
            case Call(name, arguments):
                errno = self._call(name, arguments)
        if self._complaints.heard:
            raise Violation(f"{step}: the host complained: {self._complaints.heard.pop()}")
        return errno

    def _call(self, name: str, arguments: tuple[int, ...]) -> int:
        errno = self.driver.call(name, *arguments)
        if name.startswith(("load", "init")):
            if errno == 0:
                self._check_handle(name, self._read_u32(arguments[-1]))
        elif errno != 1:
            is_graph = name == "unload"
            given = self.graphs if is_graph else self.contexts
            if arguments[0] >= given:
                raise Violation(f"{name}{arguments}: {errno} for a handle never given ({given})")
        return errno

    def _check_handle(self, name: str, handle: int) -> None:
        is_graph = name != "init_execution_context"
        given = self.graphs if is_graph else self.contexts
        if name.startswith("load_by_name") and handle in self._named:
            return
        if handle != given:
            raise Violation(f"{name}: gave handle {handle}, wanted the next one, {given}")
        if is_graph:
            self.graphs += 1
            if name != "load":
                self._named.add(handle)
        else:
            self.contexts += 1

    def _read_u32(self, pointer: int) -> int:
        (value,) = struct.unpack_from("<I", self.driver.view(), pointer)
        return int(value)

    def close(self) -> None:
        """End the guest. Raises: Violation if anything of it is left."""
        self.driver.guest.close()
        graphs = self.registry.statistics().graphs
        if graphs:
            raise Violation(f"close left {len(graphs)} graphs: {graphs[0]}")
        still_open = getattr(self.backend, "open_graphs", 0)
        if still_open:
            raise Violation(f"close left {still_open} graphs open in the backend")
