"""Small guests written as WebAssembly text: some behave, most do what no guest should.

A reactor is asked once per frame, a command runs once per frame. Everything is made on demand;
`reactor` and `command` wrap a body of instructions, the rest are what the tests are about.
"""

import wasmtime

# Where texts begin in a guest's memory; the bytes below are for iovecs and out-pointers.
TEXT_AT = 1024
MIB_PAGES = 16

_IMPORTS = {
    "emit": '(import "appliance" "emit" (func $emit (param i32 i32) (result i32)))',
    "log": '(import "appliance" "log" (func $log (param i32 i32 i32) (result i32)))',
    "frame_set_input": '(import "appliance" "frame_set_input"'
    " (func $frame_set_input (param i32 i32 i32) (result i32)))",
    "load_by_name": '(import "wasi_ephemeral_nn" "load_by_name"'
    " (func $load_by_name (param i32 i32 i32) (result i32)))",
    "set_input": '(import "wasi_ephemeral_nn" "set_input"'
    " (func $set_input (param i32 i32 i32) (result i32)))",
    "frame_info": '(import "appliance" "frame_info"'
    " (func $frame_info (param i32 i32) (result i32)))",
    "init": '(import "wasi_ephemeral_nn" "init_execution_context"'
    " (func $init (param i32 i32) (result i32)))",
    "compute": '(import "wasi_ephemeral_nn" "compute" (func $compute (param i32) (result i32)))',
    "fd_write": '(import "wasi_snapshot_preview1" "fd_write"'
    " (func $fd_write (param i32 i32 i32 i32) (result i32)))",
    "proc_exit": '(import "wasi_snapshot_preview1" "proc_exit" (func $proc_exit (param i32)))',
    "poll_oneoff": '(import "wasi_snapshot_preview1" "poll_oneoff"'
    " (func $poll (param i32 i32 i32 i32) (result i32)))",
    "path_open": '(import "wasi_snapshot_preview1" "path_open" (func $path_open'
    " (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))",
}


def wasm(text: str) -> bytes:
    """Assemble a whole module."""
    return bytes(wasmtime.wat2wasm(text))


def _module(export: str, body: str, imports: tuple[str, ...], text: bytes, rest: str,
            pages: int) -> bytes:  # fmt: skip
    escaped = "".join(f"\\{byte:02x}" for byte in text)
    lines = "\n".join(_IMPORTS[name] for name in imports)
    return wasm(
        f'(module {lines} (memory (export "memory") {pages}) {rest}'
        f' (data (i32.const {TEXT_AT}) "{escaped}") (func {export} {body}))'
    )


def reactor(body: str, imports: tuple[str, ...] = (), text: bytes = b"", rest: str = "",
            pages: int = 1) -> bytes:  # fmt: skip
    """Make a reactor of the body of `appliance_on_frame(frame: $frame) -> i32`."""
    export = '(export "appliance_on_frame") (param $frame i32) (result i32)'
    return _module(export, body, imports, text, rest, pages)


def command(body: str, imports: tuple[str, ...] = (), text: bytes = b"", rest: str = "",
            pages: int = 1) -> bytes:  # fmt: skip
    """Make a command of the body of `_start`."""
    return _module('(export "_start")', body, imports, text, rest, pages)


def emitting(text: bytes, status: int = 0) -> bytes:
    """Emit one text per frame and return a status."""
    body = f"(drop (call $emit (i32.const {TEXT_AT}) (i32.const {len(text)}))) (i32.const {status})"
    return reactor(body, ("emit",), text)


def labelled(label: str) -> bytes:
    """Answer every frame with this label."""
    return emitting(b'{"label": "%s", "score": 0.5}' % label.encode())


def write(fd: int, length: int) -> str:
    """Write the first bytes of the text to a stream."""
    return (
        f"(i32.store (i32.const 0) (i32.const {TEXT_AT}))"
        f" (i32.store (i32.const 4) (i32.const {length}))"
        f" (drop (call $fd_write (i32.const {fd}) (i32.const 0) (i32.const 1) (i32.const 8)))"
    )


def printing(text: bytes, status: int = 0, fd: int = 1) -> bytes:
    """Print a text and exit."""
    body = f"{write(fd, len(text))} (call $proc_exit (i32.const {status}))"
    return command(body, ("fd_write", "proc_exit"), text)


def computing(model: str, label: str) -> bytes:
    """Load a model by name, compute on the frame, and answer with a label; errnos are returned."""
    text = model.encode() + b'{"label": "%s"}' % label.encode()
    calls = (
        f"(call $load_by_name (i32.const {TEXT_AT}) (i32.const {len(model)}) (i32.const 0))",
        "(call $init (i32.load (i32.const 0)) (i32.const 4))",
        "(call $frame_set_input (local.get $frame) (i32.load (i32.const 4)) (i32.const 0))",
        "(call $compute (i32.load (i32.const 4)))",
        f"(call $emit (i32.const {TEXT_AT + len(model)}) (i32.const {len(text) - len(model)}))",
    )
    steps = " ".join(f"(local.set $e {call}) (if (local.get $e) (then (return (local.get $e))))"
                     for call in calls)  # fmt: skip
    imports = ("emit", "frame_set_input", "load_by_name", "init", "compute")
    return reactor(f"(local $e i32) {steps} (i32.const 0)", imports, text)


