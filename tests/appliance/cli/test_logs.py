"""`appliance logs`: the box's log and an app's, their ends, and what comes."""

import json
import signal

import pytest

from appliance.cli.logs import newer
from tests.appliance import watguests as guests
from tests.appliance.cli.conftest import Command
from tests.appliance.cli.process import Process
from tests.appliance.service import Service

SAYS = guests.printing(b"a line \x1b[31mred", status=1, fd=2)


@pytest.mark.parametrize(
    ("found", "seen", "new"),
    [
        pytest.param("abc", "", "abc", id="first"),
        pytest.param("abc", "abc", "", id="nothing new"),
        pytest.param("abcde", "abc", "de", id="more"),
        pytest.param("cde", "abc", "de", id="the oldest are gone"),
        pytest.param("xyz", "abc", "xyz", id="begun anew"),
        pytest.param("aaaa", "aaa", "a", id="alike"),
        pytest.param("", "abc", "", id="emptied"),
    ],
)
def test_new_lines_are_found_by_what_overlaps(found: str, seen: str, new: str) -> None:
    """Not by time: the clock of a box may be set back."""
    assert new == newer(found, seen)


def test_what_an_app_says(command: Command, service: Service, picture: bytes) -> None:
    """Its lines, and nothing in them drives the terminal."""
    service.deploy("says", SAYS)
    service.show("says", picture)
    at = ("--state", service.state)

    told = command("logs", "says", *at).stdout.decode()
    assert "a line \\x1b[31mred" in told
    (line,) = command("logs", "says", "--json", "-n", 1, *at).stdout.splitlines()
    assert "a line \x1b[31mred" == json.loads(line)["text"]
    assert b"" == command("logs", "says", "-n", 0, *at).stdout
    assert b"" == command("logs", "says", "--level", "error", *at).stdout


def test_what_the_box_says(command: Command, service: Service) -> None:
    """Its deploys, for one."""
    service.deploy("boxlog", guests.STEADY)

    told = command("logs", "--lines", 5, "--state", service.state).stdout.decode()
    assert "deployed app=boxlog" in told


def test_an_app_that_is_not_there_is_named(command: Command, service: Service) -> None:
    """In the box's words, with status 1."""
    done = command("logs", "nobody", "--state", service.state)

    assert 1 == done.returncode
    assert b"app nobody" in done.stderr


def test_followed_through_a_restart(service: Service) -> None:
    """What is there, what comes, and that the box was away; Ctrl-C ends it quietly."""
    service.deploy("before", guests.STEADY)
    with Process("logs", "--follow", "--state", service.state) as logs:
        assert "deployed app=before" in logs.until("app=before")
        service.deploy("during", guests.labelled("during"))
        assert "app=during" in logs.until("app=during")
        service.end()
        assert "waiting for it" in logs.first_error()
        service.start()
        assert "is back" in logs.first_error()
        logs.until("box started")
        ended, rest = logs.end(signal.SIGINT)

    assert (130, []) == (ended, rest)
