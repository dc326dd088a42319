"""The rooms of the design, held: who may import whom, what lives where, and how long it may be.

A new module of `appliance` fails the first test until somebody decides its level here.
"""

import ast
import fnmatch
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROOMS = ("appliance", "wasi_nn", "scripts", "tests")
FOLDERS = {".ci", ".git", "appliance", "models", "scripts", "tests", "wasi_nn"}
MAX_MODULE_LINES = 400
MAX_FUNCTION_LINES = 60

# The levels of the design, section 3. A module imports its own level and those below.
LEVELS = (
    ("errors", "settings", "logs", "logring", "readiness", "records", "files", "shipped",
     "scratch", "listening", "tables", "pace", "supervision", "seats", "fields", "policies",
     "deploysettings"),
    ("requests", "batching", "crowds", "lanestats", "stacking", "pieces", "calls", "manifests",
     "asks",
     "pictures", "preprocess", "metrics", "bundles", "nesting", "oip", "unpacking", "marks",
     "suspicion", "quarantine", "latencies", "overlays", "splitting", "camerametrics",
     "archives", "golden", "quiet", "trust"),
    ("scheduler", "lanes", "planning", "plans", "isolation", "models", "guests",
     "store", "feed", "sharedmemory", "versions", "sampling", "uploads", "marking", "cameras",
     "trials"),
    ("apps", "pipeline", "deploy", "deploying", "standings", "inbox", "inference", "routing",
     "viewing", "drops", "dropnotes"),
    ("api", "client", "client_triton"),
    ("app",),
    ("cli", "__main__"),
)  # fmt: skip

PURE = (
    "batching", "crowds", "requests", "lanestats", "stacking", "preprocess", "records", "errors",
    "metrics", "nesting", "oip", "pace", "suspicion", "cameras.pace", "cameras.urls",
    "cameras.motion", "cameras.lifecycle", "cameras.opening", "cameras.wire", "cameras.config",
    "cameras.feeds", "latencies", "splitting", "overlays", "camerametrics", "policies",
    "trust.grants", "deploying.stages",
    "deploying.probation", "deploying.fallback", "deploying.lines",
)  # fmt: skip
IMPURE = {"threading", "socket", "subprocess", "asyncio", "time", "concurrent", "multiprocessing"}

THREADS = {
    "appliance.app", "appliance.inbox", "appliance.guests.ticker", "appliance.lanes",
    "appliance.scheduler",
    "appliance.planning", "appliance.isolation.worker",
    "appliance.api.warm", "appliance.api.rpc.streams",
    "appliance.cameras.camera", "appliance.cameras.table", "appliance.cameras.worker",
    "appliance.routing.pairs", "appliance.routing.router", "appliance.cli.demo",
    "appliance.deploying.chores",
}  # fmt: skip
HOLDERS = {
    "subprocess": {
        "appliance.guests.compiling",
        "appliance.cli.demo",
        "appliance.isolation.process",
        "appliance.cameras.process",
        "appliance.trials.process",
    },
    "socket": {
        "appliance.client.wire",
        "appliance.client_triton",
        "appliance.cameras.decoder",
        "appliance.trials.worker",
    }
    | {f"appliance.supervision.{name}" for name in ("link", "notify", "parent")}
    | {f"appliance.isolation.{name}" for name in ("process", "wire", "worker")}
    | {f"appliance.api.{name}" for name in ("socket", "listeners", "protocol", "server")},
    "asyncio": {
        f"appliance.api.{name}" for name in ("body", "protocol", "server", "stream", "viewers")
    },
    "multiprocessing": set(),
    "concurrent": {
        "appliance.pieces",
        "appliance.scheduler",
        "appliance.api.rpc.streams",
        "appliance.api.warm",
    },
    "sqlite3": {
        f"appliance.store.{name}"
        for name in (
            "connections",
            "damage",
            "history",
            "query",
            "retention",
            "rollup",
            "schema",
            "summary",
        )
    },
    "signal": {
        "appliance.cli.demo",
        "appliance.cli.serve",
        "appliance.isolation.worker",
        "appliance.supervision.link",
        "appliance.supervision.parent",
        "appliance.guests.compiler",
        "appliance.guests.compiling",
        "appliance.quiet",
        "appliance.cameras.process",
        "appliance.cameras.synthetic",
        "appliance.cameras.worker",
        "appliance.trials.process",
        "appliance.trials.worker",
    },
    "av": {
        "appliance.cli.film",
        "appliance.cameras.decoder",
        "appliance.cameras.scaling",
        "appliance.cameras.shots",
    },
    "grpc": {f"appliance.api.rpc.{name}" for name in ("calls", "server", "statuses", "streams")},
    "google": {"appliance.api.rpc.calls", "appliance.api.rpc.descriptors"},
    "cryptography": {"appliance.trust.keys"},
    "onnxruntime": {"wasi_nn.backends.onnx"},
    "openvino": {"wasi_nn.backends.openvino", "wasi_nn.backends.openvino_shapes"},
    "ai_edge_litert": {"wasi_nn.backends.tflite"},
    "tflite_runtime": {"wasi_nn.backends.tflite"},
}
WASMTIME_PRIVATE = {"_from_ptr", "_from_raw", "_context", "_ffi"}


