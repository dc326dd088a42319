"""Tensors that stand in shared memory: read before a run, written after it."""

from appliance.errors import BadRequest
from appliance.oip.elements import raw_of, tensor_of
from appliance.oip.messages import SharedSlice, Tensor
from appliance.sharedmemory import HeldSlice, SharedRegions


def fetched(tensor: Tensor, regions: SharedRegions, max_bytes: int) -> Tensor:
    """Copy a tensor's elements out of shared memory, if they stand there.

    Raises: BadRequest if it is over max_bytes or its size is not its shape's; what
    `SharedRegions.hold` raises.
    """
    at = tensor.values
    if not isinstance(at, SharedSlice):
        return tensor
    if at.byte_size > max_bytes:
        raise BadRequest(
            f"input {tensor.name}: got {at.byte_size} bytes of shared memory, wanted at most "
            f"{max_bytes}"
        )
    held = regions.hold(at)
    try:
        raw = held.read()
    finally:
        held.close()
    return tensor_of(tensor.name, tensor.datatype, tensor.shape, memoryview(raw.data))


def delivered(tensor: Tensor, held: HeldSlice | None) -> Tensor:
    """Write a tensor to shared memory if it is to go there. Raises: BadRequest if it is too big."""
    if held is None:
        return tensor
    return Tensor(tensor.name, tensor.datatype, tensor.shape, held.write(raw_of(tensor)))
