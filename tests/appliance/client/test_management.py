"""Apps and models managed by a client, from their arrival to their end."""

import io
import tarfile

import pytest

from appliance.client import Refused
from appliance.shipped import models_folder
from tests.appliance import watguests as guests
from tests.appliance.client.conftest import Call
from tests.appliance.service import Service

INT8 = models_folder() / "efficientnet-lite0-int8" / "1"
SAMPLES = models_folder() / "samples"


def test_an_apps_life(service: Service, call: Call, kind: str, picture: bytes) -> None:
    """Two versions, back and forth, off and on, gone."""
    box = service.socket
    first = call(box, "deploy", kind, guests.labelled("one"))
    second = call(box, "deploy", kind, guests.labelled("two"))
    call(box, "predict", kind, picture)

    detail = call(box, "app", kind)
    assert ("live", True, 1) == (detail.state, detail.is_enabled, detail.frames)
    assert [second.version, first.version] == [v.version for v in detail.versions]
    assert detail.guest_ms > 0

    assert first.version == call(box, "rollback", kind).version
    assert second.version == call(box, "rollback", kind, second.version).version
    assert "disabled" == call(box, "disable", kind).state
    with pytest.raises(Refused, match="disabled"):
        call(box, "predict", kind, picture)
    assert "live" == call(box, "enable", kind).state
    assert None is call(box, "delete_app", kind)
    with pytest.raises(Refused, match=f"app {kind}: not found"):
        call(box, "app", kind)


def test_what_an_app_and_the_box_say(
    service: Service, call: Call, kind: str, picture: bytes
) -> None:
    """The last lines, newest last; the least level counts."""
    service.deploy(kind, guests.printing(b"oh no", status=1, fd=2))
    service.show(kind, picture)
    said = call(service.socket, "app_log", kind, lines=1)
    whole = call(service.socket, "logs", level="warning", app=kind)

    assert "oh no" in said.lines[0].text
    assert [] == [line for line in whole.lines if line.level in ("debug", "info")]
    assert [] == [line for line in whole.lines if f"app={kind}" not in line.text]
    assert call(service.socket, "ready")


def files_of(name: str, version: str) -> dict[str, bytes]:
    """The int8 model's folder, as another model."""
    files = {path.name: path.read_bytes() for path in INT8.iterdir()}
    manifest = files["model.toml"].decode().replace(INT8.parent.name, name)
    manifest = manifest.replace('version = "1"', f'version = "{version}"')
    return {**files, "model.toml": manifest.encode()}


def tar(files: dict[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz", compresslevel=1) as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return packed.getvalue()


def test_a_models_life(service: Service, call: Call, kind: str) -> None:
    """Up as an open archive and as files, looked at, tried out, gone."""
    box = service.socket
    added = call(box, "upload_model", kind, "1", io.BytesIO(tar(files_of(kind, "1"))))
    newer = call(box, "upload_model", kind, "2", files_of(kind, "2"))
    assert ({"onnx", "tensorflowlite"}, True) == ({*added.loaded, *added.untried}, newer.is_default)

    assert ["1", "2"] == [version.version for version in call(box, "model", kind).versions]
    coffee = (SAMPLES / "coffee.jpg").read_bytes()
    sample = call(box, "sample", kind, coffee, version="1", encoding="onnx")
    assert ("1", "espresso") == (sample.version, sample.top[0].label)
    assert (kind, "2") == ((plan := call(box, "plan", kind, "2")).name, plan.version)

    for version in ("1", "2"):
        assert None is call(box, "delete_model", kind, version)
    with pytest.raises(Refused, match=kind):
        call(box, "model", kind)
