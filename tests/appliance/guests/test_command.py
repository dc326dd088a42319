"""Command guests: what they are given, and what their lines become."""

import logging
from pathlib import Path

import numpy as np
import pytest

from appliance.errors import FailureReason, GuestFailed
from appliance.guests.command import CommandRunner, Lines
from appliance.preprocess import Layout, raw_rgb, to_tensor
from appliance.records import Frame
from tests.appliance import watguests as guests
from tests.appliance.workshop import Workshop

_PREVIEW1 = "wasi_snapshot_preview1"
# Prints its stdin; `open` first replaces descriptor 0 by the file named in the text.
ECHO = f"""(module
  (import "{_PREVIEW1}" "fd_read" (func $read (param i32 i32 i32 i32) (result i32)))
  (import "{_PREVIEW1}" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (import "{_PREVIEW1}" "path_open"
    (func $open (param i32 i32 i32 i32 i32 i64 i64 i32 i32) (result i32)))
  (import "{_PREVIEW1}" "proc_exit" (func $exit (param i32)))
  (memory (export "memory") 8)
  (data (i32.const 64) "%s")
  (func (export "_start") (local $fd i32)
    (if (i32.const %d) (then
      (if (call $open (i32.const 3) (i32.const 0) (i32.const 64) (i32.const %d) (i32.const 0)
            (i64.const 2) (i64.const 0) (i32.const 0) (i32.const 32))
        (then (call $exit (i32.const 9))))
      (local.set $fd (i32.load (i32.const 32)))))
    (loop $more
      (i32.store (i32.const 0) (i32.const 1024))
      (i32.store (i32.const 4) (i32.const 4096))
      (drop (call $read (local.get $fd) (i32.const 0) (i32.const 1) (i32.const 8)))
      (i32.store (i32.const 4) (i32.load (i32.const 8)))
      (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 12)))
      (br_if $more (i32.load (i32.const 8))))))"""


def echo(file: str = "") -> bytes:
    """Print stdin, or a file of the preopened folder."""
    return guests.wasm(ECHO % (file, bool(file), len(file)))


def strings(kind: str) -> bytes:
    """Print the arguments or the environment as they lie in memory, NULs between."""
    return guests.wasm(f"""(module
      (import "{_PREVIEW1}" "{kind}_sizes_get" (func $sizes (param i32 i32) (result i32)))
      (import "{_PREVIEW1}" "{kind}_get" (func $get (param i32 i32) (result i32)))
      (import "{_PREVIEW1}" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
      (memory (export "memory") 1)
      (func (export "_start")
        (drop (call $sizes (i32.const 16) (i32.const 20)))
        (drop (call $get (i32.const 64) (i32.const 4096)))
        (i32.store (i32.const 0) (i32.const 4096))
        (i32.store (i32.const 4) (i32.load (i32.const 20)))
        (drop (call $write (i32.const 1) (i32.const 0) (i32.const 1) (i32.const 8)))))""")


@pytest.fixture
def run(workshop: Workshop, tmp_path: Path, frame: Frame):  # type: ignore[no-untyped-def]
    """Run a command once on the frame and give its output, lines joined again."""

    def once(wasm: bytes, manifest: str = "", shown: Frame = frame) -> bytes:
        runner = CommandRunner(workshop.program(wasm, manifest), tmp_path)
        outputs = runner.run(shown).outputs
        assert [] == list(tmp_path.glob("frame-*"))
        return b"\n".join(outputs)

    return once


def lines_of(content: bytes) -> bytes:
    """Do to expected bytes what `Lines` does to printed ones."""
    return b"\n".join(line for line in content.splitlines() if line.strip())


@pytest.mark.parametrize("file", ["", "input.png"], ids=["stdin", "file"])
def test_the_picture_comes_as_it_was_sent(run, frame: Frame, file: str) -> None:  # type: ignore[no-untyped-def]
    """On stdin and as /frame/input.<ext>, byte for byte."""
    assert frame.encoded is not None
    assert lines_of(frame.encoded) == run(echo(file))


def test_a_frame_that_was_never_encoded_comes_as_png(run, frame: Frame) -> None:  # type: ignore[no-untyped-def]
    """A camera's pixels are packed for guests that read pictures."""
    bare = Frame("door", 1, 0.0, 0.0, frame.pixels)

    assert run(echo("input.png"), shown=bare).startswith(b"\x89PNG")


@pytest.mark.parametrize("file", ["", "input.rgb"], ids=["stdin", "file"])
def test_rgb8_is_the_fitted_pixels(run, frame: Frame, file: str) -> None:  # type: ignore[no-untyped-def]
    """Rows of RGB bytes of the asked size."""
    manifest = '[input]\nformat = "rgb8"\nsize_wh = [4, 2]'

    assert lines_of(raw_rgb(frame.pixels, (4, 2))) == run(echo(file), manifest)


def test_rgb8_without_a_size_is_the_whole_frame(run, frame: Frame) -> None:  # type: ignore[no-untyped-def]
    """Nothing is resampled unless asked for."""
    assert lines_of(frame.pixels.tobytes()) == run(echo(), '[input]\nformat = "rgb8"')


