"""`appliance predictions`: by time and number, and live through a restart and in a pipe."""

import json
import signal
from datetime import datetime

import pytest

from appliance.cli.predictions import unix_time
from appliance.errors import BadRequest
from tests.appliance import watguests as guests
from tests.appliance.cli.conftest import Command
from tests.appliance.cli.process import Process
from tests.appliance.service import Service


@pytest.fixture(scope="module", autouse=True)
def _apps(service: Service) -> None:
    service.deploy("steady", guests.STEADY)
    service.deploy("text", guests.printing(b"red \x1b[31m text"))


def show(service: Service, picture: bytes, name: str = "steady") -> int:
    return int(service.show(name, picture).json()["predictions"][0]["id"])


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 910.0), ("1.5m", 910.0), ("0h", 1000.0), ("12", 12.0), ("12.5", 12.5)],
)
def test_a_time_may_be_an_age_or_unix_seconds(text: str, seconds: float) -> None:
    """Ages count from now."""
    assert seconds == unix_time(text, 1000.0)


@pytest.mark.parametrize("text", ["2026-01-31", "2026-01-31 12:00", "2026-01-31T12:00:00+01:00"])
def test_a_time_may_be_a_date(text: str) -> None:
    """Local unless it says where."""
    assert datetime.fromisoformat(text).timestamp() == unix_time(text, 1000.0)


@pytest.mark.parametrize("text", ["", "m", "soon", "10y", "1e400d", "nand", "infs"])
def test_a_time_that_is_none_is_refused(text: str) -> None:
    """Saying how it may be said."""
    with pytest.raises(BadRequest, match="wanted an age such as 10m"):
        unix_time(text, 1000.0)


def test_the_history_by_time_and_number(command: Command, service: Service, picture: bytes) -> None:
    """More than a page of the box, if so many are asked for."""
    ids = [show(service, picture) for _ in range(3)]
    at = ("--state", service.state, "--json", "--app", "steady")

    (newest,) = command("predictions", "--limit", 1, "--since", "1h", *at).stdout.splitlines()
    assert ids[-1] == json.loads(newest)["id"]
    assert b"" == command("predictions", "--until", "1h", *at).stdout
    assert b"" == command("predictions", "--frame", 10**6, *at).stdout
    found = command("predictions", "--limit", 5000, *at).stdout.splitlines()
    assert ids == [json.loads(line)["id"] for line in found[:3]][::-1]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        pytest.param(["--follow", "--since", "1h"], b"no --frame, --since or --until", id="since"),
        pytest.param(["--after", "3"], b"only with --follow", id="after"),
        pytest.param(["--since", "soon"], b"wanted an age such as 10m", id="time"),
    ],
)
def test_options_that_do_not_fit_are_refused(
    command: Command, service: Service, options: list[str], words: bytes
) -> None:
    """In one sentence."""
    done = command("predictions", *options, "--state", service.state)

    assert 1 == done.returncode
    assert words in done.stderr


def test_followed_through_a_restart(service: Service, picture: bytes) -> None:
    """What was predicted meanwhile is not lost; that the box was away stands on stderr."""
    options = ("--follow", "--json", "--app", "steady", "--after", show(service, picture))
    with Process("predictions", *options, "--state", service.state) as follow:
        made = [show(service, picture), show(service, picture)]
        taken = [json.loads(follow.line())["id"] for _ in range(2)]
        service.end()
        assert "waiting for it" in follow.first_error()
        service.start()
        made += [show(service, picture), show(service, picture)]
        taken += [json.loads(follow.line())["id"] for _ in range(2)]
        ended, rest = follow.end(signal.SIGINT)

    assert made == taken
    assert (130, ["appliance: the box is back"]) == (ended, rest)


def test_lines_for_people(service: Service, picture: bytes) -> None:
    """Time, app, camera, label, score; nothing that a guest says drives the terminal."""
    after = show(service, picture)
    show(service, picture)
    show(service, picture, "text")
    with Process("predictions", "--follow", "--after", after, "--limit", 2,
                 "--state", service.state) as follow:  # fmt: skip
        first, second = follow.line().split(maxsplit=3), follow.line().split(maxsplit=3)
        ended, rest = follow.end()

    assert ["steady", "api", "steady  0.500\n"] == first[1:]
    assert ["text", "api", "red \\x1b[31m text\n"] == second[1:]
    assert (0, []) == (ended, rest)


def test_a_reader_that_leaves_ends_it_quietly(service: Service, picture: bytes) -> None:
    """As with `| head -1`: at the next prediction."""
    with Process("predictions", "--follow", "--after", 0, "--state", service.state) as follow:
        follow.line()
        follow.close_stdout()
        show(service, picture)
        ended, rest = follow.end()

    assert (1, []) == (ended, rest)


def test_without_a_box_there_is_nothing_to_follow(service: Service) -> None:
    """Said at once; only a box that was there is waited for."""
    with Process("predictions", "--follow", "--state", service.state / "none") as follow:
        ended, rest = follow.end()

    assert 1 == ended
    assert "appliance serve" in rest[0]
