"""The same tiny models for every backend, so that one case asks the same of all.

scale   x f32 (?, 4) -> y = 2 x + 1
two     right, left f32 (2, 3) -> total = right + left, difference = right - left
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path

from wasi_nn.backend import Backend, Buffer, Encoding, Graph, GraphOptions
from wasi_nn.backends import fake
from wasi_nn.backends.fake import FakeBackend
from wasi_nn.backends.onnx import OnnxBackend
from wasi_nn.backends.openvino import OpenvinoBackend
from wasi_nn.backends.tflite import TfliteBackend
from wasi_nn.catalogue import ModelFile, NamedModel, StaticCatalogue
from wasi_nn.tensor import Quantization, TensorSpec, TensorType

REPOSITORY = Path(__file__).resolve().parents[3]
LITE0 = REPOSITORY / "models" / "efficientnet-lite0" / "1"
_TINY = REPOSITORY / "tests" / "wasi_nn" / "backends" / "data"
_LEGACY = Path(__file__).parent / "data"

OPENVINO, ONNX, TFLITE = 0, 1, 4


@dataclass(frozen=True)
class Net:
    """A backend and the models it is asked with.

    number: WASI-NN's number of its encoding.   models: the parts of each, by name.
    """

    id: str
    number: int
    encoding: Encoding
    make: Callable[[], Backend]
    models: Mapping[str, Sequence[bytes]] = field(repr=False)

    def catalogue(self) -> StaticCatalogue:
        """Offer the models under their names."""
        return StaticCatalogue(
            [
                NamedModel(name, "1", (ModelFile(self.encoding, lambda parts=parts: parts),))
                for name, parts in self.models.items()
            ]
        )

    @property
    def unit(self) -> int:
        """Bytes in one unit of the legacy output size."""
        return 4 if self.number == TFLITE else 1


def _files(folder: Path, *names: str) -> list[bytes]:
    return [(folder / name).read_bytes() for name in names]


def _spec(name: str, kind: TensorType, *shape: int | None) -> TensorSpec:
    return TensorSpec(name, kind, shape)


def _like(kind: TensorType, *shape: int | None) -> bytes:
    """Write a fake model that doubles a tensor of this kind."""
    x, y = _spec("x", kind, *shape), _spec("y", kind, *shape)
    return fake.model([x], [y], "scale", factor=2.0)


def _fake_models() -> dict[str, list[bytes]]:
    f32 = TensorType.F32
    x, y = _spec("x", f32, None, 4), _spec("y", f32, None, 4)
    right, left, total, difference = (
        _spec(name, f32, 2, 3) for name in ("right", "left", "total", "difference")
    )
    models = {
        "scale": fake.model([x], [y], "scale", factor=2.0, offset=1.0),
        "two": fake.model([right, left], [total, difference], ["sum", "difference"]),
        "fails": fake.model([x], [y], "scale", fail_on_value=13.0),
        "free": _like(f32, None, None, None, None),
    }
    for kind in TensorType:
        models[kind.value] = _like(kind, 1, 4)
    return {name: [content] for name, content in models.items()}


def _plain_fake() -> FakeBackend:
    """Make a fake that leaves TensorFlow Lite, whose sizes count floats, to the other one."""
    return FakeBackend(set(Encoding) - {Encoding.TENSORFLOWLITE})


class QuantisedFake:
    """The fake for TensorFlow Lite, its u8 model quantised: real = (integer - 1) * 0.5."""

    def __init__(self) -> None:
        self._fake = FakeBackend([Encoding.TENSORFLOWLITE])
        self.name = self._fake.name
        self.encodings = self._fake.encodings
        self.probe = self._fake.probe

    def load(self, builders: Sequence[Buffer], encoding: Encoding, options: GraphOptions) -> Graph:
        graph = self._fake.load(builders, encoding, options)
        assert isinstance(graph, fake.FakeGraph), "the fake loads fakes"
        graph.inputs, graph.outputs = (
            tuple(
                replace(spec, quantization=Quantization(0.5, 1))
                if spec.type is TensorType.U8
                else spec
                for spec in specs
            )
            for specs in (graph.inputs, graph.outputs)
        )
        return graph


@cache
def nets() -> dict[str, Net]:
    """The backends by name."""
    onnx = {name: _files(_TINY, f"{name}.onnx") for name in ("scale", "two")}
    openvino = {name: _files(_TINY, f"{name}.xml", f"{name}.bin") for name in ("scale", "two")}
    tflite = {name: _files(_TINY, f"{name}.tflite") for name in ("scale", "two")}
    tflite |= {path.stem: [path.read_bytes()] for path in sorted(_LEGACY.glob("*.tflite"))}
    onnx["lite0"] = _files(LITE0, "model.onnx")
    openvino["lite0"] = _files(LITE0, "model.xml", "model.bin")
    tflite["lite0"] = _files(LITE0, "model.tflite")
    models = _fake_models()
    return {
        net.id: net
        for net in (
            Net("fake", ONNX, Encoding.ONNX, _plain_fake, models),
            Net("quantised", TFLITE, Encoding.TENSORFLOWLITE, QuantisedFake, models),
            Net("onnx", ONNX, Encoding.ONNX, OnnxBackend, onnx),
            Net("openvino", OPENVINO, Encoding.OPENVINO, OpenvinoBackend, openvino),
            Net("tflite", TFLITE, Encoding.TENSORFLOWLITE, TfliteBackend, tflite),
        )
    }


FAKE = ("fake",)
REAL = ("onnx", "openvino", "tflite")
EVERY = FAKE + REAL
