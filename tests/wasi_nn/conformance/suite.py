"""All cases, and how one is played. Shared by the tests and by scripts/conformance."""

from collections.abc import Iterator
from dataclasses import dataclass

from tests.wasi_nn.conformance import (
    cases_compute,
    cases_lifetime,
    cases_load,
    cases_models,
    cases_names,
    cases_tensors,
)
from tests.wasi_nn.conformance.dialects import Dialect
from tests.wasi_nn.conformance.driver import Violation, paths
from tests.wasi_nn.conformance.nets import nets
from tests.wasi_nn.conformance.table import Answer, Case, Rig

CASES: tuple[Case, ...] = (
    *cases_load.CASES, *cases_names.CASES, *cases_compute.CASES, *cases_tensors.CASES,
    *cases_lifetime.CASES, *cases_models.CASES,
)  # fmt: skip


@dataclass(frozen=True)
class Run:
    """A case, asked of one backend through one dialect, by one kind of host function."""

    case: Case
    dialect: Dialect
    net: str
    path: str

    def __str__(self) -> str:
        return f"{self.case.id}-{self.dialect.id}-{self.net}-{self.path}"

    def play(self) -> tuple[Answer, ...]:
        """Ask. Returns: what was asked, and whether the host kept its general promises."""
        rig = Rig(self.dialect, nets()[self.net], paths()[self.path])
        try:
            with rig.driver.open():
                self.case.play(rig)
        except Violation as exc:
            rig.answers.append(Answer(str(exc), "no violation", "a violation"))
        return tuple(rig.answers)


def runs() -> Iterator[Run]:
    """List every case with its dialects and backends.

    The slow public path serves the fake only: it does not see what computes.
    """
    fast = [path for path in paths() if path == "fast"] or ["public"]
    for case in CASES:
        for net in case.nets:
            for path in sorted({*fast, "public"}) if net == "fake" else fast:
                for dialect in case.dialects:
                    yield Run(case, dialect, net, path)
