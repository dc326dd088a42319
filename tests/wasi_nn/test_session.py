"""What one guest owns: handles, lifetimes, names, and where its limits are."""

import numpy as np
import pytest

from tests.wasi_nn.box import CPU, ONNX, SCALE, Box, computed, loaded, tensor
from wasi_nn.backend import Device, Encoding
from wasi_nn.errors import (
    Busy,
    InvalidArgument,
    InvalidEncoding,
    NotFound,
    RuntimeFailure,
    UnsupportedOperation,
)
from wasi_nn.keeper import GraphKeeper
from wasi_nn.policy import Policy


@pytest.fixture
def box() -> Box:
    return Box()


# ------------------------------------------------------------------------------------- handles


def test_handles_count_from_zero(box: Box) -> None:
    """Graphs and contexts are numbered 0, 1, 2, each on their own."""
    session = box.session()

    assert [0, 1, 2] == [loaded(session) for _ in range(3)]
    assert [0, 1, 2] == [session.init_execution_context(graph) for graph in (2, 0, 2)]


def test_handles_are_never_used_twice(box: Box) -> None:
    """A handle that was given back stays dead, however many come after it."""
    session = box.session()
    for turn in range(50):
        assert (turn, turn) == (loaded(session), session.init_execution_context(turn))
        session.finalize_execution_context(turn)
        session.unload(turn)
    for turn in range(50):
        with pytest.raises(InvalidArgument, match=f"graph handle: got {turn}, none is open"):
            session.unload(turn)
        with pytest.raises(InvalidArgument, match=f"context handle: got {turn}, none is open"):
            session.context(turn)


def test_unknown_handles_name_the_known(box: Box) -> None:
    """A refusal tells which handles would have been right."""
    session = box.session()
    loaded(session)
    loaded(session)
    with pytest.raises(InvalidArgument, match=r"graph handle: got 9999, wanted one of \[0, 1\]"):
        session.init_execution_context(9999)


def test_failed_load_leaves_nothing(box: Box) -> None:
    """A load that fails takes no handle and holds no graph."""
    session = box.session()
    with pytest.raises(InvalidEncoding, match="fake model"):
        loaded(session, b"garbage")

    assert [] == box.references()
    assert loaded(session) == 0


def test_sessions_have_their_own_handles(box: Box) -> None:
    """Two guests share a graph and nothing else."""
    first, second = box.session(), box.session()

    assert [0, 0] == [loaded(first), loaded(second)]
    assert [2] == box.references()
    first.unload(0)
    assert second.init_execution_context(0) == 0


# ------------------------------------------------------------------------------------ lifetime


def test_context_keeps_its_graph(box: Box) -> None:
    """A graph is closed when it is unloaded and its last context is finalized."""
    session = box.session()
    context = computed(session, 1, 2)
    session.unload(0)
    assert box.backend.open_graphs == 1
    session.finalize_execution_context(context)

    assert box.backend.open_graphs == 0


def test_drain_after_unload(box: Box) -> None:
    """After `unload` a context gives what it has, and takes and computes no more."""
    session = box.session()
    context = computed(session, 1, 2)
    session.unload(0)

    np.testing.assert_array_equal([[3, 5]], session.get_output(context, 0))
    np.testing.assert_array_equal([[3, 5]], session.get_output_single(context, 0))
    session.fini_single(context)
    for refused in (session.compute, session.compute_single):
        with pytest.raises(InvalidArgument, match="its graph is unloaded; only drain it"):
            refused(context)
    with pytest.raises(InvalidArgument, match="its graph is unloaded"):
        session.set_input(context, 0, tensor([1, 2]))


def test_same_graph_under_another_handle_is_another(box: Box) -> None:
    """A context follows the handle it was made from, not the graph behind it."""
    session = box.session()
    context = computed(session, 1, 2)
    loaded(session)
    session.unload(0)

    with pytest.raises(InvalidArgument, match="its graph is unloaded"):
        session.compute(context)


def test_close_gives_everything_back(box: Box) -> None:
    """A session that ends leaves no graph open; a second close does nothing."""
    session = box.session()
    computed(session, 1, 2)
    session.load_by_name("pair")
    session.close()
    session.close()

    assert box.backend.open_graphs == 0
    assert "<Session [Graphs: 0 | Contexts: 0]>" == repr(session)


def test_keeper_outlives_the_session(box: Box) -> None:
    """What the app keeps stays loaded for its next instance."""
    keeper = GraphKeeper()
    for _ in range(2):
        session = box.session(keeper=keeper)
        loaded(session)
        session.load_by_name("pair")
        session.close()

    assert box.backend.loads == 2
    keeper.close()
    assert box.backend.open_graphs == 0


# --------------------------------------------------------------------------------------- names


def test_same_name_is_the_same_handle(box: Box) -> None:
    """A name gives its handle again until it is unloaded, then a fresh one."""
    session = box.session()
    assert [0, 1, 0] == [session.load_by_name(name) for name in ("scale", "pair", "scale")]
    session.unload(0)

    assert [1, 2, 2] == [session.load_by_name(name) for name in ("pair", "scale", "scale")]


