"""Real wasm guests of every dialect get the answers that specification and peers agree on."""

import pytest

from tests.wasi_nn.conformance.suite import CASES, Run, runs


@pytest.mark.parametrize("run", list(runs()), ids=str)
def test_case(run: Run) -> None:
    """Every answer of the case is the expected one."""
    answers = run.play()

    assert [] == [answer for answer in answers if not answer.is_right]
    assert answers, "a case that asks nothing proves nothing"


def test_ids_are_unique() -> None:
    """A case can be named."""
    assert len(CASES) == len({case.id for case in CASES})
