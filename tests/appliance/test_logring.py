"""The last log records in memory."""

import logging
from collections.abc import Iterator

import pytest

from appliance.logring import ACCESS, LogLine, LogQuery, LogRing


@pytest.fixture
def ring() -> Iterator[LogRing]:
    """One of three records, that takes whatever is logged."""
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.DEBUG)
    made = LogRing(kept=3)
    made.open()
    yield made
    made.close()
    root.setLevel(level)


def texts(ring: LogRing, **asked: object) -> list[str]:
    return [line.text for line in ring.read(LogQuery(**asked))[0]]  # type: ignore[arg-type]


def test_the_newest_are_kept_and_the_rest_counted(ring: LogRing) -> None:
    """Newest last."""
    for number in range(5):
        logging.getLogger("room").info("event n=%d", number)
    lines, dropped = ring.read(LogQuery(lines=2))

    assert (["event n=3", "event n=4"], 2) == ([line.text for line in lines], dropped)
    assert ("info", "room") == (lines[0].level, lines[0].logger)
    assert isinstance(lines[0], LogLine)


def test_lines_are_chosen_by_level_and_app(ring: LogRing) -> None:
    """An app's name is matched whole."""
    log = logging.getLogger("room")
    log.debug("app says app=door text=1")
    log.warning("app says app=door text=2")
    log.warning("app says app=door-2 text=3")

    assert ["app says app=door text=1", "app says app=door text=2"] == texts(ring, app="door")
    assert ["app says app=door text=2"] == texts(ring, app="door", level=logging.WARNING)


def test_requests_are_left_out_unless_they_warn(ring: LogRing) -> None:
    """A busy box would show nothing else."""
    logging.getLogger(ACCESS).info("request done status=200")
    logging.getLogger(ACCESS).warning("request done status=503")

    assert ["request done status=503"] == texts(ring)


def test_an_exception_is_named(ring: LogRing) -> None:
    """Its traceback has places of the machine and stays in the log."""
    try:
        raise KeyError("secret place")
    except KeyError:
        logging.getLogger("room").exception("it failed")

    assert ["it failed (KeyError; the log has the traceback)"] == texts(ring)


def test_secrets_are_masked(ring: LogRing) -> None:
    """As in the log itself."""
    logging.getLogger("room").info("camera url=%s", "rtsp://admin:hunter2@10.0.0.9/1")

    assert ["camera url=rtsp://admin:***@10.0.0.9/1"] == texts(ring)


def test_closed_it_takes_no_more(ring: LogRing) -> None:
    """What was there can still be read."""
    logging.getLogger("room").info("before")
    ring.close()
    logging.getLogger("room").info("after")

    assert ["before"] == texts(ring)
