"""Even out the channels that will share an int8 scale; the network computes what it did before.

A block's output is linear: nothing clips it between the convolution that makes it and those that
read it. So each of its channels may be divided by a number there and multiplied again here. All
blocks that are joined by additions share one set of numbers.

Source: Nagel et al., Data-Free Quantization Through Weight Equalization and Bias Correction, ICCV
2019, arXiv:1906.04721; here by the ranges of the activations, for only they have one scale in all.
Measured on the judging crops, with all else alike: the first class stays on 95 % without.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
from convert_models.calibration import Floats, Observed
from convert_models.network import Add, Conv, Layer

SMALLEST_RANGE = 1e-3  # for a dead channel, which has none


def equalise(layers: tuple[Layer, ...], observed: Observed) -> tuple[tuple[Layer, ...], Observed]:
    """Divide every linear channel by its observed range, relative to the widest of its tensor.

    Returns: the layers, and what observe() would see in them.
    """
    divisors = _find_divisors(layers, observed)
    rescaled = tuple(
        _rescale(layer, divisors) if isinstance(layer, Conv) else layer for layer in layers
    )
    lows, highs = dict(observed.lows), dict(observed.highs)
    for name, divisor in divisors.items():
        lows[name] = lows[name] / divisor
        highs[name] = highs[name] / divisor
    means, products = dict(observed.means), dict(observed.products)
    for layer in layers:
        if isinstance(layer, Conv) and layer.source in divisors:
            divisor = divisors[layer.source]
            means[layer.name] = means[layer.name] / divisor
            products[layer.name] = products[layer.name] / np.outer(divisor, divisor)
    return rescaled, Observed(lows, highs, means, products)


def _find_divisors(layers: tuple[Layer, ...], observed: Observed) -> dict[str, Floats]:
    """Compute per linear activation what its channels are divided by, (channels,)."""
    groups: dict[str, set[str]] = {}
    for layer in layers:
        if isinstance(layer, Conv) and not layer.has_relu6:
            groups[layer.name] = {layer.name}
        elif isinstance(layer, Add):
            joined = groups[layer.left] | groups[layer.right] | {layer.name}
            groups.update(dict.fromkeys(joined, joined))
    divisors = {}
    for name, group in groups.items():
        ranges = [np.maximum(-observed.lows[n], observed.highs[n]) for n in sorted(group)]
        widest = np.maximum(np.max(ranges, axis=0), SMALLEST_RANGE)
        divisors[name] = widest / widest.max()
    return divisors


def _rescale(layer: Conv, divisors: dict[str, Floats]) -> Conv:
    weight: npt.NDArray[np.floating] = layer.weight.astype(np.float64)
    bias = layer.bias.astype(np.float64)
    if layer.source in divisors:
        assert not layer.is_depthwise, f"{layer.name}: a depthwise layer reads a ReLU6 here"
        weight = weight * divisors[layer.source][None, :, None, None]
    if layer.name in divisors:
        weight = weight / divisors[layer.name][:, None, None, None]
        bias = bias / divisors[layer.name]
    return replace(layer, weight=weight, bias=bias.astype(np.float32))
