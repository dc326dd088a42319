"""Which runtime can use which device, and how a refusal reads."""

from wasi_nn.backend import BackendInfo, Device, DeviceInfo, Encoding
from wasi_nn.backends import all_backends
from wasi_nn.backends.fake import FakeBackend
from wasi_nn.devices import present, survey, unavailable


def test_survey_of_all_backends() -> None:
    """Every real runtime is installed, and has a CPU."""
    infos = survey(all_backends())

    assert ["onnx", "tflite", "openvino"] == [info.name for info in infos]
    for info in infos:
        assert info.version, info.reason
        assert Device.CPU in present(info)


def test_every_absent_device_has_a_reason() -> None:
    """A device that is not there says why."""
    absent = [d for info in survey(all_backends()) for d in info.devices if not d.present]

    assert all(device.detail for device in absent)


def test_pretended_devices() -> None:
    """The fake shows the devices that it was told to have."""
    (info,) = survey([FakeBackend(devices=[Device.CPU, Device.NPU])])

    assert (Device.CPU, Device.NPU) == present(info)


def test_refusal_of_a_device() -> None:
    """A refusal names the device, the reason, what is present and what to do."""
    devices = (
        DeviceInfo(Device.CPU, True, "some CPU"),
        DeviceInfo(Device.GPU, False, "its driver is missing"),
    )
    info = BackendInfo("onnx", "1", (Encoding.ONNX,), devices)

    assert (
        "device gpu: not available to backend onnx: its driver is missing; present: cpu; load "
        "for one of these, or have the operator allow the fallback to cpu"
    ) == str(unavailable(info, Device.GPU))


def test_refusal_without_a_runtime() -> None:
    """A runtime that is not installed is refused with how to install it."""
    info = BackendInfo("onnx", None, (Encoding.ONNX,), (), "onnxruntime: no module; pip install it")

    assert ("backend onnx: not usable here: onnxruntime: no module; pip install it") == str(
        unavailable(info, Device.CPU)
    )
