"""Which backend loads a model, in which of its forms, and who is refused."""

import pytest

from wasi_nn.backend import Device, Encoding, GraphOptions
from wasi_nn.backends.fake import FakeBackend, model
from wasi_nn.catalogue import ModelFile, NamedModel, StaticCatalogue
from wasi_nn.digests import digest_of
from wasi_nn.errors import (
    InvalidArgument,
    InvalidEncoding,
    NNError,
    NotFound,
    UnsupportedOperation,
)
from wasi_nn.policy import Policy
from wasi_nn.registry import GraphReference, Registry
from wasi_nn.tensor import TensorSpec, TensorType

CPU = GraphOptions()
ONNX, TFLITE = Encoding.ONNX, Encoding.TENSORFLOWLITE


def content(size: int = 1) -> bytes:
    """Write a model; another size is another model."""
    x = TensorSpec("x", TensorType.F32, (1, size))
    return model([x], [x], "identity")


def load(registry: Registry, size: int = 1, options: GraphOptions = CPU) -> GraphReference:
    """Load a model from its bytes."""
    return registry.load([content(size)], ONNX, options)


def test_first_able_backend_loads() -> None:
    """Of several backends for an encoding the first that has the device takes it."""
    slow, fast = FakeBackend([ONNX], name="slow"), FakeBackend([ONNX], [Device.GPU], name="fast")
    registry = Registry([slow, fast])
    load(registry)
    load(registry, options=GraphOptions(Device.GPU))

    assert (1, 1) == (slow.loads, fast.loads)


def test_absent_device() -> None:
    """A device that no backend has is refused with what is present, and never replaced."""
    registry = Registry([FakeBackend(name="a"), FakeBackend([ONNX], [], name="b")])

    with pytest.raises(UnsupportedOperation, match=r"device npu: absent; .* a: cpu; b: none"):
        load(registry, options=GraphOptions(Device.NPU))


def test_fallback_with_leave() -> None:
    """With the operator's leave the first able backend computes elsewhere, and says where."""
    registry = Registry([FakeBackend()])
    load(registry, options=GraphOptions(Device.NPU, allow_fallback=True))
    (graph,) = registry.statistics().graphs

    assert (Device.NPU, Device.CPU) == (graph.asked, graph.device)


@pytest.mark.parametrize(
    ("encoding", "advice"),
    [(Encoding.PYTORCH, "export it to ONNX"), (Encoding.TENSORFLOW, "TFLiteConverter"),
     (Encoding.GGML, "language models"), (Encoding.OPENVINO, "appliance doctor")],
)  # fmt: skip
def test_no_backend_for_the_encoding(encoding: Encoding, advice: str) -> None:
    """An encoding that nobody loads is refused with what its owner can do."""
    with pytest.raises(UnsupportedOperation, match=advice):
        Registry([FakeBackend([ONNX])]).load([b"x"], encoding, CPU)


def test_autodetect() -> None:
    """The encoding is found in the bytes, and is part of what is shared."""
    registry = Registry([FakeBackend()])
    with pytest.raises(InvalidEncoding, match="autodetect"):
        registry.load([content()], Encoding.AUTODETECT, CPU)
    with pytest.raises(InvalidEncoding, match="fake model"):
        registry.load([b"\0\0\0\0TFL3 no fake"], Encoding.AUTODETECT, CPU)


def test_policy_forbids_what_is_detected() -> None:
    """A forbidden encoding is forbidden also when it comes as autodetect."""
    policy = Policy(encodings=frozenset({ONNX}))
    with pytest.raises(UnsupportedOperation, match="tensorflowlite: this app may load onnx"):
        Registry([FakeBackend()]).load([b"\0\0\0\0TFL3"], Encoding.AUTODETECT, CPU, policy)


def test_probes_once() -> None:
    """A runtime is asked for its devices once per process: asking imports it."""
    backend = FakeBackend()
    asked: list[int] = []
    probe = backend.probe

    def count() -> object:
        asked.append(1)
        return probe()

    backend.probe = count  # type: ignore[assignment, method-assign]
    registry = Registry([backend])
    for size in (1, 2, 3):
        load(registry, size)

    assert [1] == asked


# --------------------------------------------------------------------------------------- named


def named(**files: Encoding) -> StaticCatalogue:
    """Make a catalogue of one model with these forms."""
    forms = tuple(ModelFile(encoding, lambda: [content()]) for encoding in files.values())
    return StaticCatalogue([NamedModel("net", "7", forms)])


def test_named_and_own_bytes_are_one_graph() -> None:
    """A guest that brings the bytes of a named model gets the same graph."""
    registry = Registry([FakeBackend()], named(a=ONNX))
    by_name, by_bytes = registry.load_named("net"), load(registry)

    assert by_name.graph is by_bytes.graph
    assert by_name.model is not None
    assert ("net", "7") == (by_name.model.name, by_name.model.version)
    assert by_bytes.model is None
    assert "net:7" == registry.statistics().graphs[0].name


def test_known_digest_saves_reading() -> None:
    """A file whose content is known by its digest is read for the first load only."""
    reads: list[int] = []

    def read() -> list[bytes]:
        reads.append(1)
        return [content()]

    file = ModelFile(ONNX, read, digest=digest_of([content()]))
    registry = Registry([FakeBackend()], StaticCatalogue([NamedModel("net", "1", (file,))]))
    references = [registry.load_named("net") for _ in range(3)]

    assert [1] == reads
    assert references[0].graph is references[2].graph


def test_first_form_that_runs() -> None:
    """Of a model's forms the first that this box runs is taken."""
    registry = Registry([FakeBackend([TFLITE])], named(a=Encoding.PYTORCH, b=ONNX, c=TFLITE))

    assert TFLITE is registry.load_named("net").encoding


def test_policy_chooses_the_form() -> None:
    """A form that the app may not load is passed over."""
    registry = Registry([FakeBackend()], named(a=ONNX, b=TFLITE))
    reference = registry.load_named("net", policy=Policy(encodings=frozenset({TFLITE})))

    assert TFLITE is reference.encoding


@pytest.mark.parametrize(
    ("config", "error", "told"),
    [(b'{"encoding": "openvino"}', UnsupportedOperation, "no openvino form; it has onnx"),
     (b'{"backend": "magic"}', InvalidArgument, "backend magic: not known; backends here: fake"),
     (b'{"device": "gpu"}', UnsupportedOperation, "device gpu: absent"),
     (b"[", InvalidEncoding, "no JSON")],
    ids=["form", "backend", "device", "json"],
)  # fmt: skip
def test_config_that_cannot_be_met(config: bytes, error: type[NNError], told: str) -> None:
    """A configuration that the model or the box cannot meet is refused, naming what there is."""
    with pytest.raises(error, match=told):
        Registry([FakeBackend()], named(a=ONNX)).load_named("net", config)


def test_unknown_name() -> None:
    """A name that the catalogue does not know is not found."""
    with pytest.raises(NotFound, match="models here: net"):
        Registry([FakeBackend()], named(a=ONNX)).load_named("other")
