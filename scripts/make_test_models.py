"""Make the tiny models in tests/wasi_nn/backends/data; run again only when one must change.

    python -m pip install onnx openvino ai-edge-litert && python scripts/make_test_models.py

The tests read the committed files, so `onnx` is not a dependency of anything.

Every runtime gets the same two nets, so that one contract suite asks the same of all:
- scale: x f32 (?, 4) -> y = 2 x + 1.
- two: right, left f32 (2, 3) -> total = right + left, difference = right - left. The names sort in
  another order than the model lists them.
The rest is one file per trap, named after it.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
import openvino as ov
from ai_edge_litert import schema_py_generated as tfl
from onnx import TensorProto, helper
from openvino import opset13 as ops

UINT8 = tfl.TensorType.UINT8
DATA = Path(__file__).resolve().parent.parent / "tests" / "wasi_nn" / "backends" / "data"

ONNX_TYPES = {
    "f16": TensorProto.FLOAT16, "f64": TensorProto.DOUBLE, "i64": TensorProto.INT64,
    "i32": TensorProto.INT32, "i16": TensorProto.INT16, "i8": TensorProto.INT8,
    "u64": TensorProto.UINT64, "u32": TensorProto.UINT32, "u16": TensorProto.UINT16,
    "u8": TensorProto.UINT8, "bool": TensorProto.BOOL,
}  # fmt: skip


def main() -> None:
    """Write all files."""
    DATA.mkdir(parents=True, exist_ok=True)
    make_onnx_nets()
    make_onnx_traps()
    make_onnx_greedy()
    make_onnx_crashes()
    make_onnx_external()
    make_openvino()
    make_tflite_nets()
    make_tflite_traps()
    make_tflite_crashes()
    for path in sorted(DATA.iterdir()):
        print(f"{path.stat().st_size:6d} {path.name}")


# ---------------------------------------------------------------------------------------- ONNX


def value(name: str, shape: Sequence[Any], kind: int = TensorProto.FLOAT) -> Any:
    """Describe one input or output of an ONNX graph."""
    return helper.make_tensor_value_info(name, kind, shape)


def save_onnx(
    file: str, nodes: Any, inputs: Any, outputs: Any, *, constants: Any = (), **rest: Any
) -> None:
    """Write an ONNX model; `rest` goes to make_model."""
    graph = helper.make_graph(nodes, "test", inputs, outputs, initializer=list(constants))
    imports = rest.pop("opset_imports", [helper.make_opsetid("", 13)])
    model = helper.make_model(graph, opset_imports=imports, ir_version=8, **rest)
    (DATA / file).write_bytes(model.SerializeToString())


def floats(name: str, values: Sequence[float]) -> Any:
    """Make an f32 constant."""
    return helper.make_tensor(name, TensorProto.FLOAT, [len(values)], values)


def make_onnx_nets() -> None:
    """Write the shared nets and one identity per element type."""
    save_onnx(
        "scale.onnx",
        [helper.make_node("Mul", ["x", "k"], ["t"]), helper.make_node("Add", ["t", "b"], ["y"])],
        [value("x", ["n", 4])],
        [value("y", ["n", 4])],
        constants=[floats("k", [2.0] * 4), floats("b", [1.0] * 4)],
    )
    save_onnx(
        "two.onnx",
        [
            helper.make_node("Sub", ["right", "left"], ["difference"]),
            helper.make_node("Add", ["right", "left"], ["total"]),
        ],
        [value("right", [2, 3]), value("left", [2, 3])],
        [value("total", [2, 3]), value("difference", [2, 3])],
    )
    save_onnx(
        "types.onnx",
        [helper.make_node("Identity", [f"in_{t}"], [f"out_{t}"]) for t in ONNX_TYPES],
        [value(f"in_{t}", [2, 2], k) for t, k in ONNX_TYPES.items()],
        [value(f"out_{t}", [2, 2], k) for t, k in ONNX_TYPES.items()],
    )
    bf16 = TensorProto.BFLOAT16
    save_onnx(
        "bf16.onnx",
        [helper.make_node("Identity", ["x"], ["y"])],
        [value("x", [2, 2], bf16)],
        [value("y", [2, 2], bf16)],
    )


def make_onnx_crashes() -> None:
    """Write models that end the process when ONNX Runtime 1.32 loads or runs them, and one that it
    runs for ever. Found by fuzzing: an operator, and attributes that make no sense."""
    newest = {"opset_imports": [helper.make_opsetid("", 18)]}
    x, y = [value("x", [1, 4])], [value("y", None)]
    at = helper.make_tensor("at", TensorProto.INT64, [1, 1], [0])
    gather = helper.make_node("GatherND", ["x", "at"], ["y"], batch_dims=-7)
    save_onnx("crash_gather_nd.onnx", [gather], x, y, constants=[at], **newest)
    split = helper.make_node("Split", ["x"], ["y", "z"], num_outputs=1)
    save_onnx("crash_split_outputs.onnx", [split], x, [*y, value("z", None)], **newest)
    noise = helper.make_node("RandomUniformLike", ["x"], ["y"], low=1.0, high=0.0)
    save_onnx("crash_random_range.onnx", [noise], x, [value("y", [1, 4])], **newest)
    pool = helper.make_node(
        "MaxPool", ["x"], ["y"], kernel_shape=[7, 2**31], auto_pad="SAME_LOWER", ceil_mode=1
    )
    sides = [value(name, [1, 1, 8, 8], TensorProto.DOUBLE) for name in "xy"]
    save_onnx("hang_pool.onnx", [pool], sides[:1], sides[1:], **newest)


def make_onnx_greedy() -> None:
    """Write a model of a few hundred bytes that wants 2 GB to compute."""
    size = helper.make_tensor("size", TensorProto.INT64, [1], [500_000_000])
    nodes = [
        helper.make_node("ConstantOfShape", ["size"], ["zeros"]),
        helper.make_node("ReduceSum", ["zeros"], ["sum"], keepdims=0),
        helper.make_node("Add", ["x", "sum"], ["y"]),
    ]
    save_onnx("greedy.onnx", nodes, [value("x", [1])], [value("y", [1])], constants=[size])


def make_onnx_traps() -> None:
    """Write models that must be refused, or that mislead."""
    save_onnx(
        "strings.onnx",
        [helper.make_node("Identity", ["words"], ["y"])],
        [value("words", [2], TensorProto.STRING)],
        [value("y", [2], TensorProto.STRING)],
    )
    save_onnx(
        "sequence.onnx",
        [helper.make_node("SequenceAt", ["pile", "i"], ["y"])],
        [helper.make_tensor_sequence_value_info("pile", TensorProto.FLOAT, None)],
        [value("y", [2])],
        constants=[helper.make_tensor("i", TensorProto.INT64, [], [0])],
    )
    save_onnx(
        "custom_op.onnx",
        [helper.make_node("Mystery", ["x"], ["y"], domain="nobody")],
        [value("x", [2])],
        [value("y", [2])],
        opset_imports=[helper.make_opsetid("", 13), helper.make_opsetid("nobody", 1)],
    )
    # Says that rows are free, but mixes them: the shape alone does not tell.
    save_onnx(
        "fixed_output.onnx",
        [helper.make_node("ReduceSum", ["x", "axis"], ["y"], keepdims=1)],
        [value("x", ["n", 4])],
        [value("y", [1, 4])],
        constants=[helper.make_tensor("axis", TensorProto.INT64, [1], [0])],
    )


def external(name: str) -> Any:
    """Make a constant whose four floats are in a file of the host."""
    tensor = TensorProto(name=name, data_type=TensorProto.FLOAT, dims=[4])
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="stolen.bin")
    return tensor


def make_onnx_external() -> None:
    """Write models that name a file, each from another place in the protobuf."""
    x, y = [value("x", ["n", 4])], [value("y", ["n", 4])]
    add = helper.make_node("Add", ["x", "k"], ["y"])
    save_onnx("external_initializer.onnx", [add], x, y, constants=[external("k")])
    constant = helper.make_node("Constant", [], ["k"], value=external("k"))
    save_onnx("external_attribute.onnx", [constant, add], x, y)
    body = helper.make_graph([add], "body", [], y, initializer=[external("k")])
    condition = helper.make_tensor("c", TensorProto.BOOL, [], [True])
    branch = helper.make_node("If", ["c"], ["y"], then_branch=body, else_branch=body)
    save_onnx("external_subgraph.onnx", [branch], x, y, constants=[condition])
    own = [helper.make_opsetid("", 13), helper.make_opsetid("own", 1)]
    function = helper.make_function("own", "Plus", ["x"], ["y"], [constant, add], own[:1])
    call = helper.make_node("Plus", ["x"], ["y"], domain="own")
    save_onnx("external_function.onnx", [call], x, y, functions=[function], opset_imports=own)
    indices = helper.make_tensor("k_i", TensorProto.INT64, [4], [0, 1, 2, 3])
    sparse = helper.make_sparse_tensor(external("k"), indices, [4])
    graph = helper.make_graph([add], "test", x, y, sparse_initializer=[sparse])
    model = helper.make_model(graph, opset_imports=own[:1], ir_version=8)
    (DATA / "external_sparse.onnx").write_bytes(model.SerializeToString())


# ------------------------------------------------------------------------------------ OpenVINO


def make_openvino() -> None:
    """Write the shared nets as IR, weights in the .bin."""
    x = ops.parameter([-1, 4], np.float32, name="x")
    k, b = np.full(4, 2.0, np.float32), np.full(4, 1.0, np.float32)
    y = ops.add(ops.multiply(x, ops.constant(k)), ops.constant(b))
    y.output(0).set_names({"y"})
    x.output(0).set_names({"x"})
    save_openvino("scale", [y], [x])
    right, left = (ops.parameter([2, 3], np.float32, name=n) for n in ("right", "left"))
    total, difference = ops.add(right, left), ops.subtract(right, left)
    for node, name in (
        (right, "right"), (left, "left"), (total, "total"), (difference, "difference"),
    ):  # fmt: skip
        node.output(0).set_names({name})
    save_openvino("two", [total, difference], [right, left])

    # Any x is of the right rank, but only 1 or 4 elements can be multiplied with k.
    vector = ops.parameter([-1], np.float32, name="x")
    save_openvino("broadcast", [ops.multiply(vector, ops.constant(k))], [vector])


def save_openvino(name: str, results: Any, parameters: Any) -> None:
    """Write name.xml and name.bin, uncompressed."""
    model = ov.Model(results, parameters, name)
    ov.save_model(model, DATA / f"{name}.xml", compress_to_fp16=False)


# -------------------------------------------------------------------------------------- TFLite


def tensor(name: str, shape: Sequence[int], kind: int = tfl.TensorType.FLOAT32) -> Any:
    """Describe a tensor; a -1 in the shape is free."""
    made = tfl.TensorT()
    made.name, made.type, made.buffer = name, kind, 0
    made.shape = [max(d, 1) for d in shape]
    if -1 in shape:
        made.shapeSignature = list(shape)
    return made


def operator(code: int, inputs: Sequence[int], outputs: Sequence[int], **options: Any) -> Any:
    """Describe an operator; `options` is its class name's stem and None or an object."""
    made = tfl.OperatorT()
    made.inputs, made.outputs, made.code = list(inputs), list(outputs), code
    for stem, value_ in options.items():
        made.builtinOptionsType = getattr(tfl.BuiltinOptions, stem)
        made.builtinOptions = value_
    return made


