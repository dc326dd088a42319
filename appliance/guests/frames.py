"""The `appliance` import module: what a reactor guest may ask about a frame, and say.

    frame_info(frame, out)                            24 bytes: width u32 @0, height u32 @4,
                                                      sequence u64 @8, captured_ns u64 @16
    frame_read(frame, offset, buf, len, written)      RGB pixels
    frame_to_tensor(frame, ctx, input, buf, len, written)
    frame_set_input(frame, ctx, input)                nothing crosses guest memory
    output_info(ctx, output, out)                     16 bytes: type, kind, size_bytes, labels
    label(ctx, output, index, buf, len, written)
    emit(json, len)
    log(level, text, len)

All return a WASI-NN errno. How a frame becomes an input stands in the model's `model.toml`; for
a model that the guest brought itself, in the app's `[input]`.
The C declarations are in `wasi_nn/guest/appliance.h`.
"""

import logging
import math
import struct
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import wasmtime

from appliance.guests.breaches import BreachBook
from appliance.guests.journal import Journal
from appliance.manifests import AppManifest, ModelPackage, OutputKind
from appliance.preprocess import InputSpec, Layout, tensor_bytes, tensor_shape, to_tensor
from appliance.records import MAX_DEPTH, MAX_OUTPUT_BYTES, Frame, json_object
from appliance.settings import AppLimits
from wasi_nn.errors import Busy, InvalidArgument, NNError, NotFound, TooLarge, UnsupportedOperation
from wasi_nn.hostcall import define
from wasi_nn.serving import Guest
from wasi_nn.session import Context, Session
from wasi_nn.tensor import TYPE_NUMBERS, Array, Numbering, TensorSpec, TensorType, raw_bytes

MODULE = "appliance"

_FRAME_INFO = struct.Struct("<IIQQ")
_OUTPUT_INFO = struct.Struct("<IIII")
_LOG_LEVELS = (logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR)
_KINDS = {OutputKind.LOGITS: 1, OutputKind.PROBABILITIES: 2}
# A guest that cannot say it in this much has lost its way; the box keeps 64 KiB of it anyway.
_MAX_LOG_BYTES = 8 * 1024
# Host calls of one frame at full speed, more than reading a picture pixel by pixel takes in rows;
# then so many between two rests. 50 000 a second are left.
_CALLS_AT_EASE = 10_000
_ANY_NUMBER = 1 << 62
_CALLS_BETWEEN_RESTS = 16
_REST_S = 0.0002
_LONG_REST_S = 0.002


@dataclass(frozen=True, slots=True)
class Watch:
    """Who looks at a guest: its limits, who is told, and how it is stopped."""

    limits: AppLimits
    journal: Journal
    breaches: BreachBook
    stop: Callable[[], None]


