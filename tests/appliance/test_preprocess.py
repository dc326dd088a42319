from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from appliance.preprocess import (
    Color,
    InputSpec,
    Layout,
    Resize,
    crop_box,
    raw_rgb,
    tensor_bytes,
    tensor_shape,
    to_tensor,
)
from wasi_nn.tensor import TensorType

IMAGENET: dict[str, Any] = {"mean": (123.675, 116.28, 103.53), "std": (58.395, 57.12, 57.375)}
LITE0: dict[str, Any] = {"mean": (127.0,) * 3, "std": (128.0,) * 3}


def picture(width: int, height: int) -> NDArray[np.uint8]:
    pixels = np.random.default_rng(1).integers(0, 256, (height, width, 3), np.uint8)
    pixels.flags.writeable = False
    return pixels


def reference(pixels: NDArray[np.uint8], spec: InputSpec, layout: Layout) -> NDArray[np.float32]:
    """The docstring's steps, one by one, without any haste."""
    height, width = pixels.shape[:2]
    target_w, target_h = spec.size_wh
    scale = min(width / target_w, height / target_h) * spec.crop_fraction
    crop_w, crop_h = round(target_w * scale * 128) / 128, round(target_h * scale * 128) / 128
    left, top = (width - crop_w) / 2, (height - crop_h) / 2
    box = (left, top, left + crop_w, top + crop_h)
    resample = Image.Resampling[spec.resize.name]
    small = np.asarray(Image.fromarray(pixels).resize(spec.size_wh, resample, box=box))
    if spec.color is Color.BGR:
        small = small[..., ::-1]
    mean, std = np.array(spec.mean, np.float32), np.array(spec.std, np.float32)
    values: NDArray[np.float32] = ((small.astype(np.float32) - mean) / std)[np.newaxis]
    return values.transpose(0, 3, 1, 2) if layout is Layout.NCHW else values


@pytest.mark.parametrize("layout", Layout, ids=lambda x: x.value)
@pytest.mark.parametrize("resize", Resize, ids=lambda x: x.value)
@pytest.mark.parametrize(
    ("size_wh", "given"),
    [
        pytest.param((320, 180), {"size_wh": (56, 56), "crop_fraction": 0.875, **LITE0}, id="lite"),
        pytest.param((180, 320), {"size_wh": (56, 56), **IMAGENET}, id="upright"),
        pytest.param((321, 179), {"size_wh": (64, 48), "color": Color.BGR, **IMAGENET}, id="bgr"),
        pytest.param((30, 20), {"size_wh": (57, 56), "crop_fraction": 0.9}, id="enlarged"),
        pytest.param((7, 300), {"size_wh": (3, 5), **LITE0}, id="narrow"),
        pytest.param((1, 1), {"size_wh": (4, 4), **LITE0}, id="one pixel"),
    ],
)
def test_a_tensor_is_what_the_plain_way_makes(
    size_wh: tuple[int, int], given: dict[str, Any], resize: Resize, layout: Layout
) -> None:
    """Bit for bit the documented steps."""
    spec = InputSpec(resize=resize, **given)
    pixels = picture(*size_wh)
    tensor = to_tensor(pixels, spec, layout)

    assert tensor.dtype == np.float32
    assert tensor.shape == tensor_shape(spec, layout)
    assert tensor.nbytes == tensor_bytes(spec)
    assert tensor.flags.c_contiguous
    np.testing.assert_array_equal(tensor, reference(pixels, spec, layout))


@pytest.mark.parametrize("layout", Layout, ids=lambda x: x.value)
def test_bytes_stay_bytes(layout: Layout) -> None:
    """u8 with mean 0 and std 1 is the resized picture itself."""
    spec = InputSpec(size_wh=(20, 20), type=TensorType.U8)
    pixels = picture(64, 48)
    tensor = to_tensor(pixels, spec, layout)

    assert tensor.dtype == np.uint8
    np.testing.assert_array_equal(tensor, reference(pixels, spec, layout).astype(np.uint8))


@pytest.mark.parametrize("name", ["f16", "f64", "u16", "i16", "u32", "i32", "u64", "i64"])
def test_every_type_holds_a_pixel(name: str) -> None:
    """Without mean and std the numbers are the pixel's, in whatever type."""
    spec = InputSpec(size_wh=(4, 4), type=TensorType(name))
    pixels = picture(4, 4)
    tensor = to_tensor(pixels, spec, Layout.NHWC)

    assert tensor.dtype == spec.type.storage
    np.testing.assert_array_equal(tensor[0].astype(np.uint8), pixels)


@pytest.mark.parametrize(
    ("given", "pixel", "wanted"),
    [
        pytest.param({"type": "i8", "mean": (128.0,) * 3}, 0, -128, id="quantised"),
        pytest.param({"type": "i8", "mean": (128.0,) * 3}, 255, 127, id="quantised top"),
        pytest.param({"type": "i8"}, 200, 127, id="saturates up"),
        pytest.param({"type": "u8", "mean": (10.0,) * 3}, 5, 0, id="saturates down"),
        pytest.param({"type": "u8", "std": (2.0,) * 3}, 5, 2, id="half to even"),
        pytest.param({"type": "i32", "std": (1e-30,) * 3}, 5, 2**31 - 1, id="32 bits"),
        pytest.param({"type": "u64", "mean": (9.0,) * 3}, 5, 0, id="64 bits"),
        pytest.param({"type": "f16", **LITE0}, 0, np.float16(-127 / 128), id="half precision"),
        pytest.param({"type": "f16", "std": (1e-6,) * 3}, 255, np.inf, id="beyond f16"),
    ],
)
def test_other_types_round_and_saturate(given: dict[str, Any], pixel: int, wanted: float) -> None:
    """Float32 first, then half to even within the type's limits."""
    spec = InputSpec(size_wh=(2, 2), **given)
    tensor = to_tensor(np.full((2, 2, 3), pixel, np.uint8), spec, Layout.NCHW)

    assert tensor.dtype == spec.type.storage
    assert set(tensor.reshape(-1).tolist()) == {wanted}


