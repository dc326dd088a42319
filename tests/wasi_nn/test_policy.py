"""What the operator allows."""

import pytest

from wasi_nn.backend import Device, Encoding
from wasi_nn.backends.fake import FakeBackend, model
from wasi_nn.catalogue import ModelFile, NamedModel, StaticCatalogue
from wasi_nn.errors import Errno, NotPermitted, UnsupportedOperation
from wasi_nn.policy import Policy
from wasi_nn.registry import Registry
from wasi_nn.session import Session
from wasi_nn.tensor import TensorSpec, TensorType

SCALAR = TensorSpec("x", TensorType.F32, (1,))
TINY = ModelFile(Encoding.ONNX, lambda: [model([SCALAR], [SCALAR], "identity")])


def test_everything_is_allowed_by_default() -> None:
    """A policy that says nothing forbids nothing but the fallback."""
    for device in Device:
        Policy().check_device(device)
    for encoding in Encoding:
        Policy().check_encoding(encoding)
    assert not Policy().allow_fallback


def test_device_is_refused() -> None:
    """A device that is not granted is refused with those that are, and where to grant it."""
    policy = Policy(devices=frozenset({Device.CPU, Device.NPU}))
    policy.check_device(Device.NPU)

    with pytest.raises(UnsupportedOperation, match=r"device gpu: .* use cpu, npu; grant it in"):
        policy.check_device(Device.GPU)


def test_encoding_is_refused() -> None:
    """An encoding that is not granted is refused with those that are, and where to grant it."""
    policy = Policy(encodings=frozenset({Encoding.ONNX}))
    policy.check_encoding(Encoding.ONNX)

    with pytest.raises(UnsupportedOperation, match="openvino: this app may load onnx; grant it"):
        policy.check_encoding(Encoding.OPENVINO)


def test_bytes_of_its_own_are_refused() -> None:
    """Whatever they are: nothing of them is looked at, and named models are not concerned."""
    registry = Registry((FakeBackend(),), StaticCatalogue([NamedModel("tiny", "1", (TINY,))]))
    session = Session(registry, policy=Policy(own_models=False))

    with pytest.raises(NotPermitted, match="may load models by name only; grant it own_models"):
        session.load([b"no model at all"], Encoding.AUTODETECT, Device.CPU)
    assert 0 == session.load_by_name("tiny")
    session.close()


def test_not_permitted_has_the_number_that_every_dialect_knows() -> None:
    """`security` is 8 in one dialect, not_found in others, and none in most."""
    assert Errno.UNSUPPORTED_OPERATION == NotPermitted.errno
