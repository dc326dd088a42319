"""The command line without a process of its own, which would cost a second each time."""

import logging
import sys
from collections.abc import Callable, Iterator
from subprocess import CompletedProcess
from typing import Any

import pytest

from appliance.cli import main

Command = Callable[..., "CompletedProcess[bytes]"]


@pytest.fixture
def command(
    capfdbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Command]:
    """Run `appliance` with arguments, as `tests.appliance.service.appliance` does."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level

    def run(*arguments: Any) -> "CompletedProcess[bytes]":
        words = ["appliance", *map(str, arguments)]
        monkeypatch.setattr(sys, "argv", words)
        capfdbinary.readouterr()
        with pytest.raises(SystemExit) as end:
            main()
        stdout, stderr = capfdbinary.readouterr()
        return CompletedProcess(words, int(end.value.code or 0), stdout, stderr)

    yield run
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.captureWarnings(False)