@dataclass(frozen=True, slots=True)
class Module:
    """One file. name: dotted, packages without __init__."""

    name: str
    path: Path
    tree: ast.Module
    lines: int

    @property
    def room(self) -> str:
        return self.name.split(".")[0]


def _read(path: Path) -> Module:
    text = path.read_text("utf-8")
    name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    return Module(name, path, ast.parse(text), len(text.splitlines()))


MODULES = {
    module.name: module
    for room in ROOMS
    for module in map(_read, sorted((ROOT / room).rglob("*.py")))
}
CODE = [module for module in MODULES.values() if module.room in ("appliance", "wasi_nn")]


def imports(module: Module) -> Iterator[str]:
    """Name what a module imports, anywhere in it; `from package import module` is the module."""
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                yield "." * node.level + base
                continue
            for alias in node.names:
                full = f"{base}.{alias.name}"
                yield full if full in MODULES else base


def level_of(name: str) -> int | None:
    """Find the level of a module of appliance; a package's modules share its level."""
    part = name.split(".")[1]
    return next((number for number, names in enumerate(LEVELS) if part in names), None)


def edges() -> Iterator[tuple[str, str]]:
    """List every import of one module of ours by another."""
    for module in CODE:
        for target in imports(module):
            if target in MODULES and target != module.name:
                yield module.name, target


def functions(module: Module) -> Iterator[tuple[str, int]]:
    """Name every function with its length in lines, docstring not counted."""
    for node in ast.walk(module.tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or 0) - node.lineno + 1
            first = node.body[0]
            if ast.get_docstring(node, clean=False) is not None:
                length -= (first.end_lineno or 0) - first.lineno + 1
            yield f"{module.name}.{node.name}", length


def test_every_module_has_a_level() -> None:
    """A new file forces a decision; a removed one leaves no entry behind."""
    found = {
        name.split(".")[1] for name in MODULES if name.startswith("appliance.")
    } - {"builtin"}  # fmt: skip

    assert {name for names in LEVELS for name in names} == found


def test_imports_go_down_only() -> None:
    """No module of appliance imports one of a higher level."""
    wrong = [
        f"{source} -> {target}"
        for source, target in edges()
        if source.startswith("appliance.") and target.startswith("appliance.")
        and (level_of(source) or 0) < (level_of(target) or 0)
    ]  # fmt: skip

    assert [] == wrong


def test_wasi_nn_stands_alone() -> None:
    """It is for anyone who embeds wasmtime; nothing of the box is needed."""
    wrong = [
        f"{module.name} -> {target}"
        for module in CODE
        for target in imports(module)
        if module.room == "wasi_nn" and target.split(".")[0] in {"appliance", "scripts", "tests"}
    ]

    assert [] == wrong


def test_code_does_not_import_tests_or_scripts() -> None:
    """They import code, never the other way round."""
    wrong = [e for e in edges() if e[1].split(".")[0] in {"tests", "scripts"}]

    assert [] == wrong