def save_tflite(
    file: str, tensors: Any, operators: Any, ends: Sequence[Sequence[int]], constants: Any = None
) -> None:
    """Write a TFLite model.

    ends: indices of the inputs and of the outputs.   constants: tensor index -> array.
    """
    write_tflite(file, build_tflite(tensors, operators, ends, constants))


def build_tflite(
    tensors: Any, operators: Any, ends: Sequence[Sequence[int]], constants: Any = None
) -> Any:
    """Make a TFLite model; see save_tflite."""
    model, graph = tfl.ModelT(), tfl.SubGraphT()
    model.version, model.description, model.buffers = 3, "test", [tfl.BufferT()]
    for index, array in (constants or {}).items():
        buffer = tfl.BufferT()
        buffer.data = np.frombuffer(array.tobytes(), np.uint8)
        tensors[index].buffer = len(model.buffers)
        model.buffers.append(buffer)
    model.operatorCodes = []
    for op in operators:
        code = tfl.OperatorCodeT()
        code.builtinCode, code.deprecatedBuiltinCode, code.version = op.code, min(op.code, 127), 1
        op.opcodeIndex = len(model.operatorCodes)
        model.operatorCodes.append(code)
    graph.name, graph.tensors, graph.operators = "main", tensors, operators
    graph.inputs, graph.outputs = (list(e) for e in ends)
    model.subgraphs = [graph]
    return model


