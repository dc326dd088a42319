"""Guests that take what they can, and how each must end.

All answer to a frame with an attack; a limit of the box ends it. What is refused at deploy attacks
there.
"""

from dataclasses import dataclass

from tests.appliance import watguests as guests

MODEL = "efficientnet-lite0"
# Short, so that a test sees several deadlines.
QUICK = "[limits]\ndeadline_s = 0.25\n"
_OPENED = (
    f"(drop (call $load_by_name (i32.const {guests.TEXT_AT}) (i32.const {len(MODEL)})"
    " (i32.const 0)))"
)
_HOUR_NS = 3_600_000_000_000


@dataclass(frozen=True, slots=True)
class Attacker:
    """A hostile guest.

    reasons: its failures may be of these; none for one that is refused at deploy.
    limits: one of these is what the box says it ran into.   words: stand in the last error.
    """

    name: str
    wasm: bytes
    reasons: frozenset[str]
    limits: frozenset[str]
    words: str
    manifest: str = QUICK

    @property
    def is_deployable(self) -> bool:
        return bool(self.reasons)


def _handles() -> bytes:
    body = (
        f"(local $e i32) {_OPENED} (loop $l"
        " (local.set $e (call $init (i32.load (i32.const 0)) (i32.const 4)))"
        " (br_if $l (i32.eqz (local.get $e)))) (local.get $e)"
    )
    return guests.reactor(body, ("load_by_name", "init"), MODEL.encode())


def _huge_tensor() -> bytes:
    """A tensor (dims and their number, type, data and its size) of all but 16 of 2^32 bytes."""
    body = (
        f"{_OPENED} (drop (call $init (i32.load (i32.const 0)) (i32.const 4)))"
        " (i32.store (i32.const 64) (i32.const 128)) (i32.store (i32.const 68) (i32.const 1))"
        " (i32.store (i32.const 72) (i32.const 1)) (i32.store (i32.const 76) (i32.const 0))"
        " (i32.store (i32.const 80) (i32.const -16)) (i32.store (i32.const 128) (i32.const -16))"
        " (call $set_input (i32.load (i32.const 4)) (i32.const 0) (i32.const 64))"
    )
    return guests.reactor(body, ("load_by_name", "init", "set_input"), MODEL.encode())


def _slow_start() -> bytes:
    return guests.command("", rest="(func $s (loop $l (br $l))) (start $s)")


def _threads() -> bytes:
    return guests.wasm(
        '(module (import "wasi" "thread-spawn" (func (param i32) (result i32)))'
        ' (memory (export "memory") 1) (func (export "_start")))'
    )


def _host_calls() -> bytes:
    body = (
        "(loop $l (drop (call $frame_info (local.get $frame) (i32.const 0))) (br $l)) (i32.const 0)"
    )
    return guests.reactor(body, ("frame_info",))


def _sleeper() -> bytes:
    body = (
        "(i32.store (i32.const 16) (i32.const 1))"
        f" (i64.store (i32.const 24) (i64.const {_HOUR_NS}))"
        " (loop $l (drop (call $poll (i32.const 0) (i32.const 64) (i32.const 1) (i32.const 128)))"
        " (br $l)) (i32.const 0)"
    )
    return guests.reactor(body, ("poll_oneoff",))


def _attacker(name: str, wasm: bytes, reasons: str, limits: str, words: str) -> Attacker:
    return Attacker(name, wasm, frozenset(reasons.split()), frozenset(limits.split()), words)


ATTACKERS = (
    _attacker("endless-loop", guests.looping(), "deadline", "deadline_s", "0.25 s, its deadline"),
    _attacker("memory-bomb", guests.growing(), "memory", "memory_bytes", "of its 256 MiB"),
    _attacker("recursion", guests.recursing(), "trap", "stack_bytes", "call stack exhausted"),
    _attacker("handle-flood", _handles(), "errno", "handles", "64 are open, the app's limit"),
    _attacker("log-flood", guests.flooding_log(1 << 30), "deadline calls",
              "deadline_s host_calls log_lines_per_s log_bytes", "the guest was stopped after"),
    _attacker("huge-stdout", guests.flooding_stdout(is_stubborn=True), "output", "output_bytes",
              "over 1048576 bytes of output"),
    _attacker("huge-tensor", _huge_tensor(), "errno", "", "4294967280"),
    _attacker("exit-storm", guests.reactor("(call $proc_exit (i32.const 3)) unreachable",
                                           ("proc_exit",)), "exit", "", "exited with status 3"),
    _attacker("trap-storm", guests.trapping(), "trap", "", "unreachable"),
    _attacker("slow-start", _slow_start(), "deadline", "deadline_s", "0.25 s, its deadline"),
    _attacker("threads", _threads(), "", "", "import wasi.thread-spawn: not offered"),
    _attacker("host-calls", _host_calls(), "deadline calls", "deadline_s host_calls",
              "the guest was stopped after"),
    _attacker("sleeper", _sleeper(), "deadline", "deadline_s", "0.25 s, its deadline"),
)  # fmt: skip
