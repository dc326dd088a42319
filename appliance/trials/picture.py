"""The box's own picture, shown to apps that bring no sample: a small photograph of nothing."""

import functools
import io

import numpy as np
from PIL import Image

_WIDTH, _HEIGHT = 320, 240


@functools.cache
def own_picture() -> bytes:
    """Draw it, always the same: a JPEG, as cameras send them."""
    x, y = np.meshgrid(np.linspace(0, 1, _WIDTH), np.linspace(0, 1, _HEIGHT))
    ring = 0.5 + 0.5 * np.sin(40 * np.hypot(x - 0.5, y - 0.5))
    pixels = (255 * np.stack([x, ring, 1 - y], axis=2)).astype(np.uint8)
    encoded = io.BytesIO()
    Image.fromarray(pixels).save(encoded, "JPEG", quality=85)
    return encoded.getvalue()
