"""Bad pictures and bad models over the socket: one clear sentence each, and the box goes on."""

import struct
import zlib
from pathlib import Path

import pytest

from tests.appliance import watguests as guests
from tests.appliance.service import Service
from tests.appliance.workshop import MODEL_TOML, png


def png_header(width: int, height: int) -> bytes:
    """Begin a PNG that claims a size; its pixels are 100 bytes of nothing."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return (
            struct.pack(">I", len(content)) + kind + content
            + struct.pack(">I", zlib.crc32(kind + content))
        )  # fmt: skip

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    pixels = chunk(b"IDAT", zlib.compress(bytes(100)))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + pixels + chunk(b"IEND", b"")


BAD_PICTURES = [
    pytest.param(b"this is a letter", 400, "bad_picture", ["JPEG", "PNG"], id="no picture"),
    pytest.param(png(64, 64)[:-40], 400, "bad_picture", ["damaged"], id="truncated"),
    pytest.param(png_header(60000, 60000), 400, "bad_picture", ["50000000 pixels"], id="bomb"),
    pytest.param(png_header(40, 40), 400, "bad_picture", ["picture"], id="no pixels"),
    pytest.param(guests.STEADY, 400, "bad_picture", ["JPEG"], id="a guest"),
    pytest.param(b"", 400, "bad_request", ["empty", "--data-binary"], id="empty"),
    pytest.param(bytes(33 * 2**20), 413, "too_big", ["34603008", "33554432"], id="33 MiB"),
]


@pytest.fixture(scope="module", autouse=True)
def _apps(service: Service) -> None:
    for name, wasm in (
        ("steady", guests.STEADY),
        ("reader", guests.computing("garbage", "never")),
        ("lost", guests.computing("nowhere", "never")),
        ("broken", guests.computing("broken", "never")),
        ("well", guests.computing("well", "fine")),
    ):
        assert service.deploy(name, wasm).status_code == 200


@pytest.mark.parametrize(("body", "status", "code", "words"), BAD_PICTURES)
def test_a_bad_picture_is_refused_and_the_next_good_one_answered(
    service: Service, picture: bytes, body: bytes, status: int, code: str, words: list[str]
) -> None:
    """Refused before any guest sees it; nothing is stored."""
    response = service.show("steady", body)

    assert (status, code) == (response.status_code, response.json()["code"])
    sentence = response.json()["error"]
    assert [word for word in words if word not in sentence] == [], sentence
    assert ["steady"] == service.labels("steady", picture)


def test_a_body_without_a_length_is_cut_off_at_the_limit(service: Service, picture: bytes) -> None:
    """A chunked body is counted as it comes."""
    chunks = (bytes(2**20) for _ in range(33))
    response = service.http.post("/v1/apps/steady/frames", content=chunks)

    assert (413, "too_big") == (response.status_code, response.json()["code"])
    assert ["steady"] == service.labels("steady", picture)


def check_model_failure(service: Service, app: str, picture: bytes, words: list[str]) -> None:
    response = service.show(app, picture)

    assert (502, "errno") == (response.status_code, response.json()["reason"])
    sentence = response.json()["error"]
    assert [word for word in words if word not in sentence] == [], sentence
    assert str(service.state) not in sentence
    assert ["steady"] == service.labels("steady", picture)


def put(service: Service, name: str, **files: bytes) -> Path:
    folder = service.state / "models" / name / "1"
    folder.mkdir(parents=True)
    for suffix, content in files.items():
        (folder / f"model.{suffix}").write_bytes(content)
    return folder


def test_a_model_of_garbage_is_named_in_the_answer(service: Service, picture: bytes) -> None:
    """The runtime's refusal reaches the client as the guest's last failed call."""
    put(service, "garbage", onnx=b"no weights at all")

    check_model_failure(service, "reader", picture, ["load_by_name", "onnx"])


def test_an_unknown_model_is_named_with_those_there_are(service: Service, picture: bytes) -> None:
    """The sentence lists what the guest could have asked for."""
    words = ["returned 8", "model nowhere: not found", "efficientnet-lite0:1"]
    check_model_failure(service, "lost", picture, words)


def test_a_broken_model_manifest_is_explained_and_can_be_mended(
    service: Service, picture: bytes
) -> None:
    """The key that is wrong is named; a corrected file counts at the next frame."""
    folder = put(service, "broken", onnx=b"garbage", toml=b'colour = "red"\n' + MODEL_TOML)
    check_model_failure(service, "broken", picture, ["model broken:1", "colour", "unknown key"])

    (folder / "model.toml").write_bytes(b"not [ toml")
    check_model_failure(service, "broken", picture, ["model.toml: not TOML"])


def test_weights_that_are_not_those_of_the_manifest_are_not_run(
    service: Service, picture: bytes
) -> None:
    """A hash in model.toml is compared whenever the weights are read."""
    manifest = f"""
        name = "well"
        files = [{{encoding = "onnx", paths = ["model.onnx"], sha256 = ["{"0" * 64}"]}}]
    """
    put(service, "well", onnx=b"garbage", toml=manifest.encode())

    check_model_failure(service, "well", picture, ["model.onnx: damaged", "copy it again"])
