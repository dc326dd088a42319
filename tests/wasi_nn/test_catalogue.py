"""Named models, WasmEdge's preload line, and the JSON of `load_by_name_with_config`."""

from pathlib import Path

import pytest

from wasi_nn.backend import Device, Encoding
from wasi_nn.catalogue import (
    MAX_THREADS,
    LoadConfig,
    NamedModel,
    StaticCatalogue,
    parse_config,
    parse_preload,
)
from wasi_nn.errors import InvalidArgument, InvalidEncoding, NotFound


def test_finds_by_name() -> None:
    """A model is found by its name."""
    model = NamedModel("ssd", "1", ())

    assert model is StaticCatalogue([model]).find("ssd")


@pytest.mark.parametrize(
    ("models", "known"), [([], "none"), ([NamedModel(n, "1", ()) for n in "ba"], "a, b")]
)
def test_not_found_names_what_there_is(models: list[NamedModel], known: str) -> None:
    """An unknown name is answered with the known ones."""
    with pytest.raises(NotFound, match=f"model ssd: not found; models here: {known}$"):
        StaticCatalogue(models).find("ssd")


def test_preload(tmp_path: Path) -> None:
    """The line names a model, its form, its device and its parts, in this order."""
    xml, weights = tmp_path / "model.xml", tmp_path / "model.bin"
    xml.write_bytes(b"xml")
    weights.write_bytes(b"bin")
    model = parse_preload(f"ssd:OpenVINO:GPU:{xml}:{weights}")

    assert ("ssd", Device.GPU) == (model.name, model.device)
    assert Encoding.OPENVINO is model.files[0].encoding
    assert [b"xml", b"bin"] == model.files[0].read()


@pytest.mark.parametrize(
    ("target", "device"),
    [("cpu", Device.CPU), ("AUTO", Device.CPU), ("tpu", Device.NPU), ("Npu", Device.NPU)],
)
def test_preload_targets(tmp_path: Path, target: str, device: Device) -> None:
    """Targets have WasmEdge's names, in any case; auto is the CPU."""
    (tmp_path / "m").write_bytes(b"")

    assert device is parse_preload(f"m:onnx:{target}:{tmp_path / 'm'}").device


def test_preload_reads_late(tmp_path: Path) -> None:
    """A preloaded model is read when it is first loaded, not when the line is."""
    path = tmp_path / "m"
    path.write_bytes(b"old")
    model = parse_preload(f"m:onnx:cpu:{path}")
    path.write_bytes(b"new")

    assert [b"new"] == model.files[0].read()


@pytest.mark.parametrize(
    ("line", "told"),
    [("", "wanted NAME:ENCODING"), ("m:onnx:cpu", "wanted NAME:ENCODING"),
     (":onnx:cpu:/m", "wanted NAME:ENCODING"), ("m:zip:cpu:/m", "got encoding zip"),
     ("m:onnx:moon:/m", "got target moon")],
)  # fmt: skip
def test_preload_is_wrong(line: str, told: str) -> None:
    """A line that cannot be read is refused with the part that is wrong."""
    with pytest.raises(InvalidArgument, match=told):
        parse_preload(line)


def test_preload_of_nothing(tmp_path: Path) -> None:
    """A file that is not there is told at once, not at the first load."""
    with pytest.raises(NotFound, match="preload m: no file at"):
        parse_preload(f"m:onnx:cpu:{tmp_path / 'm'}")


@pytest.mark.parametrize("config", [b"", b" \r\n", b"{}", b"{}\0", b'{"n-predict": 100}'], ids=repr)
def test_config_of_nothing(config: bytes) -> None:
    """No configuration, or one with others' keys only, overrides nothing."""
    assert LoadConfig() == parse_config(config)


def test_config() -> None:
    """Every key of ours overrides its part; names are in any case."""
    config = b'{"device": "TPU", "backend": "onnx", "encoding": "ONNX", "num_threads": 2}'

    assert LoadConfig(Device.NPU, "onnx", Encoding.ONNX, 2) == parse_config(config)


@pytest.mark.parametrize(
    "config", [b"{", b"[1]", b"null", b'"text"', b"\xff", b"[" * 100_000, b'{"a": 1}{'],
    ids=["cut", "list", "null", "text", "bytes", "deep", "two"],
)  # fmt: skip
def test_config_is_no_object(config: bytes) -> None:
    """What is no JSON object is no configuration."""
    with pytest.raises(InvalidEncoding, match="load_by_name: "):
        parse_config(config)


@pytest.mark.parametrize(
    ("key", "value"),
    [("device", "1"), ("device", '"moon"'), ("device", "[[[[[[[[[[]]]]]]]]]]"), ("backend", "{}"),
     ("encoding", '"zip"'), ("num_threads", "0"), ("num_threads", str(MAX_THREADS + 1)),
     ("num_threads", "1.5"), ("num_threads", "true"), ("num_threads", '"2"')],
)  # fmt: skip
def test_config_of_wrong_values(key: str, value: str) -> None:
    """A key of ours with a value that means nothing is refused by name."""
    with pytest.raises(InvalidArgument, match=f"config {key} is "):
        parse_config(f'{{"{key}": {value}}}'.encode())


def test_config_message_is_short() -> None:
    """A refusal does not repeat kilobytes of what the guest sent."""
    with pytest.raises(InvalidArgument, match="config device is") as caught:
        parse_config(b'{"device": "' + b"x" * 60_000 + b'"}')
    assert len(str(caught.value)) < 200
