"""The network in 8-bit integers: weights with a scale per output channel, activations with one.

The first layers stay float32: the depthwise one among them has weights of up to 18, and what 8 bits
lose there reaches everything behind it. Rounded too, the logits' error was 1.6 times as large; and
they are so few that the network was a little slower, not faster.

Every rounded weight shifts the mean of what it adds up to; the bias takes that shift back. With
each weight rounded for itself, biases left alone and no layer float32, the first class stayed on
80 % of the judging crops.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from convert_models.calibration import Observed, observe
from convert_models.equalise import equalise
from convert_models.network import Conv, Dense, Layer
from convert_models.rounding import round_weight

FLOAT_LAYERS = ("stem", "block00/depthwise", "block00/project")
# The first activation of integers: the last of the float layers, rounded.
BORDER = FLOAT_LAYERS[-1]

WEIGHT_LIMIT = 127  # -128 is left out: TFLite wants weights to be symmetric
ACTIVATION_LEVELS = 255
# A dead channel has weights near 0 and a bias that is not: its step must hold the bias in an int32.
BIAS_LIMIT = 2**30
SMALLEST_STEP = 1e-9  # of a weight; for a channel of zeros. Chosen, not measured
# Activations' steps are rounded to so many digits: the last bits of a sum must not reach the file.
STEP_DIGITS = 4


@dataclass(frozen=True, slots=True)
class Scale:
    """What the uint8 values of an activation mean: step * (value - zero), zero in 0..255."""

    step: float
    zero: int


@dataclass(frozen=True, slots=True)
class Weight:
    """A layer's integers.

    values: int8, shaped as in Layer.      steps: float32 (out,); weight = steps * values.
    bias: int32 (out,).      bias_steps: float32 (out,), the source's step times steps.
    """

    values: npt.NDArray[np.int8]
    steps: npt.NDArray[np.float32]
    bias: npt.NDArray[np.int32]
    bias_steps: npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Int8Network:
    """The layers, and their integers by name. Layers without a Weight stay float32.

    scales: of every activation that is stored as integers; of the logits too, for a runtime that
    cannot leave them float32.
    """

    layers: tuple[Layer, ...]
    weights: dict[str, Weight]
    scales: dict[str, Scale]


def make_int8_network(layers: tuple[Layer, ...], images: npt.NDArray[np.float32]) -> Int8Network:
    """Turn float layers into integers, by what they compute on these images.

    images: float32 (rows, 3, 224, 224).
    """
    layers, observed = equalise(layers, observe(layers, images))
    integers = layers[len(FLOAT_LAYERS) :]
    assert FLOAT_LAYERS == tuple(layer.name for layer in layers[: len(FLOAT_LAYERS)])
    scales = {name: _find_scale(observed, name) for name in (BORDER, *(x.name for x in integers))}
    weights = {
        layer.name: _make_weight(layer, scales[layer.source], observed)
        for layer in integers
        if isinstance(layer, Conv | Dense)
    }
    return Int8Network(layers, weights, scales)


def _find_scale(observed: Observed, name: str) -> Scale:
    """Spread the 256 values over all that was seen, and 0: padding and ReLU need it exact."""
    low = min(0.0, float(observed.lows[name].min()))
    high = max(0.0, float(observed.highs[name].max()))
    step = float(f"{(high - low) / ACTIVATION_LEVELS:.{STEP_DIGITS}g}")
    return Scale(step, round(-low / step))


def _make_weight(layer: Conv | Dense, source: Scale, observed: Observed) -> Weight:
    """Round a layer's weight, and its bias to what makes up for it.

    source: the scale of what the layer reads.
    """
    weight = layer.weight.astype(np.float64).reshape(len(layer.weight), -1)
    bias = layer.bias.astype(np.float64)
    largest = np.abs(weight).max(axis=1)
    steps = np.maximum(largest / WEIGHT_LIMIT, np.abs(bias) / (source.step * BIAS_LIMIT))
    steps = np.maximum(steps, SMALLEST_STEP).astype(np.float32)

    exact_steps = steps.astype(np.float64)[:, None]
    mean = observed.means[layer.name]
    covariance = observed.products[layer.name] - mean[:, :, None] * mean[:, None, :]
    values = round_weight(weight / exact_steps, covariance=covariance, limit=WEIGHT_LIMIT)

    shift = ((values * exact_steps - weight) * mean).sum(axis=1)
    bias_steps = np.float32(source.step) * steps
    bias_values = np.round((bias - shift) / bias_steps)
    assert np.abs(bias_values).max() < np.iinfo(np.int32).max, f"{layer.name}: bias overflows"
    return Weight(
        values.astype(np.int8).reshape(layer.weight.shape),
        steps,
        bias_values.astype(np.int32),
        bias_steps,
    )
