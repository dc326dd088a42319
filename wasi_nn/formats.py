"""Tell what a model's bytes are, and refuse those that reach for files of the host.

Nothing here needs a vendor's library, and nothing trusts a length or an offset in the bytes.

An ONNX model may keep weights in files that it names. ONNX Runtime 1.32 opens them for a model
from memory if the tensor is sparse or in a subgraph; OpenVINO 2026.4 always does (both measured,
relative to the working directory). So every ONNX model is looked through before a runtime sees
it. The look follows the protobuf wire format and skips payloads: its time grows with the number
of nodes, not with the weights.
"""

from collections.abc import Iterator, Sequence

from wasi_nn.backend import Buffer, Encoding
from wasi_nn.errors import InvalidEncoding, RuntimeFailure, UnsupportedOperation

# As much of a model as is ever looked at to recognise it; chosen, not measured.
_HEAD_BYTES = 256
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


def detect_encoding(builders: Sequence[Buffer]) -> Encoding:
    """Recognise a model by its content, as `autodetect` asks for.

    Raises: InvalidEncoding, telling what was seen.
    """
    if not builders:
        raise InvalidEncoding("autodetect: got no model bytes; name the encoding instead")
    if len(builders) == 2 and is_openvino(builders[0]):
        return Encoding.OPENVINO
    if len(builders) == 1 and is_tflite(builders[0]):
        return Encoding.TENSORFLOWLITE
    if len(builders) == 1 and is_gguf(builders[0]):
        return Encoding.GGML
    if len(builders) == 1 and is_onnx(builders[0]):
        return Encoding.ONNX
    parts = "1 part" if len(builders) == 1 else f"{len(builders)} parts"
    raise InvalidEncoding(
        f"autodetect: got {parts} starting with {bytes(builders[0][:8]).hex(' ') or 'nothing'}, "
        "wanted OpenVINO (xml and bin), TensorFlow Lite or ONNX; name the encoding instead"
    )


def is_openvino(xml: Buffer) -> bool:
    """Tell whether the bytes begin as an OpenVINO IR does."""
    head = bytes(xml[:_HEAD_BYTES]).removeprefix(_BYTE_ORDER_MARK).lstrip()
    return head.startswith((b"<?xml", b"<net"))


def is_tflite(model: Buffer) -> bool:
    """Tell whether the bytes carry the flatbuffer identifier of TensorFlow Lite."""
    return bytes(model[4:8]) == b"TFL3"


def is_gguf(model: Buffer) -> bool:
    """Tell whether the bytes are a GGUF file (the `ggml` encoding)."""
    return bytes(model[:4]) == b"GGUF"


def is_onnx(model: Buffer) -> bool:
    """Tell whether the top level is an ONNX ModelProto: only its fields, and a graph."""
    view = memoryview(model).cast("B")
    # ONNX Runtime's own format has its identifier here, and is a protobuf if one wants it to be.
    if bytes(view[4:8]) == b"ORTM":
        return False
    has_graph = False
    try:
        for field, wire, _, _ in _fields(view, 0, len(view)):
            if _TOP_LEVEL.get(field) != wire:
                return False
            has_graph = has_graph or field == _GRAPH_FIELD
    except RuntimeFailure:
        return False
    return has_graph


def check_openvino_xml(xml: Buffer) -> None:
    """Refuse an IR that is no XML, or that brings its own entities.

    OpenVINO's parser expands none today; we do not rely on that.
    """
    if not is_openvino(xml):
        raise InvalidEncoding(
            f"openvino model: part 0 starts with {bytes(xml[:8]).hex(' ') or 'nothing'}, wanted "
            "the .xml first and the .bin second"
        )
    content = bytes(xml)
    if b"<!DOCTYPE" in content or b"<!ENTITY" in content:
        raise RuntimeFailure("openvino model: the .xml has a document type, an IR has none")


# ------------------------------------------------------------------------------ ONNX, protobuf

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5

# Source: onnx/onnx.proto3 (ModelProto): field number -> wire type.
_TOP_LEVEL = {
    1: _VARINT, 2: _BYTES, 3: _BYTES, 4: _BYTES, 5: _VARINT, 6: _BYTES, 7: _BYTES, 8: _BYTES,
    14: _BYTES, 20: _BYTES, 25: _BYTES, 26: _BYTES,
}  # fmt: skip
_GRAPH_FIELD = 7

