"""Write the int8 network as one ONNX file: NCHW, any number of rows; input and output float32.

In QDQ form: a QuantizeLinear and a DequantizeLinear around every tensor that is stored as integers.
The runtime fuses them with the operators between; one that cannot still computes the same in float.

Rules:
- Activations are uint8: ONNX Runtime's convolutions on x86 want that. Measured on an EPYC with
  AVX512-VNNI: 2.9 ms for uint8, 4.7 ms for int8.
- No Clip: a uint8 whose largest value means 6 (or less) has clipped already.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from convert_models.integers import Int8Network, Scale
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
from convert_models.onnx_file import IR_VERSION, OPSET, ROWS
from onnx import TensorProto, helper, numpy_helper


@dataclass(slots=True)
class _Graph:
    """The nodes and initializers written so far."""

    network: Int8Network
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    initializers: list[onnx.TensorProto] = field(default_factory=list)

    # Any: an attribute is whatever its operator asks for.
    def add_node(self, operator: str, inputs: list[str], output: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(operator, inputs, [output], name=output, **attributes))
        return output

    def add_constant(self, name: str, value: npt.NDArray[np.generic]) -> str:
        self.initializers.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def add_output(self, name: str, source: str) -> None:
        """Make source the activation called name, rounded to integers if it has a scale."""
        scale = self.network.scales.get(name)
        if scale is None:
            self.nodes[-1].output[0] = name
        else:
            self.add_rounding(name, source, scale=scale)

    def add_rounding(self, name: str, source: str, *, scale: Scale) -> None:
        parameters = [
            self.add_constant(f"{name}/scale", np.array(scale.step, np.float32)),
            self.add_constant(f"{name}/zero", np.array(scale.zero, np.uint8)),
        ]
        stored = self.add_node("QuantizeLinear", [source, *parameters], f"{name}/uint8")
        self.add_node("DequantizeLinear", [stored, *parameters], name)

    def add_weight(self, name: str) -> list[str]:
        """Add a layer's weight and bias; returns what the operator takes."""
        weight = self.network.weights[name]
        zeros = np.zeros(len(weight.steps), np.int32)
        return [
            self._add_channels(f"{name}/weight", weight.values, weight.steps, zeros),
            self._add_channels(f"{name}/bias", weight.bias, weight.bias_steps, zeros),
        ]

    def _add_channels(
        self,
        name: str,
        values: npt.NDArray[np.generic],
        steps: npt.NDArray[np.float32],
        zeros: npt.NDArray[np.int32],
    ) -> str:
        inputs = [
            self.add_constant(f"{name}/{values.dtype}", values),
            self.add_constant(f"{name}/scale", steps),
            self.add_constant(f"{name}/zero", zeros.astype(values.dtype)),
        ]
        return self.add_node("DequantizeLinear", inputs, name, axis=0)


def write_onnx_int8(network: Int8Network, path: Path) -> None:
    """Write the network to path and check it against the ONNX specification."""
    graph = _Graph(network)
    graph.add_constant("zero", np.array(0, np.float32))
    graph.add_constant("six", np.array(6, np.float32))
    for layer in network.layers:
        _add_layer(graph, layer)
    width, height = SIZE_WH
    image = helper.make_tensor_value_info(INPUT_NAME, TensorProto.FLOAT, [ROWS, 3, height, width])
    logits = helper.make_tensor_value_info(OUTPUT_NAME, TensorProto.FLOAT, [ROWS, CLASS_COUNT])
    model = helper.make_model(
        helper.make_graph(
            graph.nodes, "efficientnet-lite0-int8", [image], [logits], graph.initializers
        ),
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
            total = graph.add_node("Add", [layer.left, layer.right], f"{layer.name}/float")
            graph.add_output(layer.name, total)
        case Mean():
            # Rounded twice with one scale, before and after the Flatten: only so do the runtime's
            # integer kernels meet. The second rounding changes nothing.
            scale = graph.network.scales[layer.name]
            pooled = graph.add_node("GlobalAveragePool", [layer.source], f"{layer.name}/float")
            graph.add_rounding(f"{layer.name}/pool", pooled, scale=scale)
            flat = graph.add_node("Flatten", [f"{layer.name}/pool"], f"{layer.name}/flat", axis=1)
            graph.add_rounding(layer.name, flat, scale=scale)
        case Dense():
            # The logits stay float32, sums of integers as they are: one rounding less.
            inputs = [layer.source, *graph.add_weight(layer.name)]
            graph.add_node("Gemm", inputs, layer.name, transB=1)


def _add_conv(graph: _Graph, layer: Conv) -> None:
    is_float = layer.name not in graph.network.weights
    if is_float:
        weight = graph.add_constant(f"{layer.name}/weight", layer.weight.astype(np.float32))
        inputs = [weight, graph.add_constant(f"{layer.name}/bias", layer.bias)]
    else:
        inputs = graph.add_weight(layer.name)
    size = layer.weight.shape[2]
    output = graph.add_node(
        "Conv",
        [layer.source, *inputs],
        f"{layer.name}/float",
        kernel_shape=[size, size],
        strides=[layer.stride, layer.stride],
        pads=list(layer.pads_tlbr),
        group=layer.weight.shape[0] if layer.is_depthwise else 1,
    )
    if layer.has_relu6 and is_float:
        output = graph.add_node("Clip", [output, "zero", "six"], f"{layer.name}/relu6")
    graph.add_output(layer.name, output)
