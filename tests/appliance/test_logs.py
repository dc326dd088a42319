import io
import json
import logging
import sys
from collections.abc import Iterator

import pytest

from appliance.logs import JsonFormatter, LogStyle, TextFormatter, configure


@pytest.fixture(autouse=True)
def _root_logger() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = handlers, level
    logging.captureWarnings(False)


def record(message: str, *args: object, exception: Exception | None = None) -> logging.LogRecord:
    info = None if exception is None else (type(exception), exception, None)
    made = logging.LogRecord("room", logging.INFO, "", 0, message, args, info)
    made.created = 1_700_000_000.25
    return made


def test_text_is_one_line_with_time_level_and_logger() -> None:
    """A person reads time, level, logger, event."""
    line = TextFormatter().format(record("batch done rows=%d", 4))

    assert line == "2023-11-14T22:13:20.250Z info    room: batch done rows=4"


def test_text_escapes_control_characters() -> None:
    """Nobody forges a line or drives the terminal."""
    line = TextFormatter().format(record("guest says text=%s", "a\nfake \x1b[2J"))

    assert line.endswith("guest says text=a\\x0afake \\x1b[2J")


def test_text_indents_and_escapes_the_traceback() -> None:
    """A traceback follows its line, and foreign bytes in it are harmless too."""
    lines = TextFormatter().format(record("failed", exception=ValueError("\x1b[2J"))).split("\n")

    assert lines[1:] == ["    ValueError: \\x1b[2J"]


def test_json_is_one_object_a_line() -> None:
    """A service reads one JSON object, the traceback inside."""
    line = JsonFormatter().format(record("a\nb", exception=ValueError("why")))

    assert "\n" not in line
    assert json.loads(line) == {
        "time": "2023-11-14T22:13:20.250Z",
        "level": "info",
        "logger": "room",
        "message": "a\nb",
        "traceback": "ValueError: why",
    }


def test_auto_is_json_where_nobody_watches() -> None:
    """A stream that is no terminal gets JSON lines."""
    stream = io.StringIO()
    configure(stream=stream)

    logging.getLogger("room").info("box started")

    assert json.loads(stream.getvalue())["message"] == "box started"


def test_configuring_again_replaces_the_first() -> None:
    """Each record is written once, in the latest style."""
    first, second = io.StringIO(), io.StringIO()
    configure(LogStyle.TEXT, stream=first)
    configure(LogStyle.TEXT, stream=second, level=logging.WARNING)

    logging.getLogger("room").warning("hot")
    logging.getLogger("room").info("quiet")

    assert first.getvalue() == ""
    assert second.getvalue().count("\n") == 1


def test_the_stream_is_looked_up_when_configured(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a stream, standard error as it is now."""
    stream = io.StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    configure()

    logging.getLogger("room").info("hello")

    assert "hello" in stream.getvalue()


@pytest.mark.parametrize(
    ("said", "logged"),
    [
        pytest.param("rtsp://u:p%40ss@host/1", "rtsp://u:***@host/1", id="URL"),
        pytest.param("http://h:8080/a@b", "http://h:8080/a@b", id="a port is no password"),
        pytest.param("Authorization: Bearer abc.def", "Authorization: Bearer ***", id="header"),
        pytest.param("/v1?app=a&token=abc&x=1", "/v1?app=a&token=***&x=1", id="query"),
        pytest.param("tokens=5 app=door", "tokens=5 app=door", id="another word"),
    ],
)
def test_secrets_are_masked_in_both_styles(said: str, logged: str) -> None:
    """Passwords in URLs, bearer tokens, and what is named a secret."""
    text = TextFormatter().format(record("event %s", said))
    line = json.loads(JsonFormatter().format(record("event %s", said)))

    assert text.endswith(f"event {logged}")
    assert f"event {logged}" == line["message"]


def test_secrets_in_a_traceback_are_masked() -> None:
    """An exception quotes what it was given."""
    line = JsonFormatter().format(record("failed", exception=ValueError("ftp://u:pw@h")))

    assert "ValueError: ftp://u:***@h" == json.loads(line)["traceback"]
