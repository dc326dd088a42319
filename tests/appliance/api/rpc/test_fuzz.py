"""Bytes that no client would send, over a raw channel: refused, never a bug, never a wedge."""

import itertools
import socket
from collections.abc import Iterator

import grpc
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from appliance.api.rpc.descriptors import INFERENCE
from appliance.api.rpc.schema import MESSAGES, SERVICE
from tests.appliance import watguests as guests
from tests.appliance.service import Service
from tests.appliance.workshop import png

PATIENCE_S = 60
BUGS = {
    grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN, grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.DATA_LOSS,
}  # fmt: skip
METHODS = sorted(name.removesuffix("Request") for name in MESSAGES if name.endswith("Request"))


def _requests() -> Iterator[bytes]:
    """Good requests of every kind, for the fuzz to spoil."""
    for model, datatype, shape, raw in (
        ("steady", "BYTES", [1], len(png()).to_bytes(4, "little") + png()),
        ("efficientnet-lite0", "FP32", [1, 3, 2, 2], bytes(48)),
        ("efficientnet-lite0", "BYTES", [1], len(png()).to_bytes(4, "little") + png()),
    ):
        message = INFERENCE["ModelInferRequest"](model_name=model, id="1")
        message.inputs.add(name="image", datatype=datatype, shape=shape)
        message.raw_input_contents.append(raw)
        message.parameters["priority"].uint64_param = 1
        message.parameters["timeout"].int64_param = 10_000_000
        message.outputs.add(name="logits").parameters["classification"].int64_param = 2
        yield message.SerializeToString()
        del message.raw_input_contents[:]
        message.inputs[0].contents.fp32_contents.extend([1.0] * 12)
        yield message.SerializeToString()
        message.inputs[0].parameters["shared_memory_region"].string_param = "r"
        message.inputs[0].parameters["shared_memory_byte_size"].int64_param = 9
        yield message.SerializeToString()


GOOD = tuple(_requests())


@st.composite
def spoiled(draw: st.DrawFn) -> bytes:
    """A good request with some bytes changed, cut out, or put in."""
    content = bytearray(draw(st.sampled_from(GOOD)))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(content)))
        gone = draw(st.integers(0, 8))
        content[at : at + gone] = draw(st.binary(max_size=8))
    return bytes(content)


@pytest.fixture(scope="module")
def channel(service: Service, url: str) -> Iterator[grpc.Channel]:
    """A raw channel to a box with an app."""
    assert service.deploy("steady", guests.STEADY).status_code == 200
    with grpc.insecure_channel(url) as opened:
        yield opened


def call(channel: grpc.Channel, method: str, sent: bytes) -> tuple[grpc.StatusCode, str]:
    """Call a method with these bytes. Returns: how it ended, and the sentence."""
    try:
        channel.unary_unary(f"/{SERVICE}/{method}")(sent, timeout=PATIENCE_S)
    except grpc.RpcError as exc:
        return exc.code(), exc.details() or ""
    return grpc.StatusCode.OK, ""


@given(sent=spoiled())
@settings(
    max_examples=300, deadline=None, derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)  # fmt: skip
def test_a_spoiled_inference_is_refused_or_answered(
    channel: grpc.Channel, service: Service, sent: bytes
) -> None:
    """With a status that blames no one here, and without a path of the machine."""
    code, sentence = call(channel, "ModelInfer", sent)

    assert code not in BUGS, sentence
    assert str(service.state.parent) not in sentence


@given(method=st.sampled_from(METHODS), sent=st.binary(max_size=60))
@settings(max_examples=150, deadline=None, derandomize=True)
def test_any_bytes_to_any_method(channel: grpc.Channel, method: str, sent: bytes) -> None:
    """Each reads its own message."""
    code, sentence = call(channel, method, sent)

    assert code not in BUGS, sentence


@given(batch=st.lists(spoiled(), min_size=1, max_size=12))
@settings(max_examples=40, deadline=None, derandomize=True)
def test_a_spoiled_stream_answers_each_request(channel: grpc.Channel, batch: list[bytes]) -> None:
    """As many answers as requests, however bad they were."""
    stream = channel.stream_stream(f"/{SERVICE}/ModelStreamInfer")

    answers = list(stream(iter(batch), timeout=PATIENCE_S))

    assert len(batch) == len(answers)


def test_a_name_of_a_megabyte_is_refused_in_a_sentence(channel: grpc.Channel) -> None:
    """It does not come back whole: metadata is bounded, and the status must arrive."""
    message = INFERENCE["ModelInferRequest"](model_name="steady")
    message.inputs.add(name="x" * 10**6, datatype="FP32", shape=[-1])

    code, sentence = call(channel, "ModelInfer", message.SerializeToString())

    assert grpc.StatusCode.INVALID_ARGUMENT is code
    assert len(sentence) <= 1000


def test_a_compressed_bomb_is_refused(channel: grpc.Channel) -> None:
    """The bound counts what it becomes: 40 MB of zeros are 40 KB on the line."""
    infer = channel.unary_unary(f"/{SERVICE}/ModelInfer")
    with pytest.raises(grpc.RpcError) as refused:
        infer(bytes(40_000_000), timeout=PATIENCE_S, compression=grpc.Compression.Gzip)

    assert grpc.StatusCode.RESOURCE_EXHAUSTED is refused.value.code()


@pytest.mark.parametrize(
    "path",
    [
        pytest.param("/inference.GRPCInferenceService/Nothing", id="method"),
        pytest.param("/nothing.Service/ModelInfer", id="service"),
        pytest.param("/grpc.health.v1.Health/Watch", id="health watch"),
    ],
)
def test_what_is_not_there_is_unimplemented(channel: grpc.Channel, path: str) -> None:
    """By gRPC's own status."""
    with pytest.raises(grpc.RpcError) as refused:
        channel.unary_unary(path)(b"", timeout=PATIENCE_S)

    assert grpc.StatusCode.UNIMPLEMENTED is refused.value.code()


@pytest.mark.parametrize(
    "sent",
    [
        pytest.param(b"GET / HTTP/1.1\r\nHost: box\r\n\r\n", id="HTTP/1.1"),
        pytest.param(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(range(256)) * 8, id="frames"),
        pytest.param(bytes(4096), id="zeros"),
    ],
)
def test_what_is_no_grpc_ends_its_connection_only(
    service: Service, channel: grpc.Channel, sent: bytes
) -> None:
    """Others do not notice."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as raw:
        raw.settimeout(PATIENCE_S)
        raw.connect(f"{service.state}/run/grpc.sock")
        raw.sendall(sent)
        raw.shutdown(socket.SHUT_WR)
        with_end = list(itertools.takewhile(bool, iter(lambda: raw.recv(4096), b"")))

    assert len(with_end) < 100
    assert grpc.StatusCode.OK is call(channel, "ServerLive", b"")[0]


def test_after_all_that_the_box_is_well(service: Service, channel: grpc.Channel) -> None:
    """It answers, over both sockets, and its log has no traceback."""
    assert (grpc.StatusCode.OK, "") == call(channel, "ServerReady", b"")
    assert 200 == service.http.get("/healthz").status_code
    assert "Traceback" not in service.log.read_text()
