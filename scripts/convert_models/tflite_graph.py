"""The tables of a TFLite file while it is being put together, and how it is packed.

With the schema that LiteRT itself ships: a converter would bring the whole of TensorFlow along,
and wrap an NCHW network in transposes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
import numpy.typing as npt
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.schema_py_generated import BuiltinOperator
from convert_models.network import CLASS_COUNT, INPUT_NAME, OUTPUT_NAME

SCHEMA_VERSION = 3  # the only version there has been since 2017
FILE_IDENTIFIER = b"TFL3"
# "Buffer.data ... force_align: 16" (tensorflow/lite/schema/schema.fbs).
BUFFER_ALIGNMENT_BYTES = 16
# A table of the schema; the generated code has no type hints.
SchemaObject = Any


class _AlignedBuilder(flatbuffers.Builder):  # type: ignore[misc]  # flatbuffers has no type hints
    """A builder that honours force_align, which the generated Python code leaves out.

    Without it a weight may start at any byte, and TFLite reads float16 straight from the file.
    """

    def CreateNumpyVector(self, x: npt.NDArray[np.generic]) -> int:
        if x.dtype == np.uint8:  # only Buffer.data is a vector of bytes
            # A flatbuffer is written from its end: pad now, for where the first byte will be.
            self.Prep(BUFFER_ALIGNMENT_BYTES, x.nbytes)
        offset: int = super().CreateNumpyVector(x)
        return offset


@dataclass(slots=True)
class TfliteGraph:
    """The tensors, buffers and operators written so far, and each tensor's index by name."""

    # Operator code to the version that the file asks for.
    operator_versions: dict[int, int]
    # Buffer 0 is empty by definition: it stands for "no constant data".
    buffers: list[SchemaObject] = field(default_factory=lambda: [schema.BufferT()])
    tensors: list[SchemaObject] = field(default_factory=list)
    operators: list[SchemaObject] = field(default_factory=list)
    index_of: dict[str, int] = field(default_factory=dict)

    def add_tensor(self, name: str, shape: tuple[int, ...], *, kind: int, buffer: int = 0) -> int:
        tensor = schema.TensorT()
        tensor.name = name
        tensor.shape = list(shape)
        tensor.type = kind
        tensor.buffer = buffer
        tensor.hasRank = True
        self.tensors.append(tensor)
        self.index_of[name] = len(self.tensors) - 1
        return self.index_of[name]

    def add_activation(
        self, name: str, shape: tuple[int, ...], *, kind: int = schema.TensorType.FLOAT32
    ) -> int:
        """Add a tensor that is computed. shape: without rows; the stored batch is 1."""
        index = self.add_tensor(name, (1, *shape), kind=kind)
        # -1 says that rows may change; resize_tensor_input(strict=True) allows no other axis.
        self.tensors[index].shapeSignature = [-1, *shape]
        return index

    def add_constant(self, name: str, value: npt.NDArray[np.generic]) -> int:
        kinds = {
            "float16": schema.TensorType.FLOAT16,
            "float32": schema.TensorType.FLOAT32,
            "int32": schema.TensorType.INT32,
            "int8": schema.TensorType.INT8,
        }
        buffer = schema.BufferT()
        buffer.data = np.frombuffer(value.tobytes(order="C"), dtype=np.uint8)
        self.buffers.append(buffer)
        return self.add_tensor(
            name, value.shape, kind=kinds[value.dtype.name], buffer=len(self.buffers) - 1
        )

    def add_weight(self, name: str, value: npt.NDArray[np.float16]) -> int:
        stored = self.add_constant(f"{name}/float16", value)
        unpacked = self.add_tensor(name, value.shape, kind=schema.TensorType.FLOAT32)
        options = schema.DequantizeOptionsT()
        self.add_operator(BuiltinOperator.DEQUANTIZE, [stored], unpacked, options=options)
        return unpacked

    def add_operator(
        self, code: int, inputs: list[int], output: int, *, options: SchemaObject
    ) -> None:
        operator = schema.OperatorT()
        operator.opcodeIndex = list(self.operator_versions).index(code)
        operator.inputs = inputs
        operator.outputs = [output]
        # The union's tag is named like the options class: Conv2DOptionsT -> Conv2DOptions.
        operator.builtinOptionsType = getattr(
            schema.BuiltinOptions, type(options).__name__.removesuffix("T")
        )
        operator.builtinOptions = options
        self.operators.append(operator)

    def shape_of(self, name: str) -> tuple[int, ...]:
        """The shape of an activation without its rows: (h, w, channels) or (channels,)."""
        return tuple(self.tensors[self.index_of[name]].shape[1:])


def save_graph(graph: TfliteGraph, path: Path, *, name: str) -> None:
    """Write the graph to path as a model of that name."""
    assert graph.shape_of(OUTPUT_NAME) == (CLASS_COUNT,), "the last layer gives the logits"
    builder = _AlignedBuilder(1 << 24)  # 16 MiB: more than the file, so it never grows
    builder.Finish(_make_model(graph, name).Pack(builder), file_identifier=FILE_IDENTIFIER)
    path.write_bytes(bytes(builder.Output()))


def compute_same_pads(
    size_hw: tuple[int, int], *, size: int, stride: int
) -> tuple[int, int, int, int]:
    """Compute the zeros that TFLite's SAME padding adds: (top, left, bottom, right).

    Source: tensorflow/lite/kernels/padding.h, ComputePaddingWithOffset.
    """
    totals = [max((-(-n // stride) - 1) * stride + size - n, 0) for n in size_hw]
    top, left = (total // 2 for total in totals)
    return (top, left, totals[0] - top, totals[1] - left)


def _make_model(graph: TfliteGraph, name: str) -> SchemaObject:
    subgraph = schema.SubGraphT()
    subgraph.name = "main"
    subgraph.tensors = graph.tensors
    subgraph.operators = graph.operators
    subgraph.inputs = [graph.index_of[INPUT_NAME]]
    subgraph.outputs = [graph.index_of[OUTPUT_NAME]]

    # The tensor names alone would do for Interpreter; get_signature_runner() wants this.
    signature = schema.SignatureDefT()
    signature.signatureKey = "serving_default"
    signature.inputs = [_make_signature_entry(graph, INPUT_NAME)]
    signature.outputs = [_make_signature_entry(graph, OUTPUT_NAME)]

    model = schema.ModelT()
    model.version = SCHEMA_VERSION
    model.description = name
    model.operatorCodes = [
        _make_operator_code(code, version) for code, version in graph.operator_versions.items()
    ]
    model.subgraphs = [subgraph]
    model.buffers = graph.buffers
    model.signatureDefs = [signature]
    return model


def _make_operator_code(code: int, version: int) -> SchemaObject:
    operator_code = schema.OperatorCodeT()
    # Runtimes before 2020 read only the deprecated one-byte field; all our codes fit in it.
    operator_code.deprecatedBuiltinCode = code
    operator_code.builtinCode = code
    operator_code.version = version
    return operator_code


def _make_signature_entry(graph: TfliteGraph, name: str) -> SchemaObject:
    entry = schema.TensorMapT()
    entry.name = name
    entry.tensorIndex = graph.index_of[name]
    return entry
