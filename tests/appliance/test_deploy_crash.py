"""A power cut in the middle of a change, at every step of it."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from appliance import files
from appliance.deploying.stages import Stage
from appliance.errors import ApplianceError, Conflict
from appliance.records import Frame
from appliance.standings import AppState
from tests.appliance.deploybench import Bench, deploy, restarted
from tests.appliance.workshop import Workshop

CHANGES = {
    "deploy": lambda bench: deploy(bench, "3"),
    "rollback": lambda bench: bench.deployer.rollback("cat"),
    "disable": lambda bench: bench.deployer.disable("cat"),
    "delete": lambda bench: bench.deployer.delete("cat"),
}


class PowerCut(BaseException):
    """No code of ours runs after it."""


@pytest.mark.parametrize("change", CHANGES)
def test_a_power_cut_at_any_step_leaves_a_whole_app(
    workshop: Workshop, tmp_path: Path, frame: Frame, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    """Cut before each change of the disk in turn: old or new, disabled or gone, never broken."""
    outcomes = set()
    for step in range(80):
        folder = tmp_path / str(step)
        bench = restarted(workshop, folder)
        deploy(bench, "1")
        deploy(bench, "2")
        is_done = _cut_at(step, monkeypatch, lambda bench=bench: CHANGES[change](bench))
        bench.table.close()

        again = restarted(workshop, folder)
        assert [] == list(folder.rglob(".tmp-*"))
        outcome = _outcome(again, frame)
        outcomes.add(outcome)
        assert _reasons(again) <= ({"interrupted by a restart; try again"} if outcome == "2"
                                   else set())  # fmt: skip
        assert _live(again) == _on_record(again)
        again.table.close()
        if is_done:
            break

    wanted = {"deploy": "3", "rollback": "1", "disable": "disabled", "delete": "gone"}
    assert {"2", wanted[change]} == outcomes
    assert is_done


def _cut_at(step: int, monkeypatch: pytest.MonkeyPatch, change: Callable[[], object]) -> bool:
    """Let the power go before the step-th change of the disk. Returns: whether all was done."""
    left = [step]

    def counted(real: Callable[..., object]) -> Callable[..., object]:
        def call(*args: object, **rest: object) -> object:
            if left[0] == 0:
                raise PowerCut
            left[0] -= 1
            return real(*args, **rest)

        return call

    with monkeypatch.context() as patch:
        for owner, name in (
            (Path, "rename"), (Path, "replace"), (Path, "unlink"), (Path, "mkdir"), (os, "utime"),
            (files.shutil, "rmtree"), (os, "write"), (os, "fsync"),
        ):  # fmt: skip
            patch.setattr(owner, name, counted(getattr(owner, name)))
        try:
            change()
        except PowerCut:
            return False
    return True


def _reasons(bench: Bench) -> set[str]:
    return {failure.reason for failure in bench.deployer.failures()}


def _live(bench: Bench) -> list[str]:
    return [s.version for s in bench.deployer.standings() if s.state is AppState.LIVE]


def _on_record(bench: Bench) -> list[str]:
    """Give what is live by the journal; nothing is under way, and what failed left no files."""
    history = bench.deployer.history("cat")
    assert [] == [entry for entry in history if entry.is_under_way]
    failed = {entry.version for entry in history if entry.stage is Stage.FAILED}
    others = {entry.version for entry in history if entry.stage is not Stage.FAILED}
    assert set() == (failed - others) & {v.version for v in bench.deployer.versions("cat")}
    return [entry.version for entry in history if entry.stage is Stage.LIVE]


def _outcome(bench: Bench, frame: Frame) -> str:
    try:
        (text,) = bench.labels("cat", frame)
    except Conflict:
        return "disabled"
    except ApplianceError:
        return "gone"
    return text.decode().split('"')[3]
