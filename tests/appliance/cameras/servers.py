"""Real servers for cameras: MJPEG and files over HTTP in a thread, RTSP in a process."""

import functools
import http.server
import os
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

SYSTEM_PYTHON = "/usr/bin/python3"
RTSP_SERVER = Path(__file__).with_name("rtsp_server.py")
_BINDINGS = (
    "import gi; gi.require_version('GstRtspServer', '1.0');"
    "from gi.repository import Gst, GstRtspServer; Gst.init(None);"
    "assert all(map(Gst.ElementFactory.find, ('x264enc', 'rtph264pay', 'jpegenc')))"
)
BOUNDARY = b"--picture"


def free_port() -> int:
    """Find a port that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Nobody reads it."""


class _Mjpeg(http.server.BaseHTTPRequestHandler):
    """Sends pictures until there are no more, then closes, hangs, or sends noise."""

    pictures: tuple[bytes, ...] = ()
    then = ""
    released = threading.Event()

    def do_GET(self) -> None:
        if "joe:right" not in _basic(self.headers.get("Authorization", "")) and self.then == "ask":
            self.send_response(401)
            self.send_header("WWW-Authenticate", 'Basic realm="camera"')
            self.end_headers()
            return
        self.send_response(200)
        self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=picture")
        self.end_headers()
        try:
            for picture in self.pictures:
                head = b"\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n" % len(picture)
                self.wfile.write(BOUNDARY + head + picture + b"\r\n")
            while self.then == "noise":
                self.wfile.write(BOUNDARY + os.urandom(1000))
            if self.then == "hang":
                self.released.wait(60)
        except OSError:
            return

    def log_message(self, format: str, *args: object) -> None:
        """Nobody reads it."""


def _basic(header: str) -> str:
    import base64

    return base64.b64decode(header.removeprefix("Basic ") + "==").decode("latin-1")


@contextmanager
def serving(handler: object) -> Iterator[int]:
    """Serve HTTP with a handler; gives the port."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)  # type: ignore[arg-type]
    server.daemon_threads = True
    server.block_on_close = False
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), name="http")
    thread.start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def mjpeg(pictures: tuple[bytes, ...], then: str = "") -> Iterator[str]:
    """Serve pictures as a camera does. then: "", "hang", "noise", or "ask" for joe's password."""
    released = threading.Event()
    handler = type("H", (_Mjpeg,), {"pictures": pictures, "then": then, "released": released})
    with serving(handler) as port:
        try:
            yield f"127.0.0.1:{port}/video"
        finally:
            released.set()


@contextmanager
def files(folder: Path) -> Iterator[str]:
    """Serve the files of a folder."""
    with serving(functools.partial(_Quiet, directory=str(folder))) as port:
        yield f"http://127.0.0.1:{port}"


class RtspServer:
    """A real RTSP server on one port, which can be killed and started again."""

    def __init__(self, *credentials: str) -> None:
        self.port = free_port()
        self._credentials = credentials
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it; it listens when this returns."""
        command = (SYSTEM_PYTHON, str(RTSP_SERVER), str(self.port), *self._credentials)
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == b"ready\n"

    def kill(self) -> None:
        """End it as a power cut would."""
        if self._process is not None:
            with self._process as process:
                process.kill()
            self._process = None

    def url(self, path: str = "h264", user: str = "") -> str:
        return f"rtsp://{user}127.0.0.1:{self.port}/{path}"


@functools.cache
def _problem() -> str:
    try:
        found = subprocess.run((SYSTEM_PYTHON, "-c", _BINDINGS), capture_output=True, check=False)
    except OSError as exc:
        return str(exc)
    return found.stderr.decode().strip().rpartition("\n")[2] if found.returncode else ""


def need_rtsp_server() -> None:
    """Skip the test, with the reason, where GStreamer is missing; in CI that is a failure."""
    problem = _problem()
    if problem:
        reason = f"no GStreamer RTSP server ({problem}); .ci/run names the packages"
        assert "CI" not in os.environ, reason
        pytest.skip(reason)
