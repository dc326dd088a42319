"""The protocol's element types.

Source: Open Inference Protocol v2, "Tensor Data Types"; BF16 is Triton's.
"""

from enum import Enum

from wasi_nn.tensor import TensorType


class Datatype(Enum):
    """An element type by its name on the wire. BYTES elements are strings of any length."""

    BOOL = "BOOL"
    UINT8 = "UINT8"
    UINT16 = "UINT16"
    UINT32 = "UINT32"
    UINT64 = "UINT64"
    INT8 = "INT8"
    INT16 = "INT16"
    INT32 = "INT32"
    INT64 = "INT64"
    FP16 = "FP16"
    BF16 = "BF16"
    FP32 = "FP32"
    FP64 = "FP64"
    BYTES = "BYTES"

    @property
    def tensor_type(self) -> TensorType:
        """Its element type inside the box; BYTES has none."""
        return _TYPES[self]

    @classmethod
    def of(cls, tensor_type: TensorType) -> "Datatype":
        """Name an element type on the wire."""
        return _NAMES[tensor_type]


_TYPES = {
    Datatype.BOOL: TensorType.BOOL,
    Datatype.UINT8: TensorType.U8,
    Datatype.UINT16: TensorType.U16,
    Datatype.UINT32: TensorType.U32,
    Datatype.UINT64: TensorType.U64,
    Datatype.INT8: TensorType.I8,
    Datatype.INT16: TensorType.I16,
    Datatype.INT32: TensorType.I32,
    Datatype.INT64: TensorType.I64,
    Datatype.FP16: TensorType.F16,
    Datatype.BF16: TensorType.BF16,
    Datatype.FP32: TensorType.F32,
    Datatype.FP64: TensorType.F64,
}
_NAMES = {tensor_type: datatype for datatype, tensor_type in _TYPES.items()}
