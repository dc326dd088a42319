"""A guest's standard streams go to Python functions, and nothing calls them when it is gone."""

import errno
import subprocess
import sys

import wasmtime

from wasi_nn.streams import Streams, Writer

# Writes "hello" to the stream given, and returns the errno of fd_write.
GUEST = """
(module
  (import "wasi_snapshot_preview1" "fd_write"
    (func $fd_write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (data (i32.const 0) "\\10\\00\\00\\00\\05\\00\\00\\00")
  (data (i32.const 16) "hello")
  (func (export "say") (param $fd i32) (result i32)
    (call $fd_write (local.get $fd) (i32.const 0) (i32.const 1) (i32.const 8))))
"""


def say(streams: Streams, fd: int, calls: int = 1) -> list[int]:
    """Let a guest write; the errnos it got."""
    engine = wasmtime.Engine()
    linker = wasmtime.Linker(engine)
    linker.define_wasi()
    store = wasmtime.Store(engine)
    config = wasmtime.WasiConfig()
    streams.attach(config)
    store.set_wasi(config)
    exports = linker.instantiate(store, wasmtime.Module(engine, GUEST)).exports(store)
    return [exports["say"](store, fd) for _ in range(calls)]


def refuse(_raw: bytes) -> int:
    return -errno.EFBIG


def fail(_raw: bytes) -> None:
    raise ValueError("broken")


def test_each_stream_has_its_writer() -> None:
    """Standard output and error do not mix."""
    out: list[bytes] = []
    err: list[bytes] = []
    streams = Streams(out.append, err.append)

    assert say(streams, 1) == [0]
    assert say(streams, 2) == [0]
    assert (out, err) == ([b"hello"], [b"hello"])


def test_a_writer_may_refuse() -> None:
    """A negative errno, or an exception, is an error of the guest's write."""
    writers: list[Writer] = [refuse, fail]

    assert all(say(Streams(writer, writer), 1) != [0] for writer in writers)


def test_after_close_nobody_is_called() -> None:
    """A guest that writes to a closed stream gets an error; the writer is forgotten."""
    out: list[bytes] = []
    streams = Streams(out.append, out.append)
    streams.close()

    assert say(streams, 1) != [0]
    assert out == []


def test_a_process_may_end_right_after_a_guest() -> None:
    """Nothing calls into Python while the interpreter ends (status 134 otherwise, now and then)."""
    program = (
        "from tests.wasi_nn.test_streams import say, Streams\n"
        "say(Streams(lambda raw: None, lambda raw: None), 1)\n"
    )
    statuses = [
        subprocess.run([sys.executable, "-c", program], check=False).returncode for _ in range(5)
    ]

    assert statuses == [0] * 5
