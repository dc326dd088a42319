"""Command guests: a fresh instance per frame, the frame on stdin and in a file, lines as answers.

Any program with a `_start` is one: an existing WASI-NN example classifies frames without knowing
of this box. Its model loads are answered by the cache (`wasi_nn.keeper`).
"""

import errno
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import wasmtime

from appliance.asks import FRAME_FOLDER
from appliance.errors import FailureReason, GuestFailed
from appliance.guests.instance import Instance, Output, too_busy
from appliance.guests.program import Program
from appliance.guests.runner import Answer
from appliance.guests.setup import set_up
from appliance.manifests import InputFormat
from appliance.pictures import encode_png
from appliance.preprocess import raw_rgb, to_tensor
from appliance.records import Frame
from wasi_nn.executor import Cancellation

_EXTENSIONS = {"image/jpeg": "jpg", "image/png": "png"}


class CommandRunner:
    """Runs a command guest once per frame.

    scratch: a folder for the frame's file; in memory if possible, for it is written every frame.
    """

    def __init__(self, program: Program, scratch: Path) -> None:
        self._program = program
        self._scratch = scratch

    def run(self, frame: Frame, cancellation: Cancellation | None = None) -> Answer:
        """See `Runner.run`."""
        folder = Path(tempfile.mkdtemp(prefix="frame-", dir=self._scratch))
        try:
            content, extension = self._input_of(frame)
            file = folder / f"input.{extension}"
            file.write_bytes(content)
            return self._run(file, cancellation)
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def forget(self, source: str) -> None:
        """See `Runner.forget`: nothing is kept."""

    def close(self) -> None:
        """See `Runner.close`: no instance outlives its frame."""

    def _run(self, file: Path, cancellation: Cancellation | None) -> Answer:
        manifest = self._program.manifest
        seen = f"{FRAME_FOLDER}/{file.name}"
        arguments = [arg.replace("{frame}", seen) for arg in manifest.args]
        wasi = set_up(self._program, arguments, file)
        stdout = Lines(self._program.limits.output_bytes)
        started_s = time.perf_counter()
        instance = Instance(self._program, wasi.config, Output(stdout.take), wasi.spaces)
        stdout.on_overflow = instance.stop_soon
        try:
            call_start(instance, stdout, cancellation)
            memory_bytes = instance.memory_bytes()
        finally:
            instance.close()
        guest_s = time.perf_counter() - started_s
        return Answer(stdout.lines(), guest_s, memory_bytes, instance.spent)

    def _input_of(self, frame: Frame) -> tuple[bytes, str]:
        """Give the frame as the app's `[input]` wants it, and the file's extension."""
        wanted = self._program.manifest.input
        spec = wanted.spec()
        if wanted.format is InputFormat.RGB8:
            if spec is None:
                return frame.pixels.tobytes(), "rgb"
            fitted = raw_rgb(
                frame.pixels, spec.size_wh, resize=spec.resize, crop_fraction=spec.crop_fraction
            )
            return fitted, "rgb"
        if wanted.format is InputFormat.TENSOR:
            assert spec is not None, "a manifest with format tensor has size_wh (checked there)"
            return to_tensor(frame.pixels, spec, wanted.layout).tobytes(), "tensor"
        if frame.encoded is not None and frame.media_type in _EXTENSIONS:
            return frame.encoded, _EXTENSIONS[frame.media_type]
        return encode_png(frame.pixels), "png"


def call_start(
    instance: Instance, stdout: "Lines", cancellation: Cancellation | None = None
) -> None:
    """Run `_start` to its end.

    Raises: GuestFailed; too much output is named as such, whatever the guest made of it.
    Unavailable if the guest gave up because the box was too busy.
    """
    try:
        instance.call(cancellation=cancellation)
    except GuestFailed as failure:
        if stdout.is_over:
            raise _overflow(instance, stdout) from failure
        if failure.reason is not FailureReason.EXIT:
            raise
        if not is_success(failure):
            if instance.guest.was_busy:
                raise too_busy(instance.program.name, instance.guest.last_error) from failure
            raise
    if stdout.is_over:
        raise _overflow(instance, stdout)


def _overflow(instance: Instance, stdout: "Lines") -> GuestFailed:
    """Note that it was too much, and say so."""
    allowed = instance.program.limits.output_bytes
    instance.program.breaches.note("output_bytes", allowed, stdout.wanted_bytes)
    return stdout.failure()


def is_success(failure: GuestFailed) -> bool:
    """Tell an orderly `exit(0)`, which wasmtime raises like any other end."""
    cause = failure.__cause__
    return isinstance(cause, wasmtime.ExitTrap) and cause.code == 0


class Lines:
    """Collects standard output up to a limit."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._collected = bytearray()
        self.is_over = False
        self.wanted_bytes = 0
        self.on_overflow: Callable[[], None] = lambda: None

    def take(self, raw: bytes) -> int | None:
        """Take a write of the guest's. Returns: None, or a negative errno once it is over."""
        if len(self._collected) + len(raw) > self._limit_bytes:
            if not self.is_over:
                self.is_over = True
                self.wanted_bytes = len(self._collected) + len(raw)
            self.on_overflow()
            return -errno.EFBIG
        self._collected += raw
        return None

    def lines(self) -> tuple[bytes, ...]:
        """Split into lines; empty ones are dropped."""
        return tuple(line for line in bytes(self._collected).splitlines() if line.strip())

    def failure(self) -> GuestFailed:
        """Say that it was too much."""
        return GuestFailed(
            f"the guest wrote over {self._limit_bytes} bytes of output about one frame; raise "
            "output_bytes in [limits] if it needs more",
            reason=FailureReason.OUTPUT,
        )
