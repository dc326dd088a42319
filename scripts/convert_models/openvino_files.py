"""Write the network as OpenVINO's pair of files: model.xml (the graph), model.bin (the weights).

NCHW, any number of rows. Every weight is a float16 constant behind a Convert to float32, which the
runtime folds when it compiles the model.

Built node by node, not with openvino.convert_model() from the ONNX file: its compression rounds
the biases to float16 too, which moved a probability by up to 0.008 on the pictures of scikit-image.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import openvino
import openvino.opset13 as operators
from convert_models.network import INPUT_NAME, OUTPUT_NAME, SIZE_WH, Add, Conv, Dense, Layer, Mean

# An openvino.Node; OpenVINO's Python has no type hints that mypy would see.
Node = Any


@dataclass(slots=True)
class _Graph:
    """The nodes made so far, by name."""

    nodes: dict[str, Node] = field(default_factory=dict)

    def add(self, name: str, node: Node) -> Node:
        # A node without a name gets a number that counts all nodes of the process.
        node.set_friendly_name(name)
        self.nodes[name] = node
        return node

    def add_weight(self, name: str, value: npt.NDArray[np.float16]) -> Node:
        stored = self.add(f"{name}/float16", operators.constant(value))
        return self.add(name, operators.convert(stored, "f32"))


def write_openvino(layers: tuple[Layer, ...], xml_path: Path) -> None:
    """Write the network to xml_path, and the .bin of the same name beside it."""
    graph = _Graph()
    width, height = SIZE_WH
    image = graph.add(INPUT_NAME, operators.parameter([-1, 3, height, width], np.float32))
    for layer in layers:
        _add_layer(graph, layer)
    logits = graph.nodes[OUTPUT_NAME]
    # Callers find inputs and outputs by the names of tensors, not of nodes.
    image.output(0).set_names({INPUT_NAME})
    logits.output(0).set_names({OUTPUT_NAME})
    result = graph.add(f"{OUTPUT_NAME}/result", operators.result(logits))
    model = openvino.Model([result], [image], "efficientnet-lite0")
    # The weights are float16 already; True would round the biases too.
    openvino.save_model(model, xml_path, compress_to_fp16=False)


def _add_layer(graph: _Graph, layer: Layer) -> None:
    match layer:
        case Conv():
            _add_conv(graph, layer)
        case Add():
            left, right = graph.nodes[layer.left], graph.nodes[layer.right]
            graph.add(layer.name, operators.add(left, right))
        case Mean():
            axes = graph.add(f"{layer.name}/axes", operators.constant(np.array([2, 3], np.int64)))
            source = graph.nodes[layer.source]
            graph.add(layer.name, operators.reduce_mean(source, axes, keep_dims=False))
        case Dense():
            weight = graph.add_weight(f"{layer.name}/weight", layer.weight)
            product = operators.matmul(graph.nodes[layer.source], weight, False, True)
            graph.add(f"{layer.name}/product", product)
            _add_bias(graph, layer.name, product, bias=layer.bias[None, :])


def _add_conv(graph: _Graph, layer: Conv) -> None:
    top, left, bottom, right = layer.pads_tlbr
    where = {
        "strides": [layer.stride, layer.stride],
        "pads_begin": [top, left],
        "pads_end": [bottom, right],
        "dilations": [1, 1],
    }
    source = graph.nodes[layer.source]
    if layer.is_depthwise:
        # OpenVINO wants (groups, out, in, h, w), with out and in counted within a group.
        weight = graph.add_weight(f"{layer.name}/weight", layer.weight[:, None])
        conv = operators.group_convolution(source, weight, **where)
    else:
        weight = graph.add_weight(f"{layer.name}/weight", layer.weight)
        conv = operators.convolution(source, weight, **where)
    graph.add(f"{layer.name}/conv", conv)
    name = f"{layer.name}/sum" if layer.has_relu6 else layer.name
    added = _add_bias(graph, name, conv, bias=layer.bias[None, :, None, None])
    if layer.has_relu6:
        graph.add(layer.name, operators.clamp(added, 0.0, 6.0))


def _add_bias(graph: _Graph, name: str, source: Node, *, bias: npt.NDArray[np.float32]) -> Node:
    """Add source and bias, a float32 array of the same rank, as the node called name."""
    constant = graph.add(f"{name}/bias", operators.constant(bias))
    return graph.add(name, operators.add(source, constant))