def insisting(model: str) -> bytes:
    """Load a model by name and compute on the frame until that works."""
    calls = (
        f"(call $load_by_name (i32.const {TEXT_AT}) (i32.const {len(model)}) (i32.const 0))",
        "(call $init (i32.load (i32.const 0)) (i32.const 4))",
        "(call $frame_set_input (local.get $frame) (i32.load (i32.const 4)) (i32.const 0))",
    )
    steps = " ".join(f"(drop {call})" for call in calls)
    again = "(loop $l (br_if $l (call $compute (i32.load (i32.const 4)))))"
    imports = ("frame_set_input", "load_by_name", "init", "compute")
    return reactor(f"{steps} {again} (i32.const 0)", imports, model.encode())


# -- refused at deploy -----------------------------------------------------------------------------

STEADY = labelled("steady")
NOT_WASM = b"GIF89a and no wasm at all"
WAT_TEXT = b'(module (func (export "_start")))'
TRUNCATED = STEADY[:-10]
TINY = STEADY[:4]


def component() -> bytes:
    return wasm("(component)")


def unknown_import() -> bytes:
    return wasm('(module (import "env" "magic" (func)) (func (export "_start")))')


def unknown_function() -> bytes:
    return wasm('(module (import "wasi_ephemeral_nn" "train" (func)) (func (export "_start")))')


def wrong_signature() -> bytes:
    return wasm(
        '(module (import "wasi_ephemeral_nn" "compute" (func (param i64) (result i32)))'
        ' (func (export "_start")))'
    )


def no_entry() -> bytes:
    return wasm('(module (func (export "main")) (func (export "run")))')


def wrong_on_frame() -> bytes:
    return wasm('(module (func (export "appliance_on_frame") (param i64)))')


def hungry(*, is_command: bool = False) -> bytes:
    """Begin with 2 GiB of memory."""
    make = command if is_command else reactor
    return make("" if is_command else "(i32.const 0)", pages=32768)


def traps_at_start() -> bytes:
    """Trap in the start section, before any frame."""
    return reactor("(i32.const 0)", rest="(func $boom unreachable) (start $boom)")


def loops_at_start() -> bytes:
    """Never come back from `_initialize`."""
    return reactor("(i32.const 0)", rest='(func (export "_initialize") (loop $l (br $l)))')


# -- failing on a frame ----------------------------------------------------------------------------

LOOP = "(loop $l (br $l)) unreachable"
GROW = "(loop $l (br_if $l (i32.ne (memory.grow (i32.const 256)) (i32.const -1)))) unreachable"


def trapping() -> bytes:
    return reactor("unreachable")


def looping() -> bytes:
    return reactor(LOOP)


def recursing() -> bytes:
    return reactor("(call $f) (i32.const 0)", rest="(func $f (call $f) (call $f))")


def growing() -> bytes:
    """Take memory until there is no more."""
    return reactor(GROW)


def flooding_emits() -> bytes:
    """Emit 1 KiB objects without end."""
    text = b'{"label": "%s"}' % (b"x" * 1000)
    body = (
        f"(loop $l (br_if $l (i32.eqz (call $emit (i32.const {TEXT_AT})"
        f" (i32.const {len(text)}))))) (i32.const 0)"
    )
    return reactor(body, ("emit",), text)


def huge_emit() -> bytes:
    """Emit 100 MB at once."""
    body = f"(drop (call $emit (i32.const {TEXT_AT}) (i32.const 104857600))) (i32.const 0)"
    return reactor(body, ("emit",), pages=101 * MIB_PAGES)


def flooding_stdout(*, is_stubborn: bool = False) -> bytes:
    """Print 100 MB, a page at a time; a stubborn one never looks at the errno."""
    page = write(1, 65536)
    if not is_stubborn:
        page = page.replace("(drop (call $fd_write", "(br_if $out (call $fd_write")
    body = (
        "(local $n i32) (block $out (loop $l "
        f"{page} (local.set $n (i32.add (local.get $n) (i32.const 1)))"
        " (br_if $l (i32.lt_u (local.get $n) (i32.const 1600)))))"
    )
    return command(body, ("fd_write",), b"x" * 70, pages=3)


def flooding_log(lines: int = 100_000) -> bytes:
    """Write that many log lines, then answer well."""
    body = (
        f"(local $n i32) (loop $l (drop (call $log (i32.const 1) (i32.const {TEXT_AT})"
        " (i32.const 5))) (local.set $n (i32.add (local.get $n) (i32.const 1)))"
        f" (br_if $l (i32.lt_u (local.get $n) (i32.const {lines}))))"
        f" (call $emit (i32.const {TEXT_AT + 5}) (i32.const 2))"
    )
    return reactor(body, ("emit", "log"), b"noisy{}")


def writing_into_preopen() -> bytes:
    """Create /frame/evil; exit with the errno of path_open, 0 if it was allowed."""
    # fd 3 is the first preopen; oflags 1 = creat; rights 64 = fd_write.
    body = (
        f"(call $proc_exit (call $path_open (i32.const 3) (i32.const 0) (i32.const {TEXT_AT})"
        " (i32.const 4) (i32.const 1) (i64.const 64) (i64.const 0) (i32.const 0) (i32.const 0)))"
    )
    return command(body, ("path_open", "proc_exit"), b"evil")
