"""The crops of scikit-image's pictures: some to calibrate an int8 network with, others to judge it.

The pictures are few, and many are no photographs (text, cells, the moon). So two lists: no crop is
in both, and what is measured on the second was not fitted to it. They do show the same pictures.
"""

from __future__ import annotations

from importlib.metadata import distribution
from pathlib import Path

import numpy as np
import numpy.typing as npt
from convert_models.pictures import crop_tensor
from PIL import Image

# All pictures in the package but the chessboards and one of 102 pixels.
ORIGINALS = (
    "astronaut.png", "brick.png", "camera.png", "cell.png", "chelsea.png", "clock_motion.png",
    "coffee.png", "coins.png", "color.png", "grass.png", "gravel.png", "horse.png",
    "hubble_deep_field.jpg", "ihc.png", "logo.png", "moon.png", "motorcycle_left.png",
    "motorcycle_right.png", "page.png", "retina.jpg", "rocket.jpg", "text.png",
)  # fmt: skip

# Fraction of the shorter side; then where the crop lies between left and right, top and bottom.
Crop = tuple[float, float, float]
CALIBRATION_CROPS: tuple[Crop, ...] = tuple(
    (2 / 3, across, down) for across in (0.0, 0.5, 1.0) for down in (0.0, 0.5, 1.0)
)
JUDGING_CROPS: tuple[Crop, ...] = (
    (0.875, 0.5, 0.5),
    (1.0, 0.5, 0.5),
    (0.5, 0.25, 0.25),
    (0.5, 0.25, 0.75),
    (0.5, 0.75, 0.25),
    (0.5, 0.75, 0.75),
    (0.8, 0.1, 0.9),
    (0.8, 0.9, 0.1),
    (0.4, 0.5, 0.5),
)


def read_crops(crops: tuple[Crop, ...]) -> npt.NDArray[np.float32]:
    """Read these crops of every picture: float32 (pictures * crops, 3, 224, 224)."""
    folder = Path(str(distribution("scikit-image").locate_file("skimage/data")))
    tensors = []
    for name in ORIGINALS:
        with Image.open(folder / name) as picture:
            rgb = picture.convert("RGB")
        tensors += [crop_tensor(rgb, crop) for crop in crops]
    return np.stack(tensors)