class FrameGuest(Guest):
    """A guest of the box: a WASI-NN guest that is shown frames.

    limits: the app's.   breaches: told which of them held.
    stop: ends the call that is under way at the guest's next function.
    last_error: of the WASI-NN and frame calls about the present frame; "" if all went well.
    was_busy: whether that error was that the box was too busy.
    refused: why an output about it was not taken; "" if none was refused.
    """

    def __init__(
        self, store: wasmtime.Store, session: Session, manifest: AppManifest, watch: Watch
    ) -> None:
        super().__init__(store, session, self._note)
        self.manifest = manifest
        self.journal = watch.journal
        self.limits = watch.limits
        self.breaches = watch.breaches
        self._stop = watch.stop
        self.has_too_many_calls = False
        self._calls_granted = 0
        self._logged_bytes = 0
        self.last_error = ""
        self.emitted: list[bytes] = []
        self.emitted_bytes = 0
        self.refused = ""
        self.was_busy = False
        self._frame: Frame | None = None
        self._handle = 0
        # Of a context, never used twice, and an input.
        self.last_plan: tuple[tuple[int, int], _Plan | None] = ((0, 0), None)

    def show(self, frame: Frame) -> int:
        """Let the guest see a frame until `hide`. Returns: its handle, never used twice."""
        self._frame = frame
        self._handle = (self._handle + 1) & 0x7FFFFFFF
        self.emitted = []
        self.emitted_bytes = 0
        self.refused = ""
        self.last_error = ""
        self.was_busy = False
        return self._handle

    def hide(self) -> tuple[bytes, ...]:
        """Take the frame away. Returns: what the guest emitted about it."""
        self._frame = None
        emitted, self.emitted = tuple(self.emitted), []
        return emitted

    def begin_call(self) -> None:
        """Count from nothing again: limits of calls and of log bytes hold for one call."""
        self.has_too_many_calls = False
        self._logged_bytes = 0
        limit = self.limits.host_calls
        granted = _ANY_NUMBER if limit is None else min(_CALLS_AT_EASE, limit)
        self._calls_granted = self.calls_at_ease = granted

    @property
    def host_calls(self) -> int:
        """How often the call under way has called the host."""
        return self._calls_granted - self.calls_at_ease

    def on_many_calls(self) -> bool:
        """Slow a guest down that calls much, and end it at its limit.

        Every call takes Python's lock; sleeping a little gives it to those who wait for it.
        Where the trap is not taken (streams), the guest is slowed down to its deadline.
        """
        limit = self.limits.host_calls
        if limit is not None and self.host_calls > limit:
            if not self.has_too_many_calls:
                self.has_too_many_calls = True
                self.breaches.note("host_calls", limit, self.host_calls)
            self._stop()
            time.sleep(_LONG_REST_S)
            return True
        time.sleep(_REST_S)
        room = _CALLS_BETWEEN_RESTS if limit is None else limit - self.host_calls + 1
        more = min(_CALLS_BETWEEN_RESTS, room)
        self._calls_granted += more
        self.calls_at_ease += more
        return False

    def count_call(self) -> None:
        """Count a call that does not come through the linker: a write to a standard stream."""
        self.count_calls(1)

    def count_calls(self, count: int) -> None:
        """Count what takes as long as that many calls."""
        self.calls_at_ease -= count
        if self.calls_at_ease < 0:
            self.on_many_calls()

    def say(self, level: int, raw: bytes | memoryview) -> None:
        """Put into the app's log what the guest says, up to `log_bytes` about one frame."""
        allowed = self.limits.log_bytes
        room = allowed - self._logged_bytes
        self._logged_bytes += len(raw)
        if len(raw) > room >= 0:
            self.breaches.note("log_bytes", allowed, self._logged_bytes)
        if room > 0:
            self.journal.write_output(level, bytes(raw[:room]))

    def frame(self, handle: int) -> Frame:
        """Raises: InvalidArgument if this is not the frame being shown."""
        if self._frame is None or handle != self._handle:
            raise InvalidArgument(f"frame handle: got {handle}, wanted the one of this call")
        return self._frame

    def _note(self, name: str, error: NNError) -> None:
        self.last_error = f"{name}: {error}"
        # At a limit of its own it is not the box that is busy.
        self.was_busy = isinstance(error, Busy) and error.excess is None
        if error.excess is not None:
            excess = error.excess
            self.breaches.note(excess.limit, excess.allowed, excess.wanted)
        self.journal.write(logging.WARNING, f"{name} gave errno {error.errno:d}: {error}")


def frame_info(guest: FrameGuest, handle: int, out: int) -> None:
    frame = guest.frame(handle)
    window = guest.memory.window(out, _FRAME_INFO.size, "frame_info out-pointer")
    captured_ns = max(0, int(frame.captured_at * 1e9))
    _FRAME_INFO.pack_into(window, 0, frame.width, frame.height, frame.sequence, captured_ns)


