"""Hostile guests get errnos: no crash, no exception, no hang, and no byte written that may not be.

At least 100,000 calls; scripts/conformance --fuzz-calls makes more.
"""

from random import Random

import pytest

from tests.wasi_nn.conformance.driver import Violation, paths
from tests.wasi_nn.conformance.nets import nets
from tests.wasi_nn.fuzz.child import fuzz
from tests.wasi_nn.fuzz.values import U32, number, spoil
from tests.wasi_nn.fuzz.world import Call, Complaints, Poke, World


@pytest.mark.parametrize(
    ("net", "calls"),
    [("fake", 70_000), ("quantised", 30_000), ("onnx", 5_000), ("openvino", 5_000),
     ("tflite", 5_000)],
)  # fmt: skip
def test_fuzz(net: str, calls: int, capfd: pytest.CaptureFixture[str]) -> None:
    """Every call is answered with a documented errno and changes only what it may."""
    outcome = fuzz(net, calls=calls)
    with capfd.disabled():
        print("\n" + outcome.summary)  # noqa: T201, counts are asked for

    assert outcome.is_good, outcome.told


def test_sees_a_write_out_of_place(monkeypatch: pytest.MonkeyPatch) -> None:
    """A host that writes one byte too many is found out."""
    from tests.wasi_nn.conformance.dialects import W1
    from wasi_nn.memory import GuestMemory

    world = World(W1, nets()["fake"], next(iter(paths())), Complaints())
    world.do(Poke(64, b"scale"))
    honest = GuestMemory.write_u32

    def write_five(memory: GuestMemory, pointer: int, value: int, what: str) -> None:
        honest(memory, pointer, value, what)
        memory.window(pointer, 5, what)[4] ^= 1

    monkeypatch.setattr(GuestMemory, "write_u32", write_five)
    with pytest.raises(Violation, match=r"wrote 1 bytes it may not, 132\.\.132"):
        world.do(Call("load_by_name", (64, 5, 128)))


def test_hears_complaints(monkeypatch: pytest.MonkeyPatch) -> None:
    """A host that swallows an exception and gives a documented errno is found out, too."""
    from tests.wasi_nn.conformance.dialects import W1
    from wasi_nn.registry import Registry

    complaints = Complaints()
    world = World(W1, nets()["fake"], next(iter(paths())), complaints)
    world.do(Poke(64, b"scale"))

    def surprised(*_arguments: object) -> None:
        raise KeyError("nobody expects this")

    monkeypatch.setattr(Registry, "load_named", surprised)
    log = complaints.attach()
    try:
        with pytest.raises(Violation, match="nobody expects this"):
            world.do(Call("load_by_name", (64, 5, 128)))
    finally:
        log.removeHandler(complaints)


def test_draws_edges() -> None:
    """Numbers stay u32 and reach both ends of memory."""
    drawn = {number(Random(seed), 0x20000) for seed in range(3000)}

    assert {0, U32, 0x80000000, 0x20000, 0x1FFFC} <= drawn
    assert min(drawn) >= 0
    assert max(drawn) <= U32


def test_spoils_in_place() -> None:
    """Spoiled bytes have the length they had."""
    assert {24} == {len(spoil(Random(seed), bytes(24), 0x20000)) for seed in range(100)}