def write_tflite(file: str, model: Any) -> None:
    """Write a TFLite model that is built."""
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    (DATA / file).write_bytes(bytes(builder.Output()))


def make_tflite_nets() -> None:
    """Write the shared nets."""
    op = tfl.BuiltinOperator
    save_tflite(
        "scale.tflite",
        [tensor("x", [-1, 4]), tensor("k", [4]), tensor("b", [4]), tensor("t", [-1, 4]),
         tensor("y", [-1, 4])],
        [operator(op.MUL, [0, 1], [3], MulOptions=tfl.MulOptionsT()),
         operator(op.ADD, [3, 2], [4], AddOptions=tfl.AddOptionsT())],
        [[0], [4]],
        {1: np.full(4, 2.0, np.float32), 2: np.full(4, 1.0, np.float32)},
    )  # fmt: skip
    save_tflite(
        "two.tflite",
        [tensor("left", [2, 3]), tensor("right", [2, 3]), tensor("difference", [2, 3]),
         tensor("total", [2, 3])],
        [operator(op.SUB, [1, 0], [2], SubOptions=tfl.SubOptionsT()),
         operator(op.ADD, [1, 0], [3], AddOptions=tfl.AddOptionsT())],
        [[1, 0], [3, 2]],
    )  # fmt: skip


