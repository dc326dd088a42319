"""How a session computes: what is kept, what is copied, and what a failure leaves."""

from collections.abc import Sequence

import numpy as np
import pytest

from tests.wasi_nn.box import FAILS, PAIR, Box, computed, loaded, tensor
from wasi_nn.backend import Graph
from wasi_nn.errors import (
    EndOfSequence,
    InvalidArgument,
    RuntimeFailure,
)
from wasi_nn.executor import DirectExecutor, Ticket
from wasi_nn.session import Session
from wasi_nn.tensor import Array, Tensor, TensorType


@pytest.fixture
def box() -> Box:
    return Box()


# ----------------------------------------------------------------------------------- computing


def test_computes(box: Box) -> None:
    """Input, compute, output."""
    session = box.session()

    np.testing.assert_array_equal([[3, 5]], session.get_output(computed(session, 1, 2), 0))
    assert session.computes == 1


def test_set_input_copies(box: Box) -> None:
    """What the guest does to its buffer afterwards changes nothing, and the buffer is let go."""
    session = box.session()
    context = session.init_execution_context(loaded(session))
    content = bytearray(np.array([[1, 2]], np.float32).tobytes())
    session.set_input(context, 0, Tensor(TensorType.F32, (1, 2), memoryview(content)))
    content[:] = bytes(8)
    content.extend(b"raises BufferError if anyone still holds a view")
    session.compute(context)

    np.testing.assert_array_equal([[3, 5]], session.get_output(context, 0))


def test_input_buffer_is_reused(box: Box) -> None:
    """Frames of one size go into one buffer; another size gets another."""
    session = box.session()
    context = session.init_execution_context(loaded(session))
    first = session.input_buffer(context, 0, (1, 2))

    assert first is session.input_buffer(context, 0, (1, 2))
    assert (3, 2) == session.input_buffer(context, 0, (3, 2)).shape


def test_inputs_stay(box: Box) -> None:
    """A second compute uses the inputs that are there, with what was replaced."""
    session = box.session()
    context = session.init_execution_context(loaded(session, PAIR))
    session.set_input(context, 1, tensor([1, 2]))
    session.set_input(context, 0, tensor([10, 20]))
    session.compute(context)
    session.set_input(context, 0, tensor([30, 40]))
    session.compute(context)

    np.testing.assert_array_equal([[31, 42]], session.get_output(context, 0))
    np.testing.assert_array_equal([[29, 38]], session.get_output(context, 1))


def test_missing_inputs_are_named(box: Box) -> None:
    """A compute without all inputs tells which are missing and what they want."""
    session = box.session()
    context = session.init_execution_context(loaded(session, PAIR))
    session.set_input(context, 0, tensor([1, 2]))
    with pytest.raises(InvalidArgument, match=r"compute: input 1 \(y: f32 \(\?, 2\)\) is not set"):
        session.compute(context)


def test_refused_compute_keeps_the_outputs(box: Box) -> None:
    """A compute that never began leaves what the last one gave."""
    session = box.session(tensor_bytes=16)
    context = computed(session, 1, 2)
    with pytest.raises(InvalidArgument, match="8 bytes held"):
        session.set_input(context, 0, tensor([1, 2], [3, 4], [5, 6]))
    with pytest.raises(InvalidArgument, match="is not set"):
        session.compute(context)

    np.testing.assert_array_equal([[3, 5]], session.get_output(context, 0))


def test_failed_compute_leaves_no_outputs(box: Box) -> None:
    """After a failure the previous answer is not taken for the new one."""
    session = box.session()
    context = computed(session, 1, 2, content=FAILS)
    session.set_input(context, 0, tensor([13, 0]))
    with pytest.raises(RuntimeFailure, match="fails on 13"):
        session.compute(context)
    with pytest.raises(RuntimeFailure, match="nothing is computed yet"):
        session.get_output(context, 0)

    assert session.computes == 1


@pytest.mark.parametrize("index", [1, 2**32 - 1])
def test_indices(box: Box, index: int) -> None:
    """Inputs and outputs that the model has not are refused."""
    session = box.session()
    context = computed(session, 1, 2)
    with pytest.raises(InvalidArgument, match=f"input index: got {index}, wanted 0..0"):
        session.set_input(context, index, tensor([1, 2]))
    with pytest.raises(InvalidArgument, match=f"output index: got {index}, wanted 0..0"):
        session.get_output(context, index)


def test_output_before_compute(box: Box) -> None:
    """There is nothing to fetch before the first compute."""
    session = box.session()
    context = session.init_execution_context(loaded(session))
    with pytest.raises(RuntimeFailure, match="nothing is computed yet; call compute first"):
        session.get_output(context, 0)


def test_misfit_is_named(box: Box) -> None:
    """A tensor that does not fit is refused with the call, got and wanted."""
    session = box.session()
    context = session.init_execution_context(loaded(session))
    with pytest.raises(InvalidArgument, match=r"set_input 0: got f32 \(1, 3\), wanted f32 \(\?, 2"):
        session.set_input(context, 0, tensor([1, 2, 3]))


def test_executor_gets_the_ticket(box: Box) -> None:
    """Every compute goes through the executor, on behalf of whom the ticket says."""
    seen: list[tuple[int, Ticket]] = []

    class Recorder:
        def run(self, graph: Graph, inputs: Sequence[Array], ticket: Ticket) -> list[Array]:
            seen.append((len(inputs), ticket))
            return DirectExecutor().run(graph, inputs, ticket)

    session = Session(box.registry, Recorder())
    session.ticket = Ticket("app", priority=2)
    computed(session, 1, 2)

    assert [(1, Ticket("app", priority=2))] == seen


# ------------------------------------------------------------------------------------- streams


def test_stream_of_one_step(box: Box) -> None:
    """An ordinary model gives all in the first step, then the end, until it is rewound."""
    session = box.session()
    context = session.init_execution_context(loaded(session))
    session.set_input(context, 0, tensor([1, 2]))
    for _ in range(2):
        session.compute_single(context)
        with pytest.raises(EndOfSequence, match="whole output in one step"):
            session.compute_single(context)
        session.fini_single(context)

    np.testing.assert_array_equal([[3, 5]], session.get_output_single(context, 0))
    assert session.computes == 2


def test_failed_step_may_be_repeated(box: Box) -> None:
    """A step that failed was none."""
    session = box.session()
    context = session.init_execution_context(loaded(session))
    with pytest.raises(InvalidArgument, match="is not set"):
        session.compute_single(context)
    session.set_input(context, 0, tensor([1, 2]))
    session.compute_single(context)

    assert session.computes == 1


def test_no_step_yet(box: Box) -> None:
    """Before the first step the output is empty."""
    session = box.session()
    context = session.init_execution_context(loaded(session))

    assert session.get_output_single(context, 0).nbytes == 0
