"""Make the models of WAMR's test suite anew, as tiny TensorFlow Lite files beside this one.

    .venv/bin/python tests/wasi_nn/conformance/data/make.py

Source: WAMR core/iwasm/libraries/wasi-nn/test/models/*.py, which describe them for Keras:
    sum, max, average    (1, 5, 5, 1) -> (1, 1, 1, 1): all ones convolution, max and mean pooling
    mult_dimension       (1, 3, 3, 1) -> the same, by a 1 x 1 convolution of one
    mult_outputs         (1, 4, 4, 1) -> the sums of its columns, and their means
    quantised_average    average on u8 whose 255 steps are 0..24
"""

# ruff: noqa: T201, it talks to a person
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as tfl

DATA = Path(__file__).parent
OP, F32, UINT8 = tfl.BuiltinOperator, tfl.TensorType.FLOAT32, tfl.TensorType.UINT8


def main() -> None:
    """Write all files."""
    grid, point = [1, 5, 5, 1], [1, 1, 1, 1]
    ends = [tensor("x", grid), tensor("y", point)]
    save("max", ends, [pool(OP.MAX_POOL_2D, 0, 1)], [1])
    save("average", ends, [pool(OP.AVERAGE_POOL_2D, 0, 1)], [1])
    steps = [tensor("x", grid, UINT8), tensor("y", point, UINT8)]
    save("quantised_average", steps, [pool(OP.AVERAGE_POOL_2D, 0, 1)], [1])
    save("sum", *convolution(grid, point, np.ones(grid, np.float32)))
    image = [1, 3, 3, 1]
    save("mult_dimension", *convolution(image, image, np.ones(point, np.float32)))
    make_mult_outputs()
    for path in sorted(DATA.glob("*.tflite")):
        print(f"{path.stat().st_size:6d} {path.name}")


def make_mult_outputs() -> None:
    """Write a net whose outputs are, for 0..15, 24, 28, 32, 36 and 6, 7, 8, 9."""
    tensors = [
        tensor("x", [1, 4, 4, 1]),
        tensor("sums", [1, 4, 1]),
        tensor("means", [1, 4, 1]),
        tensor("axis", [1], tfl.TensorType.INT32),
    ]
    operators = [
        operator(code, [0, 3], [output], "ReducerOptions", tfl.ReducerOptionsT())
        for code, output in ((OP.SUM, 1), (OP.MEAN, 2))
    ]
    save("mult_outputs", tensors, operators, [1, 2], {3: np.array([1], np.int32)})


def convolution(shape: list[int], result: list[int], kernel: np.ndarray) -> tuple[Any, ...]:
    """Describe a net that is one convolution without padding or bias."""
    tensors = [
        tensor("x", shape),
        tensor("kernel", list(kernel.shape)),
        tensor("bias", [1]),
        tensor("y", result),
    ]
    options = tfl.Conv2DOptionsT()
    options.padding, options.strideW, options.strideH = tfl.Padding.VALID, 1, 1
    options.dilationWFactor = options.dilationHFactor = 1
    operators = [operator(OP.CONV_2D, [0, 1, 2], [3], "Conv2DOptions", options)]
    return tensors, operators, [3], {1: kernel, 2: np.zeros(1, np.float32)}


def pool(code: int, source: int, target: int) -> Any:
    """Describe a 5 x 5 pooling."""
    options = tfl.Pool2DOptionsT()
    options.padding, options.strideW, options.strideH = tfl.Padding.VALID, 1, 1
    options.filterWidth = options.filterHeight = 5
    return operator(code, [source], [target], "Pool2DOptions", options)


def tensor(name: str, shape: list[int], kind: int = F32) -> Any:
    """Describe a tensor; u8 ones stand for 0..24."""
    made = tfl.TensorT()
    made.name, made.shape, made.type, made.buffer = name, shape, kind, 0
    if kind == UINT8:
        made.quantization = tfl.QuantizationParametersT()
        made.quantization.scale, made.quantization.zeroPoint = [24 / 255], [0]
    return made


def operator(code: int, inputs: list[int], outputs: list[int], stem: str, options: Any) -> Any:
    """Describe an operator; `code` becomes an index when the net is saved."""
    made = tfl.OperatorT()
    made.opcodeIndex, made.inputs, made.outputs = code, inputs, outputs
    made.builtinOptionsType, made.builtinOptions = getattr(tfl.BuiltinOptions, stem), options
    return made


def save(
    name: str, tensors: Any, operators: Any, outputs: list[int], constants: Any = None
) -> None:
    """Write a net whose input is tensor 0."""
    model, graph = tfl.ModelT(), tfl.SubGraphT()
    model.version, model.description, model.buffers = 3, name, [tfl.BufferT()]
    for index, array in (constants or {}).items():
        buffer = tfl.BufferT()
        buffer.data = np.frombuffer(array.tobytes(), np.uint8)
        tensors[index].buffer = len(model.buffers)
        model.buffers.append(buffer)
    model.operatorCodes = []
    for each in operators:
        code = tfl.OperatorCodeT()
        code.builtinCode = code.deprecatedBuiltinCode = each.opcodeIndex
        code.version = 1
        each.opcodeIndex = len(model.operatorCodes)
        model.operatorCodes.append(code)
    graph.name, graph.tensors, graph.operators = "main", tensors, operators
    graph.inputs, graph.outputs = [0], outputs
    model.subgraphs = [graph]
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    (DATA / f"{name}.tflite").write_bytes(bytes(builder.Output()))


if __name__ == "__main__":
    main()
