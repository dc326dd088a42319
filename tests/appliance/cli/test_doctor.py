"""`appliance doctor`: what there is, and why something is not."""

from importlib.metadata import version
from pathlib import Path

import pytest

from tests.appliance.cli.conftest import Command
from wasi_nn.backends import all_backends
from wasi_nn.devices import survey


def test_every_backend_and_device_is_told(command: Command, tmp_path: Path) -> None:
    """Present or absent, with the reason; and the models, whole or broken."""
    broken = tmp_path / "models" / "wreck" / "1"
    broken.mkdir(parents=True)
    (broken / "model.toml").write_text("][")
    done = command("doctor", "--state", tmp_path)
    told = " ".join(done.stdout.decode().replace("│", " ").split())

    assert 0 == done.returncode
    words = ["onnx", "openvino", "tflite", "cpu", "gpu", "npu", "present", "wasmtime-", "fast"]
    words += ["efficientnet-lite0", "Apache-2.0", "wreck", "broken: model.toml: not TOML"]
    assert [] == [word for word in words if word not in told]


@pytest.mark.parametrize("name", ["gpu", "npu"])
def test_what_is_absent_has_a_reason(name: str) -> None:
    """A box without an accelerator says what it looked for."""
    for backend in survey(all_backends()):
        for device in backend.devices:
            if device.device.value == name and not device.present:
                assert len(device.detail) > 10, backend.name


def test_nothing_is_made_on_disk(command: Command, tmp_path: Path) -> None:
    """Asking is not starting."""
    command("doctor", "--state", tmp_path / "state")

    assert [] == list(tmp_path.iterdir())


def test_the_version_alone(command: Command) -> None:
    """For scripts and bug reports."""
    done = command("--version")

    assert (0, f"{version('edge-inference-appliance')}\n") == (
        done.returncode,
        done.stdout.decode(),
    )
