"""Make data/cnn64.onnx, a small network on which batches pay; run again only if it must change.

    python -m pip install onnx==1.23.2 numpy==2.4.6 && python scripts/benchmarks/make_cnn64.py

The benchmarks read the committed file, so `onnx` is not a dependency of anything. The same packages
give the same bytes.

Long and thin: 6000 convolutions of 16 channels, nearly all on one position, where starting an
operator takes longer than computing a row in it. The weights are random: it knows nothing. What a
batch brings is printed by `scripts/bench`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

PATH = Path(__file__).parent / "data" / "cnn64.onnx"
SEED = 64
# 2022's, as in scripts/convert_models/onnx_file.py.
OPSET = 17
IR_VERSION = 8

SIZE = 64  # pixels
STEM_CHANNELS = (8, 16, 16, 16, 16, 16)  # each layer halves the size: 64 becomes 1
BLOCKS = 3000
# Blocks share the weights of so many, or the file would have megabytes of noise.
DISTINCT = 16
# Small beside what it is added to, or the sum would double with every block.
BLOCK_GAIN = 0.1
CLASSES = 10


@dataclass(slots=True)
class _Graph:
    """The nodes and initializers made so far."""

    random: np.random.Generator
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    initializers: list[onnx.TensorProto] = field(default_factory=list)
    names: set[str] = field(default_factory=set)

    def add_weight(self, name: str, shape: tuple[int, ...], *, gain: float = 1.0) -> list[str]:
        """Add a weight, (out, ...), that keeps the variance, and a bias of zeros, once."""
        if f"{name}/weight" in self.names:
            return [f"{name}/weight", f"{name}/bias"]
        spread = gain * np.sqrt(2 / np.prod(shape[1:]))
        weight = self.random.standard_normal(shape) * spread
        zeros = np.zeros(shape[0])
        return [self._add(f"{name}/weight", weight), self._add(f"{name}/bias", zeros)]

    def _add(self, name: str, value: npt.NDArray[np.float64]) -> str:
        self.names.add(name)
        self.initializers.append(numpy_helper.from_array(value.astype(np.float32), name))
        return name

    def add(self, operator: str, inputs: list[str], output: str, **attributes: int) -> str:
        self.nodes.append(helper.make_node(operator, inputs, [output], name=output, **attributes))
        return output

    def add_conv(
        self, name: str, source: str, shape: tuple[int, ...], *, weights: str = "",
        stride: int = 1, group: int = 1,
    ) -> str:  # fmt: skip
        """Add a convolution and a ReLU.

        shape: of the weight, (out, in per group, size, size).   weights: their name, if shared.
        """
        size = shape[2]
        node = helper.make_node(
            "Conv",
            [source, *self.add_weight(weights or name, shape)],
            [f"{name}/conv"],
            name=f"{name}/conv",
            kernel_shape=[size, size],
            strides=[stride, stride],
            pads=[size // 2] * 4,
            group=group,
        )
        self.nodes.append(node)
        return self.add("Relu", [f"{name}/conv"], name)


def main() -> None:
    """Write the file."""
    model = make_model()
    onnx.checker.check_model(model, full_check=True)
    PATH.parent.mkdir(exist_ok=True)
    PATH.write_bytes(model.SerializeToString(deterministic=True))
    print(f"{PATH}: {PATH.stat().st_size} bytes")


def make_model() -> onnx.ModelProto:
    """Make the network: image, float32 (rows, 3, 64, 64), to logits, float32 (rows, 10)."""
    graph = _Graph(np.random.default_rng(SEED))
    x, channels = "image", 3
    for index, width in enumerate(STEM_CHANNELS):
        x = graph.add_conv(f"stem{index}", x, (width, channels, 3, 3), stride=2)
        channels = width
    for index in range(BLOCKS):
        x = _add_block(graph, f"block{index:03}", f"shared{index % DISTINCT:02}", x, channels)
    pooled = graph.add("GlobalAveragePool", [x], "pool")
    flat = graph.add("Flatten", [pooled], "flat", axis=1)
    dense = graph.add_weight("logits", (CLASSES, channels))
    graph.add("Gemm", [flat, *dense], "logits", transB=1)
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, ["rows", 3, SIZE, SIZE])
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["rows", CLASSES])
    return helper.make_model(
        helper.make_graph(graph.nodes, "cnn64", [image], [logits], graph.initializers),
        producer_name="make_cnn64",
        opset_imports=[helper.make_opsetid("", OPSET)],
        ir_version=IR_VERSION,
    )


def _add_block(graph: _Graph, name: str, shared: str, source: str, channels: int) -> str:
    """Add a depthwise and a 1 x 1 convolution beside a shortcut. shared: whose weights."""
    depthwise = graph.add_conv(
        f"{name}/depthwise", source, (channels, 1, 3, 3), weights=f"{shared}/depthwise",
        group=channels,
    )  # fmt: skip
    weights = graph.add_weight(f"{shared}/project", (channels, channels, 1, 1), gain=BLOCK_GAIN)
    projected = graph.add("Conv", [depthwise, *weights], f"{name}/project")
    return graph.add("Add", [source, projected], name)


if __name__ == "__main__":
    main()
