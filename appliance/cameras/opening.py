"""What FFmpeg is told to open a source, and what its refusals mean; pure."""

import errno
from collections.abc import Mapping
from dataclasses import dataclass, field

from appliance.cameras.urls import Kind
from appliance.cameras.wire import Job

# What a source may lead FFmpeg to: a playlist from the network must not read files of this machine.
_HTTP = "http,https,tcp,tls,crypto,data"
_PROTOCOLS = {
    Kind.RTSP: "rtsp,rtsps,rtp,udp,tcp,tls,http,https",
    Kind.HTTP: _HTTP,
    Kind.HLS: _HTTP,
    Kind.FILE: "file",
}


@dataclass(frozen=True, slots=True)
class Opening:
    """Arguments of `av.open`. url may hold secrets. format: None = found out by FFmpeg."""

    url: str = field(repr=False)
    format: str | None
    options: Mapping[str, str]


def opening_of(job: Job) -> Opening:
    """Translate a job."""
    source = job.source
    if source.kind is Kind.V4L2:
        return Opening(source.address, "v4l2", _device_options(job))
    options = {"protocol_whitelist": _PROTOCOLS[source.kind]}
    # Of a socket; opening is bounded by the caller. A camera may be slow and in good health.
    patience_us = str(int(job.read_s * 1e6))
    if source.kind is not Kind.FILE:
        # The rate would be guessed from the first 20 frames: a second and more until the first.
        options["fpsprobesize"] = "0"
    if source.kind is Kind.RTSP:
        options |= {
            "rtsp_transport": source.options.get("transport", "tcp"),
            # "stimeout" until FFmpeg 4.
            "timeout": patience_us,
            # Sound would only be received and thrown away.
            "allowed_media_types": "video",
        }
    elif source.kind in {Kind.HTTP, Kind.HLS}:
        options |= {"rw_timeout": patience_us, "user_agent": "edge-appliance"}
    if source.kind is Kind.HTTP:
        # Of MJPEG FFmpeg would look at 5 s by the clock of a 25 fps stream: two minutes of a
        # camera that sends one picture a second.
        options["analyzeduration"] = "100000"
    return Opening(source.address, None, options)


def _device_options(job: Job) -> Mapping[str, str]:
    given = job.source.options
    names = {"input_format": "input_format", "size": "video_size", "fps": "framerate"}
    return {name: given[key] for key, name in names.items() if key in given}


# By the name of the exception: PyAV's classes for HTTP's statuses, used for RTSP's, too.
_BY_NAME = {
    "HTTPUnauthorizedError": "the camera refuses the user name or password (401); correct them in"
    " its URL",
    "HTTPForbiddenError": "the camera refuses access (403); check what this user may do",
    "HTTPNotFoundError": "the camera has no such stream (404); check the path in its URL",
    "HTTPTooManyRequestsError": "the camera has too many viewers (429)",
    "HTTPServerError": "the camera answers with an error of its own (5xx)",
    "HTTPBadRequestError": "the camera does not understand the request (400); check its URL",
    "HTTPOtherClientError": "the camera refuses the request (4xx); check its URL",
    "InvalidDataError": "what comes is no video that this box reads",
    "DemuxerNotFoundError": "the file's or stream's format is not known",
    "DecoderNotFoundError": "there is no decoder for this stream",
    "ProtocolNotFoundError": "the URL leads to a protocol that is not allowed",
    "MemoryError": "decoding needs more memory than a camera may use",
}
_NETWORK = {
    errno.ECONNREFUSED: "nothing listens there (connection refused); is the camera on?",
    errno.EHOSTUNREACH: "no way to the camera (host unreachable)",
    errno.ENETUNREACH: "no way to the camera (network unreachable)",
    errno.ECONNRESET: "the camera closed the connection",
    errno.EPIPE: "the camera closed the connection",
    errno.EIO: "the connection broke",
}
_DEVICE = {
    errno.ENOENT: "no such device; is it plugged in?",
    errno.ENODEV: "the device was unplugged",
    errno.ENXIO: "the device was unplugged",
    errno.EBUSY: "another program uses the device",
    errno.EACCES: "no right to open the device; is the service in the group video?",
    errno.ENOTTY: "not a device that captures video",
    errno.EINVAL: "the device refuses this input_format, size or fps; see `appliance cameras"
    " discover`",
    errno.EIO: "the device gives errors; unplug it once",
}
_FILE = {
    errno.ENOENT: "no such file",
    errno.EACCES: "no right to read the file",
    errno.EISDIR: "a folder, wanted a file",
}


def sentence_of(error: BaseException, job: Job) -> str:
    """Say why a source cannot be opened or read on: one sentence, no path and no secret."""
    name = type(error).__name__
    if name in _BY_NAME:
        return _BY_NAME[name]
    number = getattr(error, "errno", None)
    if name in {"ExitError", "TimeoutError"} or number == errno.ETIMEDOUT:
        return f"no answer within {job.open_s:g} s"
    known = {Kind.V4L2: _DEVICE, Kind.FILE: _FILE, Kind.FOLDER: _FILE}
    for table in (known.get(job.source.kind, _NETWORK), _NETWORK):
        if number in table:
            return table[number]
    # Not str(error): that quotes the URL.
    return f"{getattr(error, 'strerror', None) or name}"