# Source: onnx/onnx.proto3: message -> field number -> message; only the ways to a tensor or node.
_CHILDREN: dict[str, dict[int, str]] = {
    "Model": {7: "Graph", 20: "Training", 25: "Function"},
    "Training": {1: "Graph", 2: "Graph"},
    "Function": {7: "Node", 11: "Attribute"},
    "Graph": {1: "Node", 5: "Tensor", 15: "Sparse"},
    "Node": {5: "Attribute"},
    "Attribute": {
        5: "Tensor", 6: "Graph", 10: "Tensor", 11: "Graph", 22: "Sparse", 23: "Sparse",
    },
    "Sparse": {1: "Tensor", 2: "Tensor"},
    "Tensor": {},
}  # fmt: skip
_TENSOR_EXTERNAL_DATA, _TENSOR_DATA_LOCATION = 13, 14
_NODE_OP_TYPE = 4
# Nodes that carry a compiled blob, or the path of one, for the provider that made it.
_FOREIGN_NODES = (b"EPContext",)


def check_onnx(model: Buffer) -> None:
    """Refuse an ONNX model that names a file of the host, wherever it does so.

    Raises: InvalidEncoding if it is no ONNX model, RuntimeFailure if it is cut off or damaged,
    UnsupportedOperation if it keeps data outside.
    """
    view = memoryview(model).cast("B")
    if bytes(view[4:8]) == b"ORTM":
        raise InvalidEncoding("onnx model: got ONNX Runtime's .ort format; convert it to .onnx")
    if not len(view) or view[0] >> 3 not in _TOP_LEVEL:
        raise InvalidEncoding(
            f"onnx model: starts with {bytes(view[:8]).hex(' ') or 'nothing'}, which is no ONNX"
        )
    # A list, not recursion: how deep messages nest is the model's choice.
    todo = [("Model", 0, len(view))]
    while todo:
        kind, start, end = todo.pop()
        children = _CHILDREN[kind]
        for field, wire, value, size in _fields(view, start, end):
            if kind == "Tensor":
                _check_tensor_field(field, wire, value)
            elif kind == "Node" and field == _NODE_OP_TYPE and wire == _BYTES:
                _check_op(bytes(view[value : value + min(size, _HEAD_BYTES)]))
            elif wire == _BYTES and field in children:
                todo.append((children[field], value, value + size))


def _check_tensor_field(field: int, wire: int, value: int) -> None:
    """Refuse a tensor whose data is elsewhere, by either of the two ways to say so."""
    is_elsewhere = field == _TENSOR_DATA_LOCATION and (wire != _VARINT or value != 0)
    if is_elsewhere or field == _TENSOR_EXTERNAL_DATA:
        raise UnsupportedOperation(
            "onnx model: keeps weights in another file, and a model may open none here; save it "
            "as one file (onnx.save with save_as_external_data=False)"
        )


def _check_op(op: bytes) -> None:
    if op in _FOREIGN_NODES:
        raise UnsupportedOperation(
            f"onnx model: has a {op.decode()} node, which may name a file; use the model that it "
            "was compiled from"
        )


def _fields(view: memoryview, start: int, end: int) -> Iterator[tuple[int, int, int, int]]:
    """Walk one protobuf message.

    Yields: field number, wire type, then for bytes where they start and how many, else the value
    (0 for fixed sizes) and 0.
    Raises: RuntimeFailure for what no ONNX writer writes.
    """
    at = start
    while at < end:
        tag, at = _varint(view, at, end)
        field, wire = tag >> 3, tag & 7
        if tag >= 1 << 32 or field == 0:
            raise RuntimeFailure(f"onnx model: damaged at byte {at}, a field has no number")
        if wire == _BYTES:
            size, at = _varint(view, at, end)
            value, after = at, at + size
        elif wire == _VARINT:
            size = 0
            value, after = _varint(view, at, end)
        elif wire in (_FIXED32, _FIXED64):
            value, size = 0, 0
            after = at + (4 if wire == _FIXED32 else 8)
        else:
            raise RuntimeFailure(f"onnx model: damaged at byte {at}, wire type {wire}")
        if after > end:
            raise RuntimeFailure(
                f"onnx model: cut off or damaged at byte {at}, a field needs {after - end} bytes "
                "more than there are"
            )
        yield field, wire, value, size
        at = after


def _varint(view: memoryview, at: int, end: int) -> tuple[int, int]:
    """Read a base-128 number at `at`; returns it and where the next thing is."""
    value = shift = 0
    while at < end and shift < 70:
        byte = view[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & 0xFFFF_FFFF_FFFF_FFFF, at
        shift += 7
    raise RuntimeFailure(f"onnx model: cut off or damaged at byte {at}, a number does not end")
