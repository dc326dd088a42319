"""Write the int8 network as one TFLite file: NHWC, a batch that can be resized.

Input and output are float32: the first layers are, and a DEQUANTIZE follows the last.

Rules:
- The integers are those of the ONNX file; activations are stored 128 lower, as int8.
- No operator carries a row count, so resize_tensor_input() is all that a bigger batch takes.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.schema_py_generated import BuiltinOperator
from convert_models.integers import BORDER, Int8Network, Scale, Weight
from convert_models.network import INPUT_NAME, SIZE_WH, Add, Conv, Dense, Layer, Mean
from convert_models.tflite_graph import TfliteGraph, compute_same_pads, save_graph

# First operator versions that take these inputs; a higher one would shut out older runtimes.
# Source: tensorflow/lite/tools/versioning/op_version.cc.
OPERATOR_VERSIONS = {
    BuiltinOperator.ADD: 2,
    BuiltinOperator.CONV_2D: 3,
    BuiltinOperator.DEPTHWISE_CONV_2D: 3,
    BuiltinOperator.DEQUANTIZE: 2,
    BuiltinOperator.FULLY_CONNECTED: 12,  # 12 is the first with a scale per output
    BuiltinOperator.MEAN: 2,
    BuiltinOperator.QUANTIZE: 1,
}
INT8_OFFSET = 128  # from a uint8 to the int8 that means the same


def write_tflite_int8(network: Int8Network, path: Path) -> None:
    """Write the network to path."""
    graph = TfliteGraph(OPERATOR_VERSIONS)
    width, height = SIZE_WH
    graph.add_activation(INPUT_NAME, (height, width, 3))
    for layer in network.layers:
        _add_layer(graph, network, layer)
    save_graph(graph, path, name="efficientnet-lite0-int8")


def _add_layer(graph: TfliteGraph, network: Int8Network, layer: Layer) -> None:
    match layer:
        case Conv():
            _add_conv(graph, network, layer)
        case Add():
            inputs = [graph.index_of[layer.left], graph.index_of[layer.right]]
            shape = graph.shape_of(layer.left)
            output = _add_integers(graph, layer.name, shape, scale=network.scales[layer.name])
            graph.add_operator(BuiltinOperator.ADD, inputs, output, options=schema.AddOptionsT())
        case Mean():
            axes = graph.add_constant(f"{layer.name}/axes", np.array([1, 2], dtype=np.int32))
            shape = graph.shape_of(layer.source)[-1:]
            output = _add_integers(graph, layer.name, shape, scale=network.scales[layer.name])
            inputs = [graph.index_of[layer.source], axes]
            options = schema.ReducerOptionsT(keepDims=False)
            graph.add_operator(BuiltinOperator.MEAN, inputs, output, options=options)
        case Dense():
            _add_dense(graph, network, layer)


def _add_dense(graph: TfliteGraph, network: Int8Network, layer: Dense) -> None:
    """Add the last layer and what makes its output float32: the kernel itself gives integers."""
    name = f"{layer.name}/int8"
    weights = _add_weight(graph, network.weights[layer.name], layer.name, axes=(0, 1))
    inputs = [graph.index_of[layer.source], *weights]
    shape = (layer.weight.shape[0],)
    stored = _add_integers(graph, name, shape, scale=network.scales[layer.name])
    options = schema.FullyConnectedOptionsT()
    graph.add_operator(BuiltinOperator.FULLY_CONNECTED, inputs, stored, options=options)
    output = graph.add_activation(layer.name, shape)
    graph.add_operator(
        BuiltinOperator.DEQUANTIZE, [stored], output, options=schema.DequantizeOptionsT()
    )


def _add_conv(graph: TfliteGraph, network: Int8Network, layer: Conv) -> None:
    height, width, _ = graph.shape_of(layer.source)
    size = layer.weight.shape[2]
    same = compute_same_pads((height, width), size=size, stride=layer.stride)
    assert layer.pads_tlbr == same, f"{layer.name}: got pads {layer.pads_tlbr}, SAME is {same}"
    if layer.is_depthwise:
        code, options = BuiltinOperator.DEPTHWISE_CONV_2D, schema.DepthwiseConv2DOptionsT()
        options.depthMultiplier = 1
    else:
        code, options = BuiltinOperator.CONV_2D, schema.Conv2DOptionsT()
    options.padding = schema.Padding.SAME
    options.strideW = options.strideH = layer.stride
    if layer.has_relu6:
        options.fusedActivationFunction = schema.ActivationFunctionType.RELU6

    # (out, in, h, w) -> (out, h, w, in); depthwise (channels, 1, h, w) -> (1, h, w, channels).
    axes = (1, 2, 3, 0) if layer.is_depthwise else (0, 2, 3, 1)
    if layer.name in network.weights:
        weights = _add_weight(graph, network.weights[layer.name], layer.name, axes=axes)
    else:
        weights = [
            graph.add_constant(
                f"{layer.name}/weight", layer.weight.transpose(axes).astype(np.float32)
            ),
            graph.add_constant(f"{layer.name}/bias", layer.bias),
        ]
    shape = (-(-height // layer.stride), -(-width // layer.stride), layer.weight.shape[0])
    inputs = [graph.index_of[layer.source], *weights]
    if layer.name == BORDER:
        # A kernel of floats gives floats; a QUANTIZE makes the integers of them.
        unrounded = graph.add_activation(f"{layer.name}/float", shape)
        graph.add_operator(code, inputs, unrounded, options=options)
        code, inputs, options = BuiltinOperator.QUANTIZE, [unrounded], schema.QuantizeOptionsT()
    output = _add_activation(graph, network, layer.name, shape)
    graph.add_operator(code, inputs, output, options=options)


def _add_activation(
    graph: TfliteGraph, network: Int8Network, name: str, shape: tuple[int, ...]
) -> int:
    """Add a tensor that is computed: int8 if it has a scale, else float32."""
    scale = network.scales.get(name)
    if scale is None:
        return graph.add_activation(name, shape)
    return _add_integers(graph, name, shape, scale=scale)


def _add_integers(graph: TfliteGraph, name: str, shape: tuple[int, ...], *, scale: Scale) -> int:
    index = graph.add_activation(name, shape, kind=schema.TensorType.INT8)
    steps = np.array([scale.step], np.float32)
    _set_scale(graph, index, steps, zeros=np.array([scale.zero - INT8_OFFSET]))
    return index


def _add_weight(
    graph: TfliteGraph,
    weight: Weight,
    name: str,
    *,
    axes: tuple[int, ...],
) -> list[int]:
    """Add a layer's weight, its axes in this order, and its bias; returns their indices."""
    indices = [
        graph.add_constant(f"{name}/weight", weight.values.transpose(axes)),
        graph.add_constant(f"{name}/bias", weight.bias),
    ]
    zeros = np.zeros(len(weight.steps), np.int64)
    _set_scale(graph, indices[0], weight.steps, zeros=zeros, axis=axes.index(0))
    _set_scale(graph, indices[1], weight.bias_steps, zeros=zeros)
    return indices


def _set_scale(
    graph: TfliteGraph,
    index: int,
    steps: npt.NDArray[np.float32],
    *,
    zeros: npt.NDArray[np.int64],
    axis: int = 0,
) -> None:
    """Say what a tensor's integers mean: steps * (value - zeros), along that axis."""
    quantization = schema.QuantizationParametersT()
    quantization.scale = steps
    quantization.zeroPoint = zeros
    quantization.quantizedDimension = axis
    graph.tensors[index].quantization = quantization
