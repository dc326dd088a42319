"""The README's lines, run as a reader would paste them; only the state folder is another."""

import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from appliance.manifests import parse_app_manifest
from appliance.settings import load_settings
from appliance.trust.grants import grants_of

ROOT = Path(__file__).parents[1]
# Only ever reached by a failure.
_WAIT_S = 120


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block. language: what stands behind the fence."""

    language: str
    text: str


def blocks_of(section: str) -> list[Block]:
    """Take the fenced blocks of a section."""
    readme = (ROOT / "README.md").read_text("utf-8")
    (body,) = re.findall(rf"^## {section}\n(.*?)^## ", readme, re.MULTILINE | re.DOTALL)
    found = re.findall(r"^```(\w*)\n(.*?)^```$", body, re.MULTILINE | re.DOTALL)
    return [Block(language, text) for language, text in found]


@pytest.fixture(scope="module")
def environment() -> Iterator[dict[str, str]]:
    """What a reader's shell has, and a folder of our own in the variable that the README uses."""
    with tempfile.TemporaryDirectory(prefix="box-", dir="/tmp") as folder:
        # As in an activated environment: `python` is the one that the package is installed in.
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        yield {**os.environ, "BOX": f"{folder}/box", "PATH": path}


@contextmanager
def running(block: Block, environment: dict[str, str]) -> Iterator["subprocess.Popen[str]"]:
    """Run what goes on until Ctrl-C, in a terminal of its own."""
    process = subprocess.Popen(
        ["bash", "-c", block.text], cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True,
        stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    guard = threading.Timer(_WAIT_S, process.kill)
    guard.start()
    try:
        yield process
    finally:
        guard.cancel()
        guard.join()
        os.killpg(process.pid, signal.SIGINT)
        process.communicate(timeout=_WAIT_S)


def run(block: Block, environment: dict[str, str]) -> str:
    """Run a block to its end and give what it printed; every line of it must succeed."""
    command = ["python", "-c"] if block.language == "python" else ["bash", "-euo", "pipefail", "-c"]
    done = subprocess.run(
        [*command, block.text], cwd=ROOT, env=environment, capture_output=True, check=False,
        timeout=_WAIT_S,
    )  # fmt: skip
    told = done.stdout.decode("utf-8", "replace")
    assert done.returncode == 0, f"{block.text}\n{told}\n{done.stderr.decode()}"
    return told


def until(process: "subprocess.Popen[str]", words: str) -> str:
    """Read what a process prints up to a line with these words."""
    assert process.stdout is not None
    for line in process.stdout:
        if words in line:
            return line
    raise AssertionError(f"it ended without {words!r}")


@pytest.fixture(scope="module")
def box(environment: dict[str, str]) -> Iterator[str]:
    """The box of "Use it", with the classifier; gives what its inbox said of that."""
    serve, drop = blocks_of("Use it")
    with running(serve, environment) as process:
        until(process, "listening on ")
        yield run(drop, environment)


def test_use_it(box: str) -> None:
    """The classifier that was dropped is live."""
    assert '"state": "live"' in box


def test_query_it(box: str, environment: dict[str, str]) -> None:
    """Every block, in order; the stream shows what the others send."""
    follow, *others = blocks_of("Query it")
    with running(follow, environment) as stream:
        told = [run(block, environment) for block in others]
        event = until(stream, "data: ")

    curl, inference, client, triton = told
    assert '"label":' in event
    assert [] == [word for word in EXPECTED if word not in curl]
    assert inference.startswith('{"label":"espresso"')
    assert client.startswith("missile ")
    assert "'label': 'missile'" in client.splitlines()[1]
    assert "espresso" in triton


def test_who_may_do_what(box: str, environment: dict[str, str], tmp_path: Path) -> None:
    """What an app asks for is granted by the settings beside it; a signed app shows who."""
    manifest, settings, sign = blocks_of("Who may do what")
    (tmp_path / "settings.toml").write_text(settings.text)
    asked = parse_app_manifest(manifest.text.encode(), default_name="archiver")
    grants = grants_of(asked, load_settings(state=tmp_path).policy)

    assert ["/photos", "/results"] == [folder.guest for folder in grants.folders]
    assert {"SITE": "berlin"} == grants.env
    assert "vendor (" in run(sign, environment)


EXPECTED = (
    "Egyptian cat", '"label":"espresso"', "next_before", "id,app,", "buckets",
    "nv_inference_request_success{",
)  # fmt: skip
