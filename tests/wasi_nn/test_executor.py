"""The direct executor computes at once, and the word that nobody waits any more is heard once."""

import time

import numpy as np
import pytest

from wasi_nn.backend import Encoding, Graph, GraphOptions
from wasi_nn.backends.fake import FakeBackend, model
from wasi_nn.errors import Busy, RuntimeFailure
from wasi_nn.executor import Cancellation, DirectExecutor, Spent, Ticket
from wasi_nn.tensor import TensorSpec, TensorType

X = TensorSpec("x", TensorType.F32, (None, 2))
ROWS = np.array([[1, 2]], np.float32)
# A monotonic clock is past this on any machine that is up, and will not reach the other.
PAST_S, FAR_S = 0.0, 1e12


def graph(**rest: object) -> Graph:
    """Load a model that doubles."""
    content = model([X], [X], "scale", factor=2.0, **rest)
    return FakeBackend().load([content], Encoding.ONNX, GraphOptions())


@pytest.mark.parametrize("deadline_s", [None, FAR_S], ids=["no-deadline", "far-deadline"])
def test_computes(deadline_s: float | None) -> None:
    """In time the answer is the graph's."""
    (output,) = DirectExecutor().run(graph(), [ROWS], Ticket(deadline_s=deadline_s))

    np.testing.assert_array_equal(2 * ROWS, output)


def test_deadline_has_passed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Work that is too late is not begun."""
    monkeypatch.setattr(time, "monotonic", lambda: 5.0)
    slow = graph(fail_on_run=1)
    with pytest.raises(Busy, match="deadline has passed"):
        DirectExecutor().run(slow, [ROWS], Ticket(deadline_s=5.0))

    with pytest.raises(RuntimeFailure, match="run 1, as told"):
        DirectExecutor().run(slow, [ROWS], Ticket(deadline_s=5.1))


def test_who_asks_is_told_what_was_spent() -> None:
    """Each compute adds to it, a failed one, too; nothing waits in a queue."""
    spent = Spent()
    DirectExecutor().run(graph(), [ROWS], Ticket(spent=spent))
    first_s = spent.compute_s
    with pytest.raises(RuntimeFailure, match="as told"):
        DirectExecutor().run(graph(fail_on_run=1), [ROWS], Ticket(spent=spent))

    assert spent.compute_s > first_s > 0.0
    assert 0.0 == spent.queue_s


def test_failures_come_through() -> None:
    """What the graph raises is the caller's."""
    with pytest.raises(RuntimeFailure, match="as told"):
        DirectExecutor().run(graph(fail_on_run=1), [ROWS], Ticket())


def test_cancellation_is_heard_once() -> None:
    """A listener is called when the caller goes, and once only."""
    heard: list[str] = []
    cancellation = Cancellation()
    cancellation.listen(lambda: heard.append("gone"))
    assert not cancellation.is_cancelled
    cancellation.cancel()
    cancellation.cancel()

    assert cancellation.is_cancelled
    assert ["gone"] == heard


def test_late_listener_is_called_at_once() -> None:
    """Who begins to listen after the word was said is told it then."""
    heard: list[str] = []
    cancellation = Cancellation()
    cancellation.cancel()
    cancellation.listen(lambda: heard.append("gone"))

    assert ["gone"] == heard


def test_stopped_listening() -> None:
    """Who stopped listening is not told."""
    heard: list[str] = []
    cancellation = Cancellation()
    cancellation.listen(lambda: heard.append("gone"))
    cancellation.listen(None)
    cancellation.cancel()

    assert [] == heard


def test_nobody_waits() -> None:
    """Work whose caller has gone is not begun."""
    cancellation = Cancellation()
    cancellation.cancel()
    with pytest.raises(Busy, match="nobody waits"):
        DirectExecutor().run(graph(), [ROWS], Ticket(cancellation=cancellation))
