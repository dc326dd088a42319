"""Write the network as one ONNX file: NCHW, any number of rows, float16 weights.

Every weight is a float16 initializer behind a Cast to float32. The runtime folds the Cast when it
loads the model, so the file is half the size and the computation is plain float32.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from convert_models.network import (
    CLASS_COUNT,
    INPUT_NAME,
    OUTPUT_NAME,
    SIZE_WH,
    Add,
    Conv,
    Dense,
    Layer,
    Mean,
)
from onnx import TensorProto, helper, numpy_helper

# Opset 17 and IR 8 are of 2022: new enough for every operator here, old enough for any runtime.
OPSET = 17
IR_VERSION = 8
ROWS = "rows"  # name of the free batch axis


@dataclass(slots=True)
class _Graph:
    """The nodes and initializers written so far."""

    nodes: list[onnx.NodeProto] = field(default_factory=list)
    initializers: list[onnx.TensorProto] = field(default_factory=list)

    # Any: an attribute is whatever its operator asks for.
    def add_node(self, operator: str, inputs: list[str], output: str, **attributes: Any) -> str:
        # The node is called like its output, so that a runtime's error names the layer.
        self.nodes.append(helper.make_node(operator, inputs, [output], name=output, **attributes))
        return output

    def add_constant(self, name: str, value: npt.NDArray[np.generic]) -> str:
        self.initializers.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def add_weight(self, name: str, value: npt.NDArray[np.float16]) -> str:
        stored = self.add_constant(f"{name}/float16", value)
        return self.add_node("Cast", [stored], name, to=TensorProto.FLOAT)


def write_onnx(layers: tuple[Layer, ...], path: Path) -> None:
    """Write the network to path and check it against the ONNX specification."""
    graph = _Graph()
    graph.add_constant("zero", np.array(0, np.float32))
    graph.add_constant("six", np.array(6, np.float32))
    for layer in layers:
        _add_layer(graph, layer)
    width, height = SIZE_WH
    image = helper.make_tensor_value_info(INPUT_NAME, TensorProto.FLOAT, [ROWS, 3, height, width])
    logits = helper.make_tensor_value_info(OUTPUT_NAME, TensorProto.FLOAT, [ROWS, CLASS_COUNT])
    model = helper.make_model(
        helper.make_graph(graph.nodes, "efficientnet-lite0", [image], [logits], graph.initializers),
        producer_name="convert-models",
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
    )
    onnx.checker.check_model(model, full_check=True)
    path.write_bytes(model.SerializeToString(deterministic=True))


def _add_layer(graph: _Graph, layer: Layer) -> None:
    match layer:
        case Conv():
            _add_conv(graph, layer)
        case Add():
            graph.add_node("Add", [layer.left, layer.right], layer.name)
        case Mean():
            pooled = graph.add_node("GlobalAveragePool", [layer.source], f"{layer.name}/pool")
            graph.add_node("Flatten", [pooled], layer.name, axis=1)
        case Dense():
            weight = graph.add_weight(f"{layer.name}/weight", layer.weight)
            bias = graph.add_constant(f"{layer.name}/bias", layer.bias)
            graph.add_node("Gemm", [layer.source, weight, bias], layer.name, transB=1)


def _add_conv(graph: _Graph, layer: Conv) -> None:
    weight = graph.add_weight(f"{layer.name}/weight", layer.weight)
    bias = graph.add_constant(f"{layer.name}/bias", layer.bias)
    size = layer.weight.shape[2]
    output = f"{layer.name}/conv" if layer.has_relu6 else layer.name
    graph.add_node(
        "Conv",
        [layer.source, weight, bias],
        output,
        kernel_shape=[size, size],
        strides=[layer.stride, layer.stride],
        pads=list(layer.pads_tlbr),
        group=layer.weight.shape[0] if layer.is_depthwise else 1,
    )
    if layer.has_relu6:
        graph.add_node("Clip", [output, "zero", "six"], layer.name)
