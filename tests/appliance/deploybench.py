"""A deployer over a folder, and what its guests answer."""

from pathlib import Path
from typing import Any

from appliance.apps import AppTable
from appliance.deploy import Deployer
from appliance.marking import Guard
from appliance.records import Frame
from tests.appliance import watguests as guests
from tests.appliance.workshop import Workshop, bundle


class Bench:
    """A deployer over a folder, as one run of the box has it."""

    def __init__(
        self, workshop: Workshop, folder: Path, guard: Guard | None = None, **rest: Any
    ) -> None:
        self.folder = folder / "apps"
        self.table = AppTable()
        self.deployer = Deployer(
            self.folder, workshop.host, workshop.compiler, self.table,  # type: ignore[arg-type]
            scratch=folder, instances=2, clock=lambda: 1000.0, guard=guard, **rest,
        )  # fmt: skip

    def labels(self, name: str, frame: Frame) -> tuple[bytes, ...]:
        with self.table.using(name) as app:
            return app.runner.run(frame).outputs

    def files(self) -> set[str]:
        return {str(path.relative_to(self.folder)) for path in self.folder.rglob("*")}


def answer(label: str) -> tuple[bytes, ...]:
    return (b'{"label": "%s", "score": 0.5}' % label.encode(),)


def deploy(bench: Bench, label: str, name: str = "cat") -> str:
    return bench.deployer.deploy(bundle(guests.labelled(label)), name).version


def restarted(workshop: Workshop, folder: Path, guard: Guard | None = None, **rest: Any) -> Bench:
    again = Bench(workshop, folder, guard, **rest)
    again.deployer.restore()
    return again