def frame_read(
    guest: FrameGuest, handle: int, offset: int, buffer: int, length: int, written: int
) -> None:
    pixels = guest.frame(handle).pixels
    guest.memory.window(written, 4, "written out-pointer")
    target = guest.memory.window(buffer, length, "pixel buffer")
    if offset > pixels.nbytes:
        raise InvalidArgument(f"frame_read: got offset {offset}, wanted 0..{pixels.nbytes}")
    count = min(length, pixels.nbytes - offset)
    # Only a frame that is not contiguous is copied, such as a cropped one.
    target[:count] = raw_bytes(np.ascontiguousarray(pixels))[offset : offset + count]
    guest.memory.write_u32(written, count, "written out-pointer")


def frame_to_tensor(
    guest: FrameGuest, handle: int, context: int, index: int, buffer: int, length: int,
    written: int,
) -> None:  # fmt: skip
    frame = guest.frame(handle)
    plan = _Plan.of(guest, context, index)
    guest.memory.window(written, 4, "written out-pointer")
    target = guest.memory.window(buffer, length, "tensor buffer")
    if plan.size_bytes > length:
        guest.memory.write_u32(written, plan.size_bytes, "written out-pointer")
        raise TooLarge(
            f"frame_to_tensor: got a buffer of {length} bytes, wanted {plan.size_bytes}",
            required_bytes=plan.size_bytes,
        )
    # Straight into guest memory; numpy computes at any alignment.
    out = np.frombuffer(target[: plan.size_bytes], plan.image.type.storage).reshape(plan.dims)
    to_tensor(frame.pixels, plan.image, plan.layout, out=out)
    guest.memory.write_u32(written, plan.size_bytes, "written out-pointer")


def frame_set_input(guest: FrameGuest, handle: int, context: int, index: int) -> None:
    frame = guest.frame(handle)
    plan = _Plan.of(guest, context, index)
    to_tensor(
        frame.pixels, plan.image, plan.layout,
        out=guest.session.input_buffer(context, index, plan.dims),
    )  # fmt: skip


def output_info(guest: FrameGuest, context: int, index: int, out: int) -> None:
    opened = guest.session.context(context)
    spec = _output_spec(opened, index)
    window = guest.memory.window(out, _OUTPUT_INFO.size, "output_info out-pointer")
    size_bytes = _output_bytes(opened, index, spec)
    package = _package(opened)
    kind, labels = 0, 0
    if package is not None and index < len(package.manifest.outputs):
        kind = _KINDS[package.manifest.outputs[index].kind]
        labels = len(package.labels)
    _OUTPUT_INFO.pack_into(window, 0, _type_number(spec.type), kind, size_bytes, labels)


def label(
    guest: FrameGuest, context: int, output: int, index: int, buffer: int, length: int,
    written: int,
) -> None:  # fmt: skip
    opened = guest.session.context(context)
    _output_spec(opened, output)
    package = _package(opened)
    labels = package.labels if package is not None else ()
    if index >= len(labels):
        raise NotFound(f"label: got index {index}, this model names {len(labels)}")
    guest.memory.answer(labels[index].encode(), buffer, length, written, "label")


def emit(guest: FrameGuest, pointer: int, length: int) -> None:
    window = guest.memory.window(pointer, length, "emitted text")
    emitted_bytes = guest.emitted_bytes + length
    allowed = guest.limits.output_bytes
    if emitted_bytes > allowed:
        guest.refused = (
            f"emit: got {emitted_bytes} bytes about one frame, wanted at most "
            f"{allowed}; raise output_bytes in [limits] if it needs more"
        )
        guest.breaches.note("output_bytes", allowed, emitted_bytes)
        raise TooLarge(guest.refused, required_bytes=emitted_bytes)
    output = bytes(window)
    if json_object(output) is None:
        guest.refused = (
            f"emit: got {length} bytes that are not one JSON object of at most "
            f"{MAX_OUTPUT_BYTES} bytes and {MAX_DEPTH} levels"
        )
        raise InvalidArgument(guest.refused)
    guest.emitted.append(output)
    guest.emitted_bytes = emitted_bytes