def test_another_config_is_another_handle(box: Box) -> None:
    """Name and configuration together are what is known."""
    session = box.session()
    configs = [b"", b'{"num_threads": 1}', b"", b'{"num_threads": 1}']

    assert [0, 1, 0, 1] == [session.load_by_name("scale", config) for config in configs]


def test_known_name_needs_no_room(box: Box) -> None:
    """A guest at its limit may still name what it has."""
    session = box.session(graphs=1)
    session.load_by_name("scale")

    assert session.load_by_name("scale") == 0
    with pytest.raises(Busy, match="graphs: 1 are loaded, the app's limit; unload one"):
        session.load_by_name("pair")


def test_granted_names(box: Box) -> None:
    """An app sees the models it was granted, under the names it was given for them."""
    session = box.session(Policy(models={"default": "scale"}))

    assert session.load_by_name("default") == 0
    with pytest.raises(NotFound, match=r"model scale: not among this app's models \(default\)"):
        session.load_by_name("scale")


# -------------------------------------------------------------------------------------- limits


@pytest.mark.parametrize("count", [0, 3])
def test_number_of_builders(box: Box, count: int) -> None:
    """A model has at least one part, and not more than the limit."""
    with pytest.raises(InvalidArgument, match=f"got {count} builders, wanted 1..2"):
        box.session(builders=2).load([SCALE] * count, ONNX, CPU)


def test_model_size(box: Box) -> None:
    """A model over the limit is refused before it is looked at."""
    with pytest.raises(InvalidArgument, match=r"got a model of 20 bytes, wanted at most 19"):
        box.session(model_bytes=19).load([bytes(10), bytes(10)], ONNX, CPU)


def test_number_of_graphs(box: Box) -> None:
    """The limit counts what is loaded now."""
    session = box.session(graphs=2)
    loaded(session)
    loaded(session)
    with pytest.raises(Busy, match="graphs: 2 are loaded"):
        loaded(session)
    session.unload(0)

    assert loaded(session) == 2


def test_number_of_contexts(box: Box) -> None:
    """The limit counts what is open now."""
    session = box.session(contexts=2)
    graph = loaded(session)
    session.init_execution_context(graph)
    session.init_execution_context(graph)
    with pytest.raises(Busy, match="execution contexts: 2 are open"):
        session.init_execution_context(graph)
    session.finalize_execution_context(0)

    assert session.init_execution_context(graph) == 2


def test_input_bytes(box: Box) -> None:
    """Inputs count against the limit of tensors; a replaced input does not count twice."""
    session = box.session(tensor_bytes=16)
    context = session.init_execution_context(loaded(session))
    for rows in (1, 2, 1, 2):
        session.set_input(context, 0, tensor(*[[1, 2]] * rows))
    with pytest.raises(InvalidArgument, match=r"0 bytes held and 24 more wanted, .* limit is 16"):
        session.set_input(context, 0, tensor([1, 2], [3, 4], [5, 6]))


def test_what_memory_was_missing_for_is_not_held(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    """A guest that tries again when there is memory again has its whole limit."""
    session = box.session(tensor_bytes=16)
    context = session.init_execution_context(loaded(session))

    def refuse(*arguments: object) -> None:
        raise MemoryError

    with monkeypatch.context() as patched:
        patched.setattr(np, "empty", refuse)
        for _ in range(3):
            with pytest.raises(MemoryError):
                session.set_input(context, 0, tensor([1, 2], [3, 4]))
    session.set_input(context, 0, tensor([1, 2], [3, 4]))


def test_output_bytes(box: Box) -> None:
    """Outputs over the limit are dropped; there is nothing to fetch then."""
    session = box.session(tensor_bytes=15)
    context = session.init_execution_context(loaded(session))
    session.set_input(context, 0, tensor([1, 2]))
    with pytest.raises(InvalidArgument, match="8 bytes held and 8 more wanted"):
        session.compute(context)
    with pytest.raises(RuntimeFailure, match="nothing is computed"):
        session.get_output(context, 0)


def test_policy_is_asked(box: Box) -> None:
    """Devices and encodings that the app may not use are refused, by bytes and by name."""
    session = box.session(Policy(devices=frozenset({CPU}), encodings=frozenset({ONNX})))
    with pytest.raises(UnsupportedOperation, match="this app may use cpu"):
        session.load([SCALE], ONNX, Device.GPU)
    with pytest.raises(UnsupportedOperation, match="this app may load onnx"):
        session.load([SCALE], Encoding.OPENVINO, CPU)
    with pytest.raises(UnsupportedOperation, match="this app may use cpu"):
        session.load_by_name("scale", b'{"device": "gpu"}')


def test_fallback_is_the_operators(box: Box) -> None:
    """An absent device is refused, or computed elsewhere if the operator said so."""
    with pytest.raises(UnsupportedOperation, match="device npu: absent"):
        box.session().load([SCALE], ONNX, Device.NPU)

    assert box.session(Policy(allow_fallback=True)).load([SCALE], ONNX, Device.NPU) == 0


def test_repr_counts(box: Box) -> None:
    """A log line of a session tells how much it holds."""
    session = box.session()
    computed(session, 1, 2)

    assert "<Session [Graphs: 1 | Contexts: 1]>" == repr(session)