def test_mean_and_std_follow_the_channel_order() -> None:
    """With bgr the first mean belongs to blue."""
    pixels = np.zeros((1, 1, 3), np.uint8) + np.array([10, 20, 30], np.uint8)
    spec = InputSpec(size_wh=(1, 1), color=Color.BGR, mean=(30.0, 20.0, 9.0))

    assert to_tensor(pixels, spec, Layout.NHWC).reshape(-1).tolist() == [0.0, 0.0, 1.0]


@pytest.mark.parametrize("offset", [0, 1, 4], ids=["aligned", "odd", "behind a word"])
@pytest.mark.parametrize("layout", Layout, ids=lambda x: x.value)
@pytest.mark.parametrize("kind", ["f32", "f16", "u8"])
def test_a_tensor_is_written_into_guest_memory(offset: int, layout: Layout, kind: str) -> None:
    """`out` may lie at any byte; exactly its bytes are written."""
    spec = InputSpec(size_wh=(8, 6), type=TensorType(kind), **LITE0)
    pixels = picture(64, 48)
    memory = bytearray(b"\xaa" * (offset + tensor_bytes(spec) + 5))
    shape = tensor_shape(spec, layout)
    out = np.frombuffer(memory, spec.type.storage, int(np.prod(shape)), offset).reshape(shape)
    tensor = to_tensor(pixels, spec, layout, out)

    assert tensor is out
    np.testing.assert_array_equal(out, to_tensor(pixels, spec, layout))
    assert memory[:offset] == b"\xaa" * offset
    assert memory[-5:] == b"\xaa" * 5


@pytest.mark.parametrize(
    ("out", "sentence"),
    [
        pytest.param(np.empty((1, 3, 4, 4), np.uint8), "got uint8, wanted float32", id="dtype"),
        pytest.param(np.empty((1, 4, 4, 3), np.float32), "wanted \\(1, 3, 4, 4\\)", id="shape"),
        pytest.param(np.empty((1, 3, 4, 8), np.float32)[..., ::2], "C-contiguous", id="strides"),
    ],
)
def test_a_wrong_out_is_a_broken_promise(out: NDArray[Any], sentence: str) -> None:
    """The caller has checked before; this is the last line."""
    with pytest.raises(AssertionError, match=sentence):
        to_tensor(picture(4, 4), InputSpec(size_wh=(4, 4)), Layout.NCHW, out)


@pytest.mark.parametrize(
    ("size_wh", "target_wh", "fraction", "box"),
    [
        pytest.param((1280, 720), (224, 224), 0.875, (325.0, 45.0, 955.0, 675.0), id="lite0"),
        pytest.param((1280, 720), (320, 180), 1.0, (0.0, 0.0, 1280.0, 720.0), id="same aspect"),
        pytest.param((100, 100), (200, 100), 1.0, (0.0, 25.0, 100.0, 75.0), id="wide target"),
        pytest.param((101, 100), (50, 50), 1.0, (0.5, 0.0, 100.5, 100.0), id="half a pixel"),
    ],
)
def test_the_crop_is_centred_with_the_targets_aspect(
    size_wh: tuple[int, int],
    target_wh: tuple[int, int],
    fraction: float,
    box: tuple[float, float, float, float],
) -> None:
    """The largest such part, times the fraction."""
    assert crop_box(size_wh, target_wh, fraction) == pytest.approx(box)


@pytest.mark.parametrize("width", [1, 3, 97, 1279, 1999])
@pytest.mark.parametrize("height", [1, 7, 719, 1081])
def test_the_crop_never_leaves_the_frame(width: int, height: int) -> None:
    """Rounding errors included: Pillow refuses a box that does."""
    for target_wh in ((224, 224), (299, 13), (3, 331)):
        left, top, right, bottom = crop_box((width, height), target_wh, 1.0)

        assert 0 <= left < right <= width
        assert 0 <= top < bottom <= height


def test_a_frame_of_the_right_size_is_not_resampled() -> None:
    """Nothing is lost, and the frame stays read-only."""
    pixels = picture(6, 4)

    assert raw_rgb(pixels, (6, 4)) == pixels.tobytes()
    assert raw_rgb(pixels, (4, 4)) == pixels[:, 1:5].tobytes()


def test_raw_rgb_is_fitted_like_a_tensor() -> None:
    """The same crop and resize, as bytes from the top row."""
    pixels = picture(64, 48)
    spec = InputSpec(size_wh=(10, 10), type=TensorType.U8, resize=Resize.LANCZOS, crop_fraction=0.5)
    raw = raw_rgb(pixels, (10, 10), resize=Resize.LANCZOS, crop_fraction=0.5)

    assert raw == to_tensor(pixels, spec, Layout.NHWC).tobytes()


def test_a_frame_with_strides_is_read() -> None:
    """A view into a larger picture gives what its copy gives."""
    view = picture(100, 80)[10:70, 5:95]
    spec = InputSpec(size_wh=(16, 16), **LITE0)

    np.testing.assert_array_equal(
        to_tensor(view, spec, Layout.NCHW), to_tensor(view.copy(), spec, Layout.NCHW)
    )