def test_rgb8_is_cropped_and_filtered_as_asked(run, frame: Frame) -> None:  # type: ignore[no-untyped-def]
    """[input] says how the picture is fitted, whatever the format."""
    manifest = '[input]\nformat = "rgb8"\nsize_wh = [4, 2]\ncrop_fraction = 0.5'

    assert lines_of(raw_rgb(frame.pixels, (4, 2), crop_fraction=0.5)) == run(echo(), manifest)


@pytest.mark.parametrize("layout", [Layout.NCHW, Layout.NHWC])
def test_a_tensor_is_what_preprocess_makes(run, workshop, frame: Frame, layout: Layout) -> None:  # type: ignore[no-untyped-def]
    """The bytes of `to_tensor`, in the layout asked for."""
    manifest = (
        '[input]\nformat = "tensor"\nsize_wh = [4, 2]\nmean = [1, 2, 3]\nstd = [4, 5, 6]\n'
        f'layout = "{layout.value}"'
    )
    spec = workshop.program(echo(), manifest).manifest.input.spec()
    expected = to_tensor(frame.pixels, spec, layout)

    assert np.float32 == expected.dtype
    assert lines_of(expected.tobytes()) == run(echo("input.tensor"), manifest)


def test_arguments_name_the_frame(run) -> None:  # type: ignore[no-untyped-def]
    """argv[0] is the app; {frame} becomes the file's path as the guest sees it."""
    manifest = 'name = "cat"\nargs = ["--in={frame}", "plain"]'

    assert b"cat\0--in=/frame/input.png\0plain\0" == run(strings("args"), manifest)


def test_the_environment_is_the_manifests(run) -> None:  # type: ignore[no-untyped-def]
    """Nothing of the box's own environment leaks into a guest."""
    assert b"MODEL=tiny\0" == run(strings("environ"), '[env]\nMODEL = "tiny"')


def test_each_line_is_an_answer(run) -> None:  # type: ignore[no-untyped-def]
    """Empty lines are dropped, a last one without its end counts."""
    assert b"one\ntwo\nthree" == run(guests.printing(b"one\r\n\n  \ntwo\nthree"))


def test_an_exit_with_0_is_a_success(run) -> None:  # type: ignore[no-untyped-def]
    """`exit(0)` and returning from main are the same."""
    assert b"well" == run(guests.printing(b"well", status=0))


def test_another_exit_status_is_a_failure(run) -> None:  # type: ignore[no-untyped-def]
    """Whatever was printed before."""
    with pytest.raises(GuestFailed, match="exited with status 3") as caught:
        run(guests.printing(b"well", status=3))

    assert FailureReason.EXIT is caught.value.reason


def test_standard_error_goes_to_the_journal(workshop, tmp_path: Path, frame: Frame) -> None:  # type: ignore[no-untyped-def]
    """It is for people, at level warning."""
    program = workshop.program(guests.printing(b"careful\n", fd=2))
    answer = CommandRunner(program, tmp_path).run(frame)

    assert () == answer.outputs
    assert [(logging.getLevelName(logging.WARNING).lower(), "careful")] == [
        (line.level, line.text) for line in program.journal.tail()
    ]


def test_the_frames_folder_is_read_only(run, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    """A guest that creates a file there gets an errno: 69 is EROFS, 63 EPERM."""
    with pytest.raises(GuestFailed, match=r"exited with status (63|69)$"):
        run(guests.writing_into_preopen())


@pytest.mark.parametrize("is_stubborn", [False, True], ids=["gives up", "goes on"])
def test_too_much_output_is_named_as_such(run, is_stubborn: bool) -> None:  # type: ignore[no-untyped-def]
    """Whether the guest obeys the errno or has to be stopped."""
    with pytest.raises(GuestFailed, match="over 1048576 bytes of output about one fr") as caught:
        run(guests.flooding_stdout(is_stubborn=is_stubborn))

    assert FailureReason.OUTPUT is caught.value.reason


@pytest.mark.parametrize(("size", "is_over"), [(10, False), (11, True)])
def test_the_output_limit_is_inclusive(size: int, is_over: bool) -> None:
    """Exactly the limit fits."""
    lines = Lines(10)
    errno = lines.take(bytes(size))

    assert (is_over, is_over) == (lines.is_over, errno is not None)


def test_a_command_leaves_no_graph_but_the_kept(
    workshop: Workshop, tmp_path: Path, frame: Frame
) -> None:
    """The second run's load is answered by the cache; closing the keeper frees the graph."""
    from tests.appliance.workshop import put_model

    put_model(workshop.models)
    body = f"(drop (call $load_by_name (i32.const {guests.TEXT_AT}) (i32.const 4) (i32.const 0)))"
    program = workshop.program(guests.command(body, ("load_by_name",), b"tiny"))
    runner = CommandRunner(program, tmp_path)
    runner.run(frame)
    runner.run(frame)

    assert (1, 1) == (workshop.backend.loads, workshop.backend.open_graphs)
    program.keeper.close()
    assert 0 == workshop.backend.open_graphs
