"""One syntax for every source of frames, and how a URL is shown without its secrets; pure.

    rtsp://user:password@host/path          rtsps://, too; #transport=udp|tcp (tcp)
    http://host/video.mjpg                  https://, too: MJPEG, or a video file
    http://host/live.m3u8                   HLS
    /dev/v4l/by-id/...  /dev/video0         V4L2; ?input_format=mjpeg&size=1280x720&fps=30
    v4l2:/dev/video0    v4l2:NAME           the same; a NAME is looked up in /dev/v4l/by-id
    /films/yard.mp4     file:///films/...   a video file; ?loop=1&realtime=0
    /pictures/          /pictures/*.jpg     pictures of a folder, by name; ?fps=1&loop=1&realtime=0
    test:?size=640x480&fps=30               a moving picture with a counter
    push:                                   clients post frames

A query of our own kinds is ours; that of rtsp and http belongs to the camera and is passed on.
In file:// URLs percent signs are decoded, in plain paths not.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from urllib.parse import parse_qsl, unquote, urlsplit

from appliance.errors import BadRequest

MAX_URL_LENGTH = 2048
HIDDEN = "***"


class Kind(StrEnum):
    """What a URL leads to. FILE may turn out to be a folder: only the disk knows."""

    V4L2 = "v4l2"
    RTSP = "rtsp"
    HTTP = "http"
    HLS = "hls"
    FILE = "file"
    FOLDER = "folder"
    TEST = "test"
    PUSH = "push"


# Kinds whose bytes come from a sensor, as it looks: noise makes two frames differ.
LIVE = frozenset({Kind.V4L2, Kind.RTSP, Kind.HTTP, Kind.HLS, Kind.TEST})

_SWITCH = ("0", "1", "true", "false")
_NUMBER = r"(?![0.]+$)\d{1,4}(\.\d{1,3})?"
_COUNT = r"\d{1,9}"
_SIZE = r"[1-9]\d{0,4}x[1-9]\d{0,4}"
_FILE_OPTIONS = {"loop": "|".join(_SWITCH), "realtime": "|".join(_SWITCH)}
# What may stand in the query or, for network sources, behind the #: key -> pattern of its value.
_OPTIONS: Mapping[Kind, Mapping[str, str]] = {
    Kind.V4L2: {"input_format": "[a-z0-9_]{1,16}", "size": _SIZE, "fps": _NUMBER},
    Kind.RTSP: {"transport": "tcp|udp"},
    Kind.HTTP: {},
    Kind.HLS: {},
    Kind.FILE: _FILE_OPTIONS,
    Kind.FOLDER: {**_FILE_OPTIONS, "fps": _NUMBER},
    Kind.TEST: {
        "size": _SIZE, "fps": _NUMBER, "frames": _COUNT, "crash_after": _COUNT,
        "freeze_after": _COUNT, "stall_after": _COUNT, "resize_after": _COUNT, "deaf": "0|1",
    },
    Kind.PUSH: {},
}  # fmt: skip

# To the last @, past any slash: people do not escape their passwords. It may hide too much.
_USER = re.compile(r"(?<=://)[^\s\"'<>]*@")
_SECRET = re.compile(
    r"(?i)([?&;/_,#]|\b)"
    r"((?:[\w.-]*(?:pass|pwd|psw|token|secret|auth|sig|key|user|usr|login|credential)[\w.-]*?)="
    r")(?:(?!_[a-z]+=)[^&;/?#\s'\",])*"
)
# A long run of letters and digits in a value, under whatever name, is a token more often than not.
_LONG = re.compile(r"(?<==)(?=[\w%+.~-]*\d)(?=[\w%+.~-]*[A-Za-z])[\w%+.~-]{20,}")


@dataclass(frozen=True, slots=True)
class Source:
    """A URL, understood.

    address: what is opened: the URL without our options, or a path, or a pattern of paths; holds
    the secrets, hence not in the repr.   options: of the kind, checked.   shown: for everybody.
    """

    kind: Kind
    address: str = field(repr=False)
    options: Mapping[str, str]
    shown: str

    def is_on(self, option: str, *, default: bool) -> bool:
        """Read a switch."""
        return self.options.get(option, str(default).lower()) in {"1", "true"}

    def size_wh(self, option: str, default: tuple[int, int]) -> tuple[int, int]:
        """Read a size, pixels."""
        width, _, height = self.options.get(option, "").partition("x")
        return (int(width), int(height)) if height else default

    def number(self, option: str, default: float) -> float:
        """Read a number."""
        return float(self.options.get(option, default))


def parse(url: str) -> Source:
    """Understand a URL; nothing is opened or looked up.

    Raises: BadRequest; the message shows the URL without its secrets.
    """
    if len(url) > MAX_URL_LENGTH or not url.isprintable() or not url.strip():
        raise BadRequest(
            f"camera url: got {len(url)} characters, wanted 1..{MAX_URL_LENGTH} printable ones"
        )
    url = url.strip()
    scheme = url.partition(":")[0].lower() if re.match(r"[A-Za-z][A-Za-z0-9+.-]*:", url) else ""
    if scheme in {"rtsp", "rtsps", "http", "https"}:
        return _network(url, scheme)
    if scheme == "v4l2" or (not scheme and re.match(r"/dev/(v4l/|video\d)", url)):
        return _device(url)
    if scheme == "file" or url.startswith("/"):
        return _path(url)
    if scheme in {"test", "push"}:
        rest = url.partition(":")[2]
        if rest.partition("?")[0]:
            raise _refused(url, f'nothing between "{scheme}:" and "?"')
        kind = Kind(scheme)
        return Source(kind, f"{scheme}:", _options(url, kind, rest.partition("?")[2]), redact(url))
    raise _refused(
        url,
        "rtsp://, http://, https://, an absolute path, /dev/video0, file://, v4l2:, test: or push:",
    )


def redact(text: str) -> str:
    """Hide user names, passwords and what looks like a token in any text that may hold URLs."""
    text = _USER.sub(f"{HIDDEN}@", text)
    text = _SECRET.sub(rf"\g<1>\g<2>{HIDDEN}", text)
    return _LONG.sub(HIDDEN, text)


def secrets_of(url: str) -> tuple[str, ...]:
    """List the user name and password of a URL as they stand and decoded, longest first.

    For hiding them in the messages of a library that quotes them alone.
    """
    user, _, password = (_USER.search(url) or [""])[0].removesuffix("@").partition(":")
    found = {part for raw in (user, password) for part in (raw, unquote(raw)) if len(part) > 2}
    return tuple(sorted(found, key=len, reverse=True))


def _network(url: str, scheme: str) -> Source:
    try:
        split = urlsplit(url)
        host, _ = split.hostname, split.port
    except ValueError as exc:
        raise _refused(url, "scheme://host:port/path, the port 0..65535") from exc
    if not host:
        raise _refused(url, f"{scheme}://host/path")
    address = url.partition("#")[0]
    if scheme.startswith("rtsp"):
        kind = Kind.RTSP
    else:
        kind = Kind.HLS if split.path.lower().endswith((".m3u8", ".m3u")) else Kind.HTTP
    return Source(kind, address, _options(url, kind, split.fragment), redact(url))


def _device(url: str) -> Source:
    name, _, query = url.removeprefix("v4l2:").partition("?")
    path = name if name.startswith("/") else f"/dev/v4l/by-id/{name}"
    is_device = re.fullmatch(r"/dev/(video\d{1,3}|v4l/by-(id|path)/[\w:.,+@-]+)", path)
    if is_device is None or name in {"", ".", ".."}:
        raise _refused(url, "/dev/videoN, /dev/v4l/by-id/NAME or /dev/v4l/by-path/NAME")
    return Source(Kind.V4L2, path, _options(url, Kind.V4L2, query), redact(url))


def _path(url: str) -> Source:
    path, _, query = url.partition("?")
    if path.lower().startswith("file:"):
        host, slash, rest = path[5:].removeprefix("//").partition("/")
        if host not in {"", "localhost"} or not slash:
            raise _refused(url, "file:///path on this machine")
        path = "/" + unquote(rest)
    if ".." in path.split("/") or "\0" in path:
        raise _refused(url, "a path without ..")
    kind = Kind.FOLDER if path.endswith("/") or set("*[") & set(path) else Kind.FILE
    # A file that is a folder may have a folder's options.
    return Source(kind, path, _options(url, Kind.FOLDER, query), redact(url))


def _options(url: str, kind: Kind, query: str) -> Mapping[str, str]:
    known = _OPTIONS[kind]
    found: dict[str, str] = {}
    for key, value in parse_qsl(query, keep_blank_values=True):
        if key not in known:
            raise _refused(url, f"of options {', '.join(known) or 'none'}; {key} is not known")
        if re.fullmatch(known[key], value) is None:
            raise _refused(url, f"{key} as in {_example(key)}")
        found[key] = value
    return found


def _example(key: str) -> str:
    return {
        "size": "size=1280x720", "fps": "fps=5 or fps=0.5", "transport": "transport=tcp",
        "input_format": "input_format=mjpeg", "loop": "loop=1", "realtime": "realtime=0",
    }.get(key, f"{key}=1")  # fmt: skip


def _refused(url: str, wanted: str) -> BadRequest:
    shown = redact(url)
    return BadRequest(f"camera url: got {shown[:120]}, wanted {wanted}")
