"""What a client sent becomes the arrays that a graph computes on, or is refused.

Rules:
1. Every input of the graph once, nothing else; of its datatype and dimensions (-1 is any).
2. An input that the manifest calls a picture takes BYTES [N] or [N, 1], too: N encoded pictures.
3. Where the graph has a batch dimension, all inputs have the same number of rows.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from appliance.errors import BadRequest
from appliance.inference.graphs import LoadedModel
from appliance.inference.pictures import Decode, PictureInput, batch_of
from appliance.inference.shared import fetched
from appliance.oip.datatypes import Datatype
from appliance.oip.elements import shown, tensor_of
from appliance.oip.messages import Buffer, InferRequest, Tensor
from appliance.sharedmemory import SharedRegions
from wasi_nn.tensor import Array, TensorSpec

# Rows of one request; also what the model's config says. Chosen, not measured: a larger batch
# computes no faster, and nobody else is served meanwhile.
MAX_BATCH_ROWS = 128
# How encoded pictures begin: JPEG, PNG, WebP.
_PICTURE_STARTS = (b"\xff\xd8\xff", b"\x89PNG\r\n", b"RIFF")


@dataclass(frozen=True, slots=True)
class InputReader:
    """Reads a request's inputs.

    decode: makes pixels of an encoded picture.   max_bytes: of one input's tensor, and of one
    input in shared memory.
    """

    decode: Decode
    regions: SharedRegions
    max_bytes: int

    def arrays_of(self, model: LoadedModel, request: InferRequest) -> list[Array]:
        """Give the graph's inputs, in its order. Raises: BadRequest, BadPicture."""
        specs = model.graph.inputs
        if request.raw is not None:
            arrays = [self._raw(model, request.raw)]
        else:
            tensors = _by_name(model, request.inputs)
            arrays = [
                self._array(tensors[spec.name], spec, picture)
                for spec, picture in zip(specs, model.pictures, strict=True)
            ]
        if model.graph.batch_axis is not None:
            _check_rows(model, arrays)
        return arrays

    def _array(self, tensor: Tensor, spec: TensorSpec, picture: PictureInput | None) -> Array:
        is_encoded = picture is not None and tensor.datatype is Datatype.BYTES
        if is_encoded:
            is_right = tensor.shape in ((tensor.shape[:1]), (*tensor.shape[:1], 1))
        else:
            is_right = tensor.datatype is Datatype.of(spec.type) and spec.accepts(tensor.shape)
        if not is_right:
            raise BadRequest(
                f"input {spec.name}: got {tensor.datatype.value} {shown(tensor.shape)}, wanted "
                f"{wanted(spec)}{' or BYTES [N], N encoded pictures' if picture else ''}"
            )
        values = fetched(tensor, self.regions, self.max_bytes).values
        if picture is not None and isinstance(values, tuple):
            return self._pictures(values, spec, picture)
        assert isinstance(values, np.ndarray), "a tensor that is no BYTES has an array"
        # A view of the received bytes lies anywhere; runtimes may want their loads aligned.
        return values if values.flags.aligned else values.copy()

    def _pictures(self, encoded: Sequence[bytes], spec: TensorSpec, picture: PictureInput) -> Array:
        dims = (len(encoded), *picture.dims[1:])
        if not encoded or len(encoded) > MAX_BATCH_ROWS or not spec.accepts(dims):
            most = spec.shape[0] or f"1..{MAX_BATCH_ROWS}"
            raise BadRequest(f"input {spec.name}: got {len(encoded)} pictures, wanted {most}")
        return batch_of(encoded, picture, self.decode, max_bytes=self.max_bytes)

    def _raw(self, model: LoadedModel, raw: Buffer) -> Array:
        """Understand the body of a raw binary request."""
        specs = model.graph.inputs
        if len(specs) != 1:
            raise BadRequest(
                f"raw request: model {model.name} has {len(specs)} inputs, wanted one of 1 input"
            )
        (spec,), (picture,) = specs, model.pictures
        if picture is not None and bytes(raw[:16]).startswith(_PICTURE_STARTS):
            return self._pictures((bytes(raw),), spec, picture)
        shape = _deduced(spec, len(raw), is_batched=model.graph.batch_axis is not None)
        if shape is not None:
            tensor = tensor_of(spec.name, Datatype.of(spec.type), shape, raw)
            return self._array(tensor, spec, picture)
        if picture is not None:
            # Not a tensor by its size: let the decoder say what it is instead of a picture.
            return self._pictures((bytes(raw),), spec, picture)
        raise BadRequest(
            f"raw request: got {len(raw)} bytes, wanted those of {wanted(spec)} with a batch of 1"
        )


def wanted(spec: TensorSpec) -> str:
    """Write what an input takes as requests say it."""
    dims = [-1 if dim is None else dim for dim in spec.shape]
    return f"{Datatype.of(spec.type).value} {shown(dims)}"


def _by_name(model: LoadedModel, inputs: Sequence[Tensor]) -> dict[str, Tensor]:
    """Raises: BadRequest unless each input of the graph is there, once, and no other."""
    names = [spec.name for spec in model.graph.inputs]
    found = {tensor.name: tensor for tensor in inputs}
    given = [tensor.name for tensor in inputs]
    known = ", ".join(names)
    if len(found) < len(given):
        twice = next(name for name in given if given.count(name) > 1)
        raise BadRequest(f"input {twice[:80]}: got it twice, wanted each once: {known}")
    for name in given:
        if name not in names:
            raise BadRequest(f"input {name[:80]}: model {model.name} has none such; it has {known}")
    for name in names:
        if name not in found:
            raise BadRequest(
                f"input {name}: missing; model {model.name} wants {len(names)}: {known}"
            )
    return found


def _check_rows(model: LoadedModel, arrays: Sequence[Array]) -> None:
    rows = [array.shape[0] for array in arrays]
    if len(set(rows)) > 1:
        raise BadRequest(f"batch: model {model.name} inputs of {rows} rows, wanted as many each")
    if not 1 <= rows[0] <= MAX_BATCH_ROWS:
        raise BadRequest(
            f"batch: model {model.name} got {rows[0]} rows, wanted 1..{MAX_BATCH_ROWS} a request"
        )


def _deduced(spec: TensorSpec, size_bytes: int, *, is_batched: bool) -> tuple[int, ...] | None:
    """Find the shape of so many bytes: a batch of 1, and at most one more free dimension."""
    shape: list[int | None] = list(spec.shape)
    if is_batched:
        shape[0] = 1
    row_bytes = math.prod(dim for dim in shape if dim is not None) * spec.type.itemsize
    if None in shape:
        if shape.count(None) > 1 or not row_bytes or size_bytes % row_bytes:
            return None
        shape[shape.index(None)] = size_bytes // row_bytes
    elif row_bytes != size_bytes:
        return None
    return tuple(dim or 0 for dim in shape)
