"""The sample pictures, and the tensors the network wants of them.

The pictures are those that scikit-image ships; who made them is in models/samples/CREDITS.md.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from importlib.metadata import distribution
from pathlib import Path

import numpy as np
import numpy.typing as npt
from convert_models.network import SIZE_WH
from PIL import Image

# From the training code, github.com/tensorflow/tpu, models/official/efficientnet:
# "CROP_FRACTION = 0.875" and resize_bicubic in preprocessing.py; "MEAN_RGB = [127.0, 127.0, 127.0]"
# and "STDDEV_RGB = [128.0, 128.0, 128.0]" in lite/efficientnet_lite_builder.py.
CROP_FRACTION = 0.875
MEAN = 127.0
STD = 128.0

JPEG_QUALITY = 90  # chosen, not measured


@dataclass(frozen=True, slots=True)
class Sample:
    """A picture, and the classes of which one must come first (none: any will do)."""

    name: str
    original: str  # file name within scikit-image
    expected_classes: frozenset[int]


SAMPLES = (
    # Cats: tabby, tiger cat and Egyptian cat are one animal to this network, and to most people.
    Sample("chelsea", "chelsea.png", frozenset({281, 282, 285})),
    Sample("coffee", "coffee.png", frozenset({967, 968})),  # espresso, cup
    Sample("rocket", "rocket.jpg", frozenset({657})),  # missile
    # ImageNet has no class for a person: whatever the source says is right.
    Sample("astronaut", "astronaut.png", frozenset()),
)

# The one that lies beside each model: every file says espresso by 0.95, so it tells a model that
# works from one that does not.
OWN_SAMPLE = "coffee"
OWN_SAMPLE_FILE = "sample.jpg"
OWN_SAMPLE_LABEL = "espresso"


def write_samples(folder: Path) -> None:
    """Write every sample as folder/<name>.jpg; a picture that is a JPEG is copied as it is."""
    # By path, not through skimage.data: that gives decoded pixels, never the original file.
    originals = Path(str(distribution("scikit-image").locate_file("skimage/data")))
    for sample in SAMPLES:
        original = originals / sample.original
        target = folder / f"{sample.name}.jpg"
        if original.suffix == ".jpg":
            shutil.copyfile(original, target)
            continue
        with Image.open(original) as picture:
            picture.convert("RGB").save(target, quality=JPEG_QUALITY)


def read_tensor(path: Path) -> npt.NDArray[np.float32]:
    """Read a picture as the network's input: float32 (3, 224, 224), RGB, about -1 to 1."""
    with Image.open(path) as picture:
        return crop_tensor(picture.convert("RGB"), (CROP_FRACTION, 0.5, 0.5))


def crop_tensor(rgb: Image.Image, crop: tuple[float, float, float]) -> npt.NDArray[np.float32]:
    """Cut a square out of a picture and make it the network's input, as read_tensor().

    crop: the square's fraction of the shorter side; then where it lies, 0.0 left or above to
    1.0 right or below.
    """
    fraction, across, down = crop
    side = min(rgb.size) * fraction
    left, top = (rgb.width - side) * across, (rgb.height - side) * down
    box = (left, top, left + side, top + side)
    pixels = np.asarray(rgb.resize(SIZE_WH, Image.Resampling.BICUBIC, box=box), np.float32)
    return np.ascontiguousarray(((pixels - MEAN) / STD).transpose(2, 0, 1))
