"""Messages between the box and a worker: whole, bounded, and never trusted."""

import os
from collections.abc import Iterator
from socket import socket
from typing import Any

import pytest

from appliance.isolation import wire
from wasi_nn.backend import Device, GraphOptions, Objective
from wasi_nn.errors import Busy, InvalidArgument, NNError, NotFound, RuntimeFailure
from wasi_nn.tensor import Quantization, TensorSpec, TensorType


@pytest.fixture
def ends() -> Iterator[tuple[socket, socket]]:
    """Both ends of a connection."""
    ours, theirs = wire.pair()
    with ours, theirs:
        yield ours, theirs


def test_a_message_comes_whole_with_its_descriptors(ends: tuple[socket, socket]) -> None:
    """The descriptor is another number for the same file."""
    sent, other = os.pipe()
    wire.send(ends[0], {"open": True}, [sent])
    message, (received,) = wire.receive(ends[1])
    os.write(other, b"x")

    assert ({"open": True}, b"x") == (message, os.read(received, 1))
    for descriptor in (sent, other, received):
        os.close(descriptor)


def test_when_the_other_side_goes_it_is_the_end(ends: tuple[socket, socket]) -> None:
    """Not an empty message."""
    ends[1].close()

    with pytest.raises(EOFError):
        wire.receive(ends[0])


@pytest.mark.parametrize(
    "packet", [b"{", b"[]", b"null", b"\xff", b"[" * 100_000], ids=lambda p: repr(p[:4])
)
def test_nonsense_is_refused(ends: tuple[socket, socket], packet: bytes) -> None:
    """However it is wrong."""
    ends[1].send(packet)

    with pytest.raises(ValueError, match=r"Expecting|no object|can't decode|without end"):
        wire.receive(ends[0])


SPEC = TensorSpec("x", TensorType.U8, (None, 3), Quantization(0.5, -3))


@pytest.mark.parametrize("spec", [SPEC, TensorSpec("", TensorType.F32, ())], ids=str)
def test_a_spec_survives(spec: TensorSpec) -> None:
    """Written and read it is the same."""
    assert spec == wire.spec_from_json(wire.spec_to_json(spec))


@pytest.mark.parametrize(
    "change",
    [
        {"name": 1}, {"type": "f99"}, {"shape": [-1]}, {"shape": [True]}, {"shape": [1] * 17},
        {"shape": "3"}, {"quantization": [0.0, 1]}, {"quantization": [1.0]},
        {"quantization": [10**400, 0]},
    ],
    ids=str,
)  # fmt: skip
def test_what_is_no_spec_is_refused(change: dict[str, Any]) -> None:
    """A worker may say anything."""
    with pytest.raises(ValueError, match=r"not an? |not a valid"):
        wire.spec_from_json({**wire.spec_to_json(SPEC), **change})


@pytest.mark.parametrize(
    ("error", "wanted"),
    [
        (InvalidArgument("input 0: wrong"), InvalidArgument),
        (Busy("full"), Busy),
        (NotFound("an errno that no run gives"), RuntimeFailure),
    ],
    ids=["argument", "busy", "other"],
)
def test_an_error_keeps_its_kind_and_sentence(error: NNError, wanted: type[NNError]) -> None:
    """What no backend raises is a failure of the runtime."""
    read = wire.error_from_json(wire.error_to_json(error))

    assert (wanted, str(error)) == (type(read), str(read))


@pytest.mark.parametrize(
    "value", [None, [], {"kind": "SystemExit", "sentence": "x"}, {"kind": "Busy"}], ids=str
)
def test_an_error_that_is_none_is_one_all_the_same(value: Any) -> None:
    """It failed and did not say how."""
    assert "did not say how" in str(wire.error_from_json(value))


def test_options_survive() -> None:
    """Written and read they are the same."""
    options = GraphOptions(Device.GPU, 3, True, Objective.LATENCY)

    assert options == wire.options_from_json(wire.options_to_json(options))
