"""Run the layers on pictures and note what flows through them: the ground for int8 scales.

Computed in float64, so that no CPU's way of adding float32 decides a rounding later.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch
from convert_models.network import INPUT_NAME, Add, Conv, Dense, Layer, Mean
from torch.nn import functional

ROWS_AT_ONCE = 4  # chosen, not measured; bounds the memory
Floats = npt.NDArray[np.float64]


@dataclass(slots=True)
class Observed:
    """What was seen of each activation, by its name:

    lows, highs: the extremes of each channel, (channels,).

    And of the patches that each layer with weights multiplies them with, by the layer's name. A
    patch is what one output value is made of; a depthwise layer has its own for each channel.
    means: (groups, n), n weights per output value, and one group unless depthwise.
    products: the mean of each value times each other, (groups, n, n).
    """

    lows: dict[str, Floats] = field(default_factory=dict)
    highs: dict[str, Floats] = field(default_factory=dict)
    means: dict[str, Floats] = field(default_factory=dict)
    products: dict[str, Floats] = field(default_factory=dict)

    def add(self, name: str, rows: torch.Tensor) -> None:
        """Take in some rows of an activation, (rows, channels, h, w) or (rows, channels)."""
        axes = (0, *range(2, rows.ndim))
        # Of torch, not numpy: it is several times faster along these axes.
        low, high = rows.amin(axes).numpy(), rows.amax(axes).numpy()
        self.lows[name] = np.minimum(self.lows.get(name, low), low)
        self.highs[name] = np.maximum(self.highs.get(name, high), high)

    def add_patches(self, name: str, patches: torch.Tensor, *, share: float) -> None:
        """Take in a layer's patches, (groups, n, positions). share: as of its rows in all."""
        mean = patches.mean(2).numpy() * share
        product = (patches @ patches.mT / patches.shape[2]).numpy() * share
        self.means[name] = self.means.get(name, np.zeros_like(mean)) + mean
        self.products[name] = self.products.get(name, np.zeros_like(product)) + product


def observe(layers: tuple[Layer, ...], images: npt.NDArray[np.float32]) -> Observed:
    """Run all images, float32 (rows, 3, 224, 224), through the layers."""
    # The way a sum is split over threads is in its last bits.
    torch.set_num_threads(1)
    observed = Observed()
    for start in range(0, len(images), ROWS_AT_ONCE):
        rows = images[start : start + ROWS_AT_ONCE].astype(np.float64)
        values = {INPUT_NAME: torch.from_numpy(rows)}
        for layer in layers:
            values[layer.name] = _compute(layer, values)
            observed.add(layer.name, values[layer.name])
            if isinstance(layer, Conv | Dense):
                patches = _read_patches(layer, values[layer.source])
                observed.add_patches(layer.name, patches, share=len(rows) / len(images))
    return observed


def _read_patches(layer: Conv | Dense, source: torch.Tensor) -> torch.Tensor:
    """List what the layer's weights are multiplied with: (groups, n, positions); see Observed."""
    if isinstance(layer, Dense):
        return source.T[None]
    size = layer.weight.shape[2]
    if size == 1 and layer.stride == 1:
        return source.movedim(1, 0).reshape(1, source.shape[1], -1)
    columns = functional.unfold(_pad(layer, source), size, stride=layer.stride)
    groups = len(layer.weight) if layer.is_depthwise else 1
    per_group = columns.reshape(len(source), groups, -1, columns.shape[2])
    return per_group.permute(1, 2, 0, 3).reshape(groups, per_group.shape[2], -1)


def _pad(layer: Conv, source: torch.Tensor) -> torch.Tensor:
    top, left, bottom, right = layer.pads_tlbr
    return functional.pad(source, (left, right, top, bottom))


def _compute(layer: Layer, values: dict[str, torch.Tensor]) -> torch.Tensor:
    match layer:
        case Conv():
            bias = torch.from_numpy(layer.bias.astype(np.float64))
            total = functional.conv2d(
                _pad(layer, values[layer.source]),
                torch.from_numpy(layer.weight.astype(np.float64)),
                bias,
                stride=layer.stride,
                groups=len(layer.weight) if layer.is_depthwise else 1,
            )
            return total.clamp(0, 6) if layer.has_relu6 else total
        case Add():
            return values[layer.left] + values[layer.right]
        case Mean():
            return values[layer.source].mean((2, 3))
        case Dense():
            weight = torch.from_numpy(layer.weight.astype(np.float64))
            return values[layer.source] @ weight.T + torch.from_numpy(layer.bias.astype(np.float64))