def quantised(name: str, kind: int, scale: float, zero: int = 0) -> Any:
    """Describe a quantised (1, 4) tensor."""
    made = tensor(name, [1, 4], kind)
    made.quantization = tfl.QuantizationParametersT()
    made.quantization.scale, made.quantization.zeroPoint = [scale], [zero]
    return made


def make_tflite_crashes() -> None:
    """Write models that end the process when LiteRT 2.3 loads or runs them, and one that names a
    file."""
    op, int8 = tfl.BuiltinOperator, tfl.TensorType.INT8

    def add(inputs: Sequence[int]) -> Any:
        return operator(op.ADD, inputs, [2], AddOptions=tfl.AddOptionsT())

    plain = [tensor(n, [1, 4]) for n in ("a", "b", "y")]
    save_tflite("crash_absent_input.tflite", plain, [add([0, -1])], [[0, 1], [2]])
    ends = [quantised("a", int8, 0.5), quantised("b", int8, 0.5), tensor("y", [1, 4], int8)]
    save_tflite("crash_no_scale.tflite", ends, [add([0, 1])], [[0, 1], [2]])
    ends[2] = tensor("y", [1, 4])
    save_tflite("crash_mixed_types.tflite", ends, [add([0, 1])], [[0, 1], [2]])
    ends[2] = quantised("y", int8, -0.5)
    save_tflite("crash_negative_scale.tflite", ends, [add([0, 1])], [[0, 1], [2]])
    ends[2] = quantised("y", int8, 1e-12)
    save_tflite("crash_scales_apart.tflite", ends, [add([0, 1])], [[0, 1], [2]])
    ends[2] = quantised("y", int8, 1e34)
    save_tflite("crash_scale_huge.tflite", ends, [add([0, 1])], [[0, 1], [2]])
    window = tfl.Pool2DOptionsT()
    window.padding, window.strideW, window.strideH = tfl.Padding.VALID, 1, 1
    window.filterWidth, window.filterHeight = 5, -(2**31)
    pool = operator(op.AVERAGE_POOL_2D, [0], [1], Pool2DOptions=window)
    ends = [tensor("x", [1, 5, 5, 1]), tensor("y", [1, 1, 1, 1])]
    save_tflite("crash_pool_window.tflite", ends, [pool], [[0], [1]])
    branch = tfl.IfOptionsT()
    branch.thenSubgraphIndex = branch.elseSubgraphIndex = 0
    again = [tensor("x", [1, 4]), tensor("c", [1], tfl.TensorType.BOOL), tensor("y", [1, 4])]
    call = operator(op.IF, [1, 0], [2], IfOptions=branch)
    save_tflite("crash_recursion.tflite", again, [call], [[0], [2]], {1: np.array([True])})
    for file, count in (("crash_split_count.tflite", 73), ("crash_split_options.tflite", None)):
        save_split(file, count)
    save_tflite("unwritten_tensor.tflite", plain, [add([0, 1])], [[0], [2]])
    model = build_tflite(plain, [add([0, 1])], [[0, 1], [2]])
    group, outside = tfl.ExternalBufferGroupT(), tfl.ExternalBufferT()
    group.name, outside.group, outside.length = "stolen.bin", 0, 16
    model.externalBufferGroups, model.externalBuffers = [group], [outside]
    write_tflite("external_buffer.tflite", model)


