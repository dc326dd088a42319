"""Write the network as one TFLite file: NHWC, float16 weights, a batch that can be resized.

Rules:
- Every float16 weight goes through a DEQUANTIZE, TFLite's own form of float16 weights; XNNPACK
  unpacks it once, when the model is loaded, and computes in float32.
- No operator carries a row count, so resize_tensor_input() is all that a bigger batch takes.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.schema_py_generated import BuiltinOperator
from convert_models.network import INPUT_NAME, SIZE_WH, Add, Conv, Dense, Layer, Mean
from convert_models.tflite_graph import TfliteGraph, compute_same_pads, save_graph

# First operator versions that take these inputs; a higher one would shut out older runtimes.
OPERATOR_VERSIONS = {
    BuiltinOperator.ADD: 1,
    BuiltinOperator.CONV_2D: 1,
    BuiltinOperator.DEPTHWISE_CONV_2D: 1,
    BuiltinOperator.DEQUANTIZE: 3,  # 3 is the first with float16
    BuiltinOperator.FULLY_CONNECTED: 1,
    BuiltinOperator.MEAN: 1,
}


def write_tflite(layers: tuple[Layer, ...], path: Path) -> None:
    """Write the network to path."""
    graph = TfliteGraph(OPERATOR_VERSIONS)
    width, height = SIZE_WH
    graph.add_activation(INPUT_NAME, (height, width, 3))
    for layer in layers:
        _add_layer(graph, layer)
    save_graph(graph, path, name="efficientnet-lite0")


def _add_layer(graph: TfliteGraph, layer: Layer) -> None:
    match layer:
        case Conv():
            _add_conv(graph, layer)
        case Add():
            inputs = [graph.index_of[layer.left], graph.index_of[layer.right]]
            output = graph.add_activation(layer.name, graph.shape_of(layer.left))
            options = schema.AddOptionsT()
            graph.add_operator(BuiltinOperator.ADD, inputs, output, options=options)
        case Mean():
            _add_mean(graph, layer)
        case Dense():
            weight = graph.add_weight(f"{layer.name}/weight", layer.weight)
            bias = graph.add_constant(f"{layer.name}/bias", layer.bias)
            output = graph.add_activation(layer.name, (layer.weight.shape[0],))
            graph.add_operator(
                BuiltinOperator.FULLY_CONNECTED,
                [graph.index_of[layer.source], weight, bias],
                output,
                options=schema.FullyConnectedOptionsT(),
            )


def _add_conv(graph: TfliteGraph, layer: Conv) -> None:
    height, width, _ = graph.shape_of(layer.source)
    size = layer.weight.shape[2]
    # TFLite knows no explicit padding here, only SAME: it must come to the source's very numbers.
    same = compute_same_pads((height, width), size=size, stride=layer.stride)
    assert layer.pads_tlbr == same, f"{layer.name}: got pads {layer.pads_tlbr}, SAME is {same}"

    # (out, in, h, w) -> (out, h, w, in); depthwise (channels, 1, h, w) -> (1, h, w, channels).
    axes = (1, 2, 3, 0) if layer.is_depthwise else (0, 2, 3, 1)
    weight = graph.add_weight(f"{layer.name}/weight", layer.weight.transpose(axes))
    bias = graph.add_constant(f"{layer.name}/bias", layer.bias)
    if layer.is_depthwise:
        code, options = BuiltinOperator.DEPTHWISE_CONV_2D, schema.DepthwiseConv2DOptionsT()
        options.depthMultiplier = 1
    else:
        code, options = BuiltinOperator.CONV_2D, schema.Conv2DOptionsT()
    options.padding = schema.Padding.SAME
    options.strideW = options.strideH = layer.stride
    if layer.has_relu6:
        options.fusedActivationFunction = schema.ActivationFunctionType.RELU6

    shape = (-(-height // layer.stride), -(-width // layer.stride), layer.weight.shape[0])
    output = graph.add_activation(layer.name, shape)
    graph.add_operator(code, [graph.index_of[layer.source], weight, bias], output, options=options)


def _add_mean(graph: TfliteGraph, layer: Mean) -> None:
    axes = graph.add_constant(f"{layer.name}/axes", np.array([1, 2], dtype=np.int32))
    channels = graph.shape_of(layer.source)[-1]
    output = graph.add_activation(layer.name, (channels,))
    graph.add_operator(
        BuiltinOperator.MEAN,
        [graph.index_of[layer.source], axes],
        output,
        options=schema.ReducerOptionsT(keepDims=False),
    )
