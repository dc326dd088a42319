"""What the operator allows."""

import pytest

from wasi_nn.backend import Device, Encoding
from wasi_nn.errors import UnsupportedOperation
from wasi_nn.policy import Policy


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
