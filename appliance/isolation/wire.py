"""What the box and a worker say to each other: one JSON message a packet, and file descriptors.

    box                                                      worker
    {"load": {...}, sizes}  + memfd with the model's bytes   {"graph": {...}} or {"error": ...}
    {"open": true}          + a socket and an arena          (answers on that socket from then on)
    {"run": [places]}                                        {"outputs": [places]} or {"error": ...}

A packet must fit the kernel's buffer (socket(7), SO_SNDBUF, 208 KiB); ours have a few hundred
bytes, but for graphs with hundreds of inputs.
"""

import json
import socket
from collections.abc import Sequence
from typing import Any

from wasi_nn import errors
from wasi_nn.backend import Device, Encoding, GraphOptions, Objective
from wasi_nn.errors import NNError, RuntimeFailure
from wasi_nn.tensor import MAX_RANK, Quantization, TensorSpec, TensorType

MAX_MESSAGE_BYTES = 128 * 1024
_MAX_FDS = 2
_MAX_SENTENCE = 500
_ERRORS = {
    kind.__name__: kind
    for kind in (
        errors.InvalidArgument, errors.InvalidEncoding, errors.Busy, errors.RuntimeFailure,
        errors.UnsupportedOperation,
    )
}  # fmt: skip


def pair() -> tuple[socket.socket, socket.socket]:
    """Make both ends; a packet comes whole or not at all."""
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)


def send(end: socket.socket, message: dict[str, Any], fds: Sequence[int] = ()) -> None:
    """Send a message. Raises: OSError if nobody is there."""
    packet = json.dumps(message).encode()
    assert len(packet) <= MAX_MESSAGE_BYTES, "our messages are short"
    socket.send_fds(end, [packet], list(fds))


def receive(end: socket.socket) -> tuple[dict[str, Any], list[int]]:
    """Receive a message and its descriptors, which are the caller's to close.

    Raises: EOFError if the other side has gone; ValueError if it says nonsense; OSError, of which
    TimeoutError if it says nothing.
    """
    packet, fds, _, _ = socket.recv_fds(end, MAX_MESSAGE_BYTES, _MAX_FDS)
    if not packet:
        raise EOFError
    try:
        message = json.loads(packet)
    except RecursionError as exc:
        raise ValueError("a message without end") from exc
    if not isinstance(message, dict):
        raise ValueError("a message that is no object")
    return message, fds


def error_to_json(error: NNError) -> dict[str, str]:
    """Write an error down."""
    kind = type(error).__name__
    known = kind if kind in _ERRORS else RuntimeFailure.__name__
    return {"kind": known, "sentence": str(error)[:_MAX_SENTENCE]}


def error_from_json(value: Any) -> NNError:
    """Read an error; whatever it is, it is one."""
    match value:
        case {"kind": str() as kind, "sentence": str() as sentence} if kind in _ERRORS:
            return _ERRORS[kind](sentence[:_MAX_SENTENCE])
    return RuntimeFailure("the model's process failed and did not say how")


def options_to_json(options: GraphOptions) -> dict[str, Any]:
    """Write how to load down."""
    return {
        "device": options.device.value,
        "num_threads": options.num_threads,
        "allow_fallback": options.allow_fallback,
        "objective": options.objective.value,
    }


def options_from_json(value: dict[str, Any]) -> GraphOptions:
    """Read how to load; the box said it, so it is right."""
    return GraphOptions(
        Device(value["device"]), value["num_threads"], value["allow_fallback"],
        Objective(value["objective"]),
    )  # fmt: skip


def encoding_of(name: str) -> Encoding:
    """Read an encoding."""
    return Encoding(name)


def spec_to_json(spec: TensorSpec) -> dict[str, Any]:
    """Write a graph's input or output down."""
    quantization = spec.quantization
    return {
        "name": spec.name,
        "type": spec.type.value,
        "shape": list(spec.shape),
        "quantization": None
        if quantization is None
        else [quantization.scale, quantization.zero_point],
    }


def spec_from_json(value: Any) -> TensorSpec:
    """Read a graph's input or output. Raises: ValueError if it is none."""
    match value:
        case {"name": str() as name, "type": str() as kind, "shape": list() as dims, **rest}:
            shape = tuple(dims)
            is_shape = len(shape) <= MAX_RANK and all(
                dim is None or (type(dim) is int and 0 <= dim < 2**40) for dim in shape
            )
            if is_shape:
                quantization = _quantization(rest.get("quantization"))
                return TensorSpec(name[:_MAX_SENTENCE], TensorType(kind), shape, quantization)
    raise ValueError("not an input or output of a graph")


def _quantization(value: Any) -> Quantization | None:
    match value:
        case None:
            return None
        case [float() | int() as scale, int() as zero_point]:
            try:
                return Quantization(float(scale), zero_point)
            except (NNError, OverflowError) as exc:
                raise ValueError("not a quantization") from exc
    raise ValueError("not a quantization")
