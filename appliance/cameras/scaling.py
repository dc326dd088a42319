"""From a decoder's pictures to the pixels of a frame, by swscale; and back."""

import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import Colorspace, Interpolation, VideoReformatter
from numpy.typing import NDArray

from appliance.cameras import motion

# Of AVFrame.colorspace, "unspecified" (ITU-T H.273). Players then go by the height, and so do we:
# cameras of 720 lines and more mean BT.709.
_UNSPECIFIED = 2
_HD_LINES = 720


def fit_wh(
    width: int, height: int, *, size_wh: tuple[int, int] | None, max_pixels: int
) -> tuple[int, int]:
    """Tell the size in which a picture is kept: its own, or smaller in the same shape.

    Returns: width and height, pixels, each at least 1; never more than asked for.
    """
    scale = min(1.0, (max_pixels / (width * height)) ** 0.5)
    if size_wh is not None:
        scale = min(scale, size_wh[0] / width, size_wh[1] / height)
    if scale == 1.0:
        return width, height
    return max(1, int(width * scale)), max(1, int(height * scale))


class Scaler:
    """Keeps swscale's tables from one picture to the next; sizes may change in between."""

    def __init__(self) -> None:
        self._rgb = VideoReformatter()
        self._grey = VideoReformatter()

    def write_rgb(self, picture: VideoFrame, slot: NDArray[np.uint8]) -> None:
        """Scale and convert a picture into a slot, uint8 (H, W, 3), RGB."""
        height, width = slot.shape[:2]
        is_hd = picture.colorspace == _UNSPECIFIED and picture.height >= _HD_LINES
        rgb = self._rgb.reformat(
            picture, width, height, "rgb24", threads=1,
            src_colorspace=Colorspace.ITU709 if is_hd else None,
            # Each pixel counts when much smaller; bilinear would look at four and flicker.
            interpolation=Interpolation.AREA if picture.width > width else Interpolation.BILINEAR,
        )  # fmt: skip
        slot.reshape(height, width * 3)[:] = _rows(rgb, width * 3)

    def luma(self, picture: VideoFrame) -> NDArray[np.uint8]:
        """Reduce a picture to its brightness for the motion gate: uint8 (36, 64)."""
        width, height = motion.SIZE_WH
        grey = self._grey.reformat(
            picture, width, height, "gray8", threads=1, interpolation=Interpolation.AREA
        )
        return _rows(grey, width).copy()


def _rows(picture: VideoFrame, row_bytes: int) -> NDArray[np.uint8]:
    """View the first plane without the padding of its rows."""
    plane = picture.planes[0]
    # mypy: a plane has Python's buffer interface, which its type does not say before 3.12.
    flat = np.frombuffer(plane, np.uint8)  # type: ignore[call-overload]
    rows: NDArray[np.uint8] = flat.reshape(-1, plane.line_size)[: picture.height, :row_bytes]
    return rows


def picture_of(pixels: NDArray[np.uint8]) -> VideoFrame:
    """Make a picture as a decoder would. pixels: uint8 (H, W, 3), RGB; copied."""
    return VideoFrame.from_ndarray(np.ascontiguousarray(pixels), format="rgb24")
