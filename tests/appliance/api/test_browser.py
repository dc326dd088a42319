"""A real browser on the stream: EventSource in Debian's Chromium, live and over a restart."""

import os
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from selenium.webdriver import Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service as Driver

from tests.appliance import watguests as guests
from tests.appliance.service import Service

_FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
)  # fmt: skip
_WAIT_S = 60

# What a page does. A browser gives up where it meets a box that is still starting (503), so a page
# opens the stream again after the last event it saw.
_FOLLOW = """
window.seen = []; window.opened = 0; window.made = 0; window.last = null;
window.follow = () => {
  const after = window.last === null ? '' : '&after=' + window.last;
  const source = new EventSource('/v1/predictions/stream?app=steady' + after);
  window.made += 1;
  source.onopen = () => { window.opened += 1; };
  source.addEventListener('prediction', (event) => {
    window.last = event.lastEventId;
    window.seen.push([event.lastEventId, JSON.parse(event.data)]);
  });
  source.onerror = () => {
    if (source.readyState === EventSource.CLOSED) setTimeout(window.follow, 100);
  };
};
window.follow();
"""
_WAIT_FOR = """
const [expression, done] = arguments;
const look = () => eval(expression) ? done(true) : setTimeout(look, 20);
look();
"""


def chromium() -> tuple[str, str]:
    """Find the browser and its driver; skip without them, except where CI promised them."""
    found = shutil.which("chromium"), shutil.which("chromedriver")
    if None in found:
        reason = "no chromium or chromedriver here; apt-get install chromium chromium-driver"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    return str(found[0]), str(found[1])


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chrome]:
    """A Chromium with nothing of a user in it."""
    program, driver = chromium()
    options = ChromeOptions()
    options.binary_location = program
    profile = tmp_path_factory.mktemp("chromium")
    for flag in (*_FLAGS, f"--user-data-dir={profile}"):
        options.add_argument(flag)
    with Chrome(options, Driver(driver)) as started:
        started.set_script_timeout(_WAIT_S)
        yield started


@pytest.fixture
def port() -> int:
    """A port that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def listen_on(state: Path, port: int | None) -> None:
    """Have the box listen on a port of this machine from its next start on, or on none."""
    state.mkdir(exist_ok=True)
    tcp = f"[tcp]\nport = {port}\nallow_loopback_without_token = true\n" if port else ""
    (state / "settings.toml").write_text(tcp)


def show(box: Service, picture: bytes, times: int) -> list[Any]:
    """Make predictions, and give what the box answered."""
    return [box.show("steady", picture).json()["predictions"][0] for _ in range(times)]


def wait_for(browser: Chrome, expression: str) -> None:
    assert browser.execute_async_script(_WAIT_FOR, expression)


def test_a_page_follows_over_a_restart(
    browser: Chrome, state: Path, port: int, picture: bytes
) -> None:
    """Live at first; what was predicted while the page was cut off comes once, in order."""
    listen_on(state, port)
    with Service(state) as box:
        box.deploy("steady", guests.STEADY)
        browser.get(f"http://127.0.0.1:{port}/healthz")
        browser.execute_script(_FOLLOW)
        wait_for(browser, "window.opened === 1")
        made = show(box, picture, 3)
        wait_for(browser, "window.seen.length >= 3")
        live = browser.execute_script("return window.seen")

        # The page is away for sure while these are made: nothing listens on its port.
        box.end()
        listen_on(state, None)
        box.start()
        made += show(box, picture, 3)
        box.end()
        listen_on(state, port)
        box.start()
        wait_for(browser, "window.opened >= 2")
        made += show(box, picture, 1)
        wait_for(browser, "window.seen.length >= 7")
        seen = browser.execute_script("return window.seen")

    assert [[str(row["id"]), row] for row in made[:3]] == live
    assert [[str(row["id"]), row] for row in made] == seen