def save_split(file: str, count: int | None) -> None:
    """Write a net that splits its input in two, but says it were `count`, or nothing."""
    options = tfl.SplitOptionsT()
    options.numSplits = count
    split = operator(
        tfl.BuiltinOperator.SPLIT, [1, 0], [2, 3], **({"SplitOptions": options} if count else {})
    )
    ends = [tensor("x", [1, 4]), tensor("axis", [], tfl.TensorType.INT32)]
    ends += [tensor("y", [1, 2]), tensor("z", [1, 2])]
    save_tflite(file, ends, [split], [[0], [2, 3]], {1: np.array(1, np.int32)})


def make_tflite_traps() -> None:
    """Write quantised nets, one that cannot be resized, and one that takes words."""
    op = tfl.BuiltinOperator
    for name, kind, zero in (("int8", tfl.TensorType.INT8, 0), ("uint8", UINT8, 128)):
        add = operator(op.ADD, [0, 1], [2], AddOptions=tfl.AddOptionsT())
        ends = [quantised(end, kind, 0.5, zero) for end in ("a", "b", "y")]
        save_tflite(f"{name}.tflite", ends, [add], [[0, 1], [2]])
    save_tflite(
        "fixed_batch.tflite",
        [tensor("x", [1, 4]), tensor("shape", [2], tfl.TensorType.INT32), tensor("y", [2, 2])],
        [operator(op.RESHAPE, [0, 1], [2], ReshapeOptions=tfl.ReshapeOptionsT())],
        [[0], [2]],
        {1: np.array([2, 2], np.int32)},
    )
    words = [
        tensor("words", [2], tfl.TensorType.STRING),
        tensor("y", [1, 2], tfl.TensorType.STRING),
    ]
    words.append(tensor("shape", [2], tfl.TensorType.INT32))
    reshape = operator(op.RESHAPE, [0, 2], [1], ReshapeOptions=tfl.ReshapeOptionsT())
    save_tflite("strings.tflite", words, [reshape], [[0], [1]], {2: np.array([1, 2], np.int32)})


if __name__ == "__main__":
    main()
