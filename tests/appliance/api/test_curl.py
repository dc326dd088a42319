"""The real curl on the socket: what a shell script would do."""

import csv
import io
import json
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

import pytest

from appliance.shipped import classifier_folder
from tests.appliance import watguests as guests
from tests.appliance.service import Service

Curl = Callable[..., bytes]


@pytest.fixture(scope="module")
def curl(service: Service) -> Curl:
    """Run curl to its end and give the body; a refusal is given, too."""

    def run(path: str, *options: str | Path) -> bytes:
        done = subprocess.run(
            ["curl", "-sS", "--max-time", "60", "--unix-socket", service.socket, *options,
             f"http://box{path}"],
            capture_output=True, check=False,
        )  # fmt: skip
        assert (0, b"") == (done.returncode, done.stderr)
        return done.stdout

    return run


@pytest.fixture(scope="module")
def coffee(tmp_path_factory: pytest.TempPathFactory, read_sample: Callable[[str], bytes]) -> Path:
    path = tmp_path_factory.mktemp("pictures") / "coffee.jpg"
    path.write_bytes(read_sample("coffee.jpg"))
    return path


@pytest.fixture(scope="module", autouse=True)
def _classifier(service: Service, curl: Curl) -> None:
    wasm = classifier_folder() / "classifier.wasm"
    assert b'"is_new":true' in curl("/v1/apps/classifier", "-T", wasm)


def test_a_picture_is_sent_and_found_again(curl: Curl, coffee: Path) -> None:
    """Upload, answer, and the history by every filter."""
    answer = json.loads(curl("/v1/apps/classifier/frames", "--data-binary", f"@{coffee}"))
    (prediction,) = answer["predictions"]
    page = json.loads(
        curl("/v1/predictions?app=classifier&camera=api&label=espresso&min_score=0.5&since=0"
             f"&until=9e9&frame={prediction['sequence']}&limit=5")
    )  # fmt: skip

    assert "espresso" == prediction["label"]
    assert [prediction] == page["predictions"]


def test_a_table_for_a_spreadsheet(curl: Curl, coffee: Path) -> None:
    """CSV with a header; one row a prediction."""
    curl("/v1/apps/classifier/frames", "--data-binary", f"@{coffee}")
    told = curl("/v1/predictions?limit=1", "-H", "Accept: text/csv")
    (row,) = csv.DictReader(io.StringIO(told.decode()))

    assert ("classifier", "espresso") == (row["app"], row["label"])


def test_an_object_a_line_for_jq(curl: Curl, coffee: Path) -> None:
    """NDJSON, newest first."""
    curl("/v1/apps/classifier/frames", "--data-binary", f"@{coffee}")
    told = curl("/v1/predictions?limit=1", "-H", "Accept: application/x-ndjson")

    assert "espresso" == json.loads(told)["label"]


def test_raw_pictures_by_the_inference_protocol(curl: Curl, coffee: Path) -> None:
    """The body is the picture; the answer has a JSON head and then the tensors' bytes."""
    told = curl(
        "/v2/models/classifier/infer", "-H", "Inference-Header-Content-Length: 0",
        "--data-binary", f"@{coffee}",
    )  # fmt: skip

    assert told.startswith(b'{"model_name":"classifier"')
    assert b"\x08\x00\x00\x00espresso" in told


def test_a_refusal_is_one_sentence(curl: Curl) -> None:
    """With the status that scripts look at."""
    told = curl("/v1/apps/classifier/frames", "--data-binary", "a letter", "-w", "%{http_code}")

    assert told.endswith(b"400")
    assert "bad_picture" == json.loads(told[:-3])["code"]


@pytest.fixture
def follow(service: Service) -> Iterator[Callable[..., "subprocess.Popen[bytes]"]]:
    """Start curl on the stream; it is ended with the test."""
    started: list[subprocess.Popen[bytes]] = []

    def start(query: str, *options: str) -> "subprocess.Popen[bytes]":
        process = subprocess.Popen(
            ["curl", "-sSN", "--max-time", "60", "--unix-socket", service.socket, *options,
             f"http://box/v1/predictions/stream?{query}"],
            stdout=subprocess.PIPE,
        )  # fmt: skip
        started.append(process)
        return process

    yield start
    for process in started:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)


def test_a_stream_of_events_as_they_come(
    service: Service, picture: bytes, follow: Callable[..., "subprocess.Popen[bytes]"]
) -> None:
    """Unbuffered: each event is there before the next is made."""
    service.deploy("steady", guests.STEADY)
    first = service.show("steady", picture).json()["predictions"][0]
    stdout = follow("app=steady", "-H", f"Last-Event-ID: {first['id'] - 1}").stdout
    assert stdout is not None

    assert first == _next_event(stdout)
    second = service.show("steady", picture).json()["predictions"][0]
    assert second == _next_event(stdout)


def _next_event(stdout: IO[bytes]) -> object:
    fields: dict[bytes, bytes] = {}
    for line in iter(stdout.readline, b""):
        name, _, value = line.rstrip(b"\n").partition(b": ")
        if name == b"" and fields.get(b"event") == b"prediction":
            data = json.loads(fields[b"data"])
            assert str(data["id"]).encode() == fields[b"id"]
            return data
        fields[name] = value
    raise AssertionError("the stream ended")


def test_a_stream_of_lines_for_jq(
    service: Service, picture: bytes, follow: Callable[..., "subprocess.Popen[bytes]"]
) -> None:
    """One JSON object a line."""
    service.deploy("steady", guests.STEADY)
    made = service.show("steady", picture).json()["predictions"][0]
    stdout = follow(f"after={made['id'] - 1}", "-H", "Accept: application/x-ndjson").stdout
    assert stdout is not None

    assert b"\n" == stdout.readline()  # it has begun
    assert made == json.loads(stdout.readline())
