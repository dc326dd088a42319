"""Which cameras are plugged into this machine (V4L2), and names for them that stay.

/dev/video0 is whatever was found first at boot: it names another camera after the next one. The
links in /dev/v4l/by-id (model and serial number) and by-path (the socket it is plugged into) stay.
One USB camera has several nodes; only those that give pictures are listed.
"""

import logging
import re
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from appliance.cameras.urls import Kind, parse
from appliance.cameras.v4l2 import QUERYCAP, Ask, Device, PixelFormat, read_capability, read_formats

log = logging.getLogger(__name__)

_QUESTION_BYTES = 104

Open = Callable[[str], AbstractContextManager[Ask]]


@dataclass(frozen=True, slots=True)
class FoundDevice:
    """A device that captures.

    url: for `cameras add`, by a name that stays if there is one.   node: /dev/videoN, today.
    problem: why it could not be asked ("" if it could); it then has no formats.
    """

    url: str
    node: str
    name: str
    driver: str
    bus: str
    formats: tuple[PixelFormat, ...]
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Places:
    """Where the kernel and udev list devices; others in tests."""

    classes: Path = Path("/sys/class/video4linux")
    devices: Path = Path("/dev")

    def stable_name(self, node: str) -> str | None:
        """Find the name of a node (video0) that stays: by-id, else by-path; None if none."""
        for folder in ("by-id", "by-path"):
            # Sorted: the shortest of several for one node, and always the same.
            for link in sorted((self.devices / "v4l" / folder).glob("*")):
                if link.resolve().name == node:
                    return f"/dev/v4l/{folder}/{link.name}"
        return None


def discover(places: Places = Places(), open_device: Open = Device) -> list[FoundDevice]:
    """List the capture devices of this machine, by number. Returns at once; starts none."""
    nodes = [path.name for path in places.classes.glob("video*")]
    found = []
    for node in sorted(nodes, key=lambda n: int(re.sub(r"\D", "", n) or 0)):
        device = _look(node, places, open_device)
        if device is not None:
            found.append(device)
    return found


def _look(node: str, places: Places, open_device: Open) -> FoundDevice | None:
    path = f"/dev/{node}"
    url = places.stable_name(node) or path
    try:
        with open_device(path) as ask:
            capability = read_capability(ask(QUERYCAP, bytes(_QUESTION_BYTES)))
            if not capability.can_capture:
                return None
            formats = read_formats(ask)
    except OSError as exc:
        log.warning("camera device not asked node=%s reason=%s", node, exc.strerror)
        return FoundDevice(url, path, _name_in(places, node), "", "", (), exc.strerror or "?")
    return FoundDevice(url, path, capability.card, capability.driver, capability.bus, formats)


def _name_in(places: Places, node: str) -> str:
    try:
        return (places.classes / node / "name").read_text("utf-8", "replace").strip()
    except OSError:
        return ""


def stable_url(url: str, places: Places = Places()) -> str:
    """Replace /dev/videoN in a camera's URL by the name that stays, if the device has one.

    Raises: BadRequest if it is no URL.
    """
    source = parse(url)
    node = re.fullmatch(r"/dev/(video\d+)", source.address)
    if source.kind is not Kind.V4L2 or node is None:
        return url
    stable = places.stable_name(node[1])
    return url if stable is None else url.replace(source.address, stable, 1)