def write_log(guest: FrameGuest, level: int, pointer: int, length: int) -> None:
    if level >= len(_LOG_LEVELS):
        raise InvalidArgument(f"log level: got {level}, wanted 0..{len(_LOG_LEVELS) - 1}")
    guest.say(
        _LOG_LEVELS[level], guest.memory.window(pointer, min(length, _MAX_LOG_BYTES), "log text")
    )


def add_to_linker(linker: wasmtime.Linker) -> None:
    """Offer the `appliance` module; the guests must be FrameGuests."""
    define(linker, MODULE, "frame_info", 2, frame_info)
    define(linker, MODULE, "frame_read", 5, frame_read)
    define(linker, MODULE, "frame_to_tensor", 6, frame_to_tensor)
    define(linker, MODULE, "frame_set_input", 3, frame_set_input)
    define(linker, MODULE, "output_info", 3, output_info)
    define(linker, MODULE, "label", 6, label)
    define(linker, MODULE, "emit", 2, emit)
    define(linker, MODULE, "log", 3, write_log)


class _Plan:
    """How a frame becomes one input of one context."""

    __slots__ = ("dims", "image", "layout", "size_bytes")

    def __init__(self, image: InputSpec, layout: Layout, spec: TensorSpec) -> None:
        self.image = image
        self.layout = layout
        self.dims = tensor_shape(image, layout)
        self.size_bytes = tensor_bytes(image)
        if image.type is not spec.type or not spec.accepts(self.dims):
            raise InvalidArgument(
                f"input {spec.name}: the manifest makes {image.type.value} {self.dims} of a frame, "
                f"the graph wants {spec}; correct size_wh, type or layout"
            )

    @classmethod
    def of(cls, guest: FrameGuest, context: int, index: int) -> "_Plan":
        """Find how a frame becomes an input; a guest mostly asks for the same one."""
        # The spec is the graph's own: while the context is open, it is this and no other.
        spec = guest.session.input_spec(context, index)
        key, plan = guest.last_plan
        if plan is None or key != (context, index):
            plan = cls._make(guest, guest.session.context(context), index, spec)
            guest.last_plan = (context, index), plan
        return plan

    @classmethod
    def _make(cls, guest: FrameGuest, opened: Context, index: int, spec: TensorSpec) -> "_Plan":
        package = _package(opened)
        if package is not None and index < len(package.manifest.inputs):
            files = package.manifest.files_for(opened.reference.encoding)
            layout = Layout.NCHW if files is None else files.image_layout
            return cls(package.manifest.inputs[index], layout, spec)
        image = guest.manifest.input.spec()
        if image is None:
            raise UnsupportedOperation(
                f"input {spec.name}: nothing says how a frame becomes {spec}; name the model's "
                "preprocessing in model.toml, or the app's in [input] (size_wh, mean, std, layout)"
            )
        return cls(image, guest.manifest.input.layout, spec)


def _package(context: Context) -> ModelPackage | None:
    model = context.reference.model
    package: Any = None if model is None else model.package
    return package if isinstance(package, ModelPackage) else None


def _output_spec(context: Context, index: int) -> TensorSpec:
    specs = context.graph.outputs
    if index >= len(specs):
        raise InvalidArgument(f"output index: got {index}, wanted 0..{len(specs) - 1}")
    return specs[index]


def _output_bytes(context: Context, index: int, spec: TensorSpec) -> int:
    """The size of what was computed; before that of one row, free dimensions counted as 1."""
    outputs: list[Array] | None = context.outputs
    if outputs is not None:
        return outputs[index].nbytes
    return math.prod(1 if dim is None else dim for dim in spec.shape) * spec.type.itemsize


def _type_number(kind: TensorType) -> int:
    """Number a type as current witx does; raw bytes (u8) stand for what it has no number for."""
    known = TYPE_NUMBERS[Numbering.WITX]
    return known.index(kind if kind in known else TensorType.U8)
