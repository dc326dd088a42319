"""What a graph gave becomes what the client asked for: tensors, or the best classes by name."""

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from appliance.errors import BadRequest, ModelFailed
from appliance.oip.datatypes import Datatype
from appliance.oip.messages import InferRequest, Tensor, WantedOutput
from appliance.sharedmemory import HeldSlice, SharedRegions
from wasi_nn.tensor import Array, TensorSpec, TensorType

# More classes of a row than anyone reads; bounds a loop in Python.
_MAX_CLASSES = 10_000


@dataclass(frozen=True, slots=True)
class Choice:
    """An output that is wanted, and its place among those there are."""

    index: int
    wanted: WantedOutput
    held: HeldSlice | None = None


@contextlib.contextmanager
def chosen(
    names: Sequence[str], request: InferRequest, regions: SharedRegions
) -> Iterator[tuple[Choice, ...]]:
    """Find the outputs that a request wants, all if it names none, before anything is computed.

    What is to go to shared memory is held inside the block.
    Raises: BadRequest for a name that is not there, or twice; what `SharedRegions.hold` raises.
    """
    with contextlib.ExitStack() as stack:
        choices: list[Choice] = []
        for wanted in request.outputs or [WantedOutput(name) for name in names]:
            if wanted.name not in names:
                raise BadRequest(
                    f"output {wanted.name[:80]}: model {request.model} has none such; it has "
                    f"{', '.join(names)}"
                )
            if any(choice.wanted.name == wanted.name for choice in choices):
                raise BadRequest(f"output {wanted.name[:80]}: got it twice, wanted it once")
            held = None
            if wanted.shared is not None:
                held = regions.hold(wanted.shared)
                stack.callback(held.close)
            choices.append(Choice(names.index(wanted.name), wanted, held))
        yield tuple(choices)


def output_of(
    array: Array, spec: TensorSpec, wanted: WantedOutput, labels: Sequence[str],
    *, is_batched: bool,
) -> Tensor:  # fmt: skip
    """Make the tensor of an output.

    array: C-contiguous, as the graph gave it.   labels: by class index, may be too few.
    is_batched: axis 0 are rows, each with classes of its own.
    Raises: ModelFailed if it is not of the type that the graph promised.
    """
    if array.dtype != spec.type.storage:
        raise ModelFailed(f"output {spec.name}: the model gave {array.dtype}, it promised {spec}")
    if not wanted.classification:
        return Tensor(spec.name, Datatype.of(spec.type), array.shape, array)
    rows = array.reshape(array.shape[0], -1) if is_batched and array.ndim else array.reshape(1, -1)
    count = min(wanted.classification, rows.shape[1])
    if count * len(rows) > _MAX_CLASSES:
        raise BadRequest(
            f"output {spec.name}: classification of {count} classes in {len(rows)} rows, wanted at "
            f"most {_MAX_CLASSES} in all; ask for fewer, or for the tensor"
        )
    texts = tuple(text for row in rows for text in _classes(row, spec.type, count, labels))
    shape = (len(rows), count) if is_batched else (count,)
    return Tensor(spec.name, Datatype.BYTES, shape, texts)


def _classes(row: Array, type: TensorType, count: int, labels: Sequence[str]) -> Iterator[bytes]:
    """Write the best classes of a row, best first; of equal ones the lower index first.

    Source: Triton's classification extension: "value:index" or "value:index:label".
    """
    values = _reals(row, type)
    for index in np.argsort(-values.astype(np.float64), kind="stable")[:count].tolist():
        label = f":{labels[index]}" if index < len(labels) else ""
        yield f"{values[index]!s}:{index}{label}".encode()


def _reals(row: Array, type: TensorType) -> Array:
    if type is TensorType.BF16:
        # The upper half of a float32, as numpy has no type for it.
        wide: NDArray[np.float32] = (row.astype(np.uint32) << 16).view(np.float32)
        return wide
    return row
