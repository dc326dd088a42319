"""Films made at test time, by PyAV: frames whose number can be read again."""

from collections.abc import Mapping
from pathlib import Path

import av
from av.video.frame import VideoFrame

from appliance.cameras.synthetic import paint


def encode(
    path: Path,
    codec: str = "libx264",
    *,
    size_wh: tuple[int, int] = (320, 240),
    frames: int = 30,
    fps: int = 30,
    options: Mapping[str, str] | None = None,
) -> Path:
    """Encode frames 0, 1, 2, ... Returns: the path."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=fps, options=dict(options or {}))
        stream.width, stream.height = size_wh
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        for number in range(frames):
            picture = VideoFrame.from_ndarray(paint(number, size_wh), format="rgb24")
            container.mux(stream.encode(picture))
        container.mux(stream.encode())
    return path