@pytest.mark.parametrize("name", sorted(HOLDERS))
def test_a_name_stays_in_its_file(name: str) -> None:
    """Vendors, processes, sockets and signals are each imported where the table says, only."""
    users = {
        module.name for module in CODE for target in imports(module)
        if target.split(".")[0] == name
    }  # fmt: skip

    assert set() == users - HOLDERS[name]


def test_threads_are_started_in_named_modules() -> None:
    """Concurrency has an address; locks may be anywhere."""
    starters = {
        module.name
        for module in CODE
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute | ast.Name)
        and (node.func.attr if isinstance(node.func, ast.Attribute) else node.func.id)
        in {"Thread", "Timer", "ThreadPoolExecutor", "ProcessPoolExecutor", "start_new_thread"}
    }

    assert starters == THREADS


@pytest.mark.parametrize("name", PURE)
def test_the_pure_core_has_no_clock_and_no_thread(name: str) -> None:
    """Requests and `now` in, decisions out."""
    module = MODULES[f"appliance.{name}"]

    assert set() == {target.split(".")[0] for target in imports(module)} & IMPURE


def test_the_environment_is_read_in_one_file() -> None:
    """Settings are read once; only the supervisor, which imports none, sees what is systemd's."""
    readers = {
        module.name
        for module in CODE
        for node in ast.walk(module.tree)
        if (isinstance(node, ast.Attribute) and node.attr in {"environ", "environb", "getenv"})
        or (isinstance(node, ast.ImportFrom) and node.module == "os"
            and {"environ", "getenv"} & {alias.name for alias in node.names})
    }  # fmt: skip

    assert {"appliance.settings", "appliance.supervision.parent"} == readers


def test_wasmtimes_private_names_are_in_two_files() -> None:
    """`wasmtime._*`, and the private methods that lead to the C API."""
    users = {
        module.name
        for module in CODE
        for node in ast.walk(module.tree)
        if (isinstance(node, ast.Attribute) and node.attr in WASMTIME_PRIVATE
            and not (isinstance(node.value, ast.Name) and node.value.id == "self"))
        or (isinstance(node, ast.ImportFrom) and (node.module or "").startswith("wasmtime")
            and any(alias.name.startswith("_") for alias in node.names))
    } | {m.name for m in CODE for t in imports(m) if t.startswith("wasmtime._")}  # fmt: skip

    assert {"wasi_nn.hostcall", "wasi_nn.streams"} == users


def test_nothing_is_imported_from_its_own_package_root() -> None:
    """Neither by a relative import nor through an __init__: import the module that has it."""
    wrong = [
        f"{module.name} -> {target}"
        for module in CODE
        for target in imports(module)
        if target.startswith(".") or module.name.startswith(f"{target}.")
    ]

    assert [] == wrong


def _reaches(start: str, graph: dict[str, set[str]]) -> bool:
    pending, seen = list(graph[start]), set()
    while pending:
        name = pending.pop()
        if name == start:
            return True
        if name not in seen:
            seen.add(name)
            pending += graph[name]
    return False


def test_there_is_no_import_cycle() -> None:
    """Not even one hidden inside a function."""
    graph: dict[str, set[str]] = {module.name: set() for module in CODE}
    for source, target in edges():
        graph[source].add(target)

    assert [] == [name for name in graph if _reaches(name, graph)]


def _too_long(measure: Callable[[Module], Iterator[tuple[str, int]]], limit: int) -> list[str]:
    return [f"{n}: {lines}" for m in MODULES.values() for n, lines in measure(m) if lines > limit]


def test_no_module_is_too_long() -> None:
    """400 lines at most; aim at 150."""
    assert [] == _too_long(lambda module: iter([(module.name, module.lines)]), MAX_MODULE_LINES)


def test_no_function_is_too_long() -> None:
    """60 lines at most without its docstring; aim at 10."""
    assert [] == _too_long(functions, MAX_FUNCTION_LINES)


def test_the_top_level_has_the_allowed_folders_only() -> None:
    """Whatever else lies there is ignored by git."""
    ignored = [line.strip().strip("/") for line in (ROOT / ".gitignore").read_text().splitlines()]
    found = {
        path.name
        for path in ROOT.iterdir()
        if path.is_dir() and not any(fnmatch.fnmatch(path.name, p) for p in ignored if p)
    }

    assert set() == found - FOLDERS
