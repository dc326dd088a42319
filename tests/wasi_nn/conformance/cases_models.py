"""Cases of real models: EfficientNet-Lite0 in every format, and what WAMR's test suite computes."""

import numpy as np
from PIL import Image

from tests.wasi_nn.conformance.dialects import ALL, ML, W1
from tests.wasi_nn.conformance.nets import LITE0, REAL, REPOSITORY
from tests.wasi_nn.conformance.table import F32, Rig, case, cases_of

GRID = np.arange(25, dtype=np.float32).reshape(1, 5, 5, 1)
QUANTISED = ("quantised",)
TFLITE = ("tflite",)


def picture(name: str, *, is_nchw: bool) -> np.ndarray:
    """Read a sample as Lite0 wants it: the centre, 224 x 224, (pixel - 127) / 128."""
    with Image.open(REPOSITORY / "models" / "samples" / name) as image:
        side = round(min(image.size) * 0.875)
        left, top = (image.width - side) // 2, (image.height - side) // 2
        box = (left, top, left + side, top + side)
        pixels = image.convert("RGB").resize((224, 224), Image.Resampling.BICUBIC, box)
    tensor = (np.asarray(pixels, np.float32)[np.newaxis] - 127) / 128
    return np.ascontiguousarray(tensor.transpose(0, 3, 1, 2)) if is_nchw else tensor


@case("5.1, 5.2 (13)", (W1, ML), REAL)
def lite0_top_label(rig: Rig) -> None:
    """The shipped classifier, loaded from the guest's memory, sees what is on the picture."""
    labels = (LITE0 / "labels.txt").read_text().splitlines()
    context = rig.context("lite0")
    for name, label in (("coffee.jpg", "espresso"), ("chelsea.jpg", "Egyptian cat")):
        rig.set_input(context, 0, picture(name, is_nchw=rig.net.id != "tflite"))
        rig.call("compute", context)
        logits = np.frombuffer(rig.output(context, 0, 4000), np.float32)
        top = [labels[index] for index in np.argsort(-logits)[:5]]
        rig.equal(f"{label} is among the first five for {name}", True, label in top)


@case("5.1, 5.2 (13)", (W1,), REAL)
def lite0_agrees_with_its_source(rig: Rig) -> None:
    """The five best classes are those of the float model that the file was made from."""
    reference = np.load(REPOSITORY / "tests" / "models" / "efficientnet_lite0_reference.npz")
    name = f"{reference['names'][0]}.jpg"
    context = rig.context("lite0")
    rig.set_input(context, 0, picture(name, is_nchw=rig.net.id != "tflite"))
    rig.call("compute", context)
    logits = np.frombuffer(rig.output(context, 0, 4000), np.float32)
    wanted = set(np.argsort(-reference["logits"][0])[:5].tolist())
    rig.equal(f"classes of {name}", True, len(wanted & set(np.argsort(-logits)[:5].tolist())) >= 4)


def grid(rig: Rig, model: str) -> list[float]:
    """Compute a model on the numbers 0 to 24."""
    context = rig.computed(GRID, model)
    return np.frombuffer(rig.output(context, 0, 4), np.float32).tolist()


@case("5.3", ALL, TFLITE)
def wamr_sum_max_average(rig: Rig) -> None:
    """A convolution, a maximum and a mean over 0..24 give 300, 24 and 12."""
    rig.equal("sum", [300.0], grid(rig, "sum"))
    rig.equal("max", [24.0], grid(rig, "max"))
    rig.equal("average", [12.0], grid(rig, "average"))


@case("5.3", ALL, TFLITE)
def wamr_mult_dimension(rig: Rig) -> None:
    """A (1, 3, 3, 1) comes back as its nine numbers."""
    context = rig.computed(np.arange(9).reshape(1, 3, 3, 1), "mult_dimension")
    rig.gives(context, 0, np.arange(9))


@case("5.3", ALL, TFLITE)
def wamr_mult_outputs(rig: Rig) -> None:
    """Two outputs are fetched by their index."""
    context = rig.computed(np.arange(16).reshape(1, 4, 4, 1), "mult_outputs")
    rig.gives(context, 0, [24, 28, 32, 36])
    rig.gives(context, 1, [6, 7, 8, 9])


@case("5.3, 1.6", (ML,), TFLITE)
def wamr_quantised_average(rig: Rig) -> None:
    """A quantised model takes and gives floats in the legacy dialect: 12 is 11.95 in its steps."""
    rig.equal("average", [True], [abs(v - 11.95) <= 0.01 for v in grid(rig, "quantised_average")])


@case("1.6", (ML,), QUANTISED)
def legacy_quantised_floats(rig: Rig) -> None:
    """Inputs of type f32 are rounded to the model's steps and saturate; outputs are floats."""
    context = rig.context("u8")
    values = np.array([[0.5, 1.3, -7.0, np.nan]], np.float32)  # steps 2, 4 (3.6), 0, 1
    rig.set_input(context, 0, values)
    rig.call("compute", context)
    rig.gives(context, 0, [1.5, 3.5, -0.5, 0.5])  # doubled steps 4, 8, 0, 2


@case("1.6", (ML,), QUANTISED)
def legacy_quantised_integers(rig: Rig) -> None:
    """An input of another type is the model's own integers."""
    context = rig.context("u8")
    rig.call("set_input", context, 0, rig.tensor([1, 4], rig.dialect.u8, bytes([2, 4, 0, 1])))
    rig.call("compute", context)
    rig.gives(context, 0, [1.5, 3.5, -0.5, 0.5])


@case("1.6", (W1,), QUANTISED)
def quantised_integers_elsewhere(rig: Rig) -> None:
    """The other dialects give and take a quantised model's integers as they are."""
    context = rig.context("u8")
    rig.set_input(context, 0, [[0.5, 1.3, -7.0, 0]], errno=1)
    rig.call("set_input", context, 0, rig.tensor([1, 4], rig.dialect.u8, bytes([2, 4, 0, 1])))
    rig.call("compute", context)
    rig.equal("output", bytes([4, 8, 0, 2]), rig.output(context, 0, 4))


@case("1.6", (ML,), TFLITE)
def legacy_sizes_count_floats(rig: Rig) -> None:
    """Four floats have the size 4, as capacity and as answer; three are too few."""
    context = rig.computed([[1, 2, 3, 4]])
    buffer, size = rig.room(16), rig.put((4).to_bytes(4, "little"))
    rig.call("get_output", context, 0, buffer, size)
    rig.equal("size", 4, rig.u32(size))
    rig.write(size, (3).to_bytes(4, "little"))
    rig.call("get_output", context, 0, buffer, size, errno=7)
    rig.equal("size", 4, rig.u32(size))


@case("1.6", (ML,), ("fake", "onnx", "openvino"))
def legacy_sizes_count_bytes(rig: Rig) -> None:
    """Other encodings count bytes."""
    context = rig.computed([[1, 2, 3, 4]])
    buffer, size = rig.room(16), rig.put((16).to_bytes(4, "little"))
    rig.call("get_output", context, 0, buffer, size)
    rig.equal("size", 16, rig.u32(size))


@case("1.3", (ML,))
def legacy_type_says_nothing_of_the_size(rig: Rig) -> None:
    """The legacy tensor has no length: the model's own type tells how many bytes there are."""
    context = rig.context()
    for number in (F32, 0, 2, 3, 255):
        data = np.array([1, 2, 3, 4], np.float32).tobytes()
        rig.call("set_input", context, 0, rig.tensor([1, 4], number, data))
    rig.call("compute", context)
    rig.gives(context, 0, [[3, 5, 7, 9]])


CASES = cases_of(globals())
