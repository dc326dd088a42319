"""A whole box with a model of the operator's: it computes in its own process, which may die."""

import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

from appliance.shipped import classifier_folder, models_folder
from tests.appliance.service import Service

CLASSIFIER = (classifier_folder() / "classifier.wasm").read_bytes()
MANIFEST = b'[env]\nMODEL = "mine"\n'


def workers_of(service: Service) -> list[int]:
    """List the processes that hold a model, of any service's; each test has one box."""
    found = []
    for folder in Path("/proc").iterdir():
        try:
            command = (folder / "cmdline").read_bytes() if folder.name.isdigit() else b""
            parent = (folder / "stat").read_text().rpartition(")")[2].split()[1] if command else ""
        except (FileNotFoundError, ProcessLookupError):
            continue
        if b"appliance.isolation.worker" in command and int(parent) == service.pid:
            found.append(int(folder.name))
    return found


def is_over(pid: int) -> bool:
    """Whether nothing of a killed process is left but its status."""
    folder = Path(f"/proc/{pid}")
    # A zombie's first thread is one before the others have ended.
    return len(os.listdir(folder / "task")) == 1 and " Z " in (folder / "stat").read_text()


def test_a_foreign_models_process_may_die(state: Path, read_sample: Callable[[str], bytes]) -> None:
    """The box goes on, and the next picture is answered by another process."""
    shutil.copytree(models_folder() / "efficientnet-lite0", state / "models" / "mine")
    manifest = state / "models" / "mine" / "1" / "model.toml"
    manifest.write_text(manifest.read_text().replace('"efficientnet-lite0"', '"mine"'))
    coffee = read_sample("coffee.jpg")
    with Service(state) as service:
        assert 200 == service.deploy("classifier", CLASSIFIER, MANIFEST).status_code
        before = service.labels("classifier", coffee)
        (worker,) = workers_of(service)
        os.kill(worker, signal.SIGKILL)
        while not is_over(worker):
            os.sched_yield()

        assert ["espresso"] == before == service.labels("classifier", coffee)
        assert [worker] != workers_of(service)


def test_our_own_models_need_no_process(state: Path, read_sample: Callable[[str], bytes]) -> None:
    """They are known not to crash a runtime."""
    with Service(state) as service:
        assert 200 == service.deploy("classifier", CLASSIFIER, b"").status_code

        assert ["espresso"] == service.labels("classifier", read_sample("coffee.jpg"))
        assert [] == workers_of(service)
