"""Sources that FFmpeg opens: devices, streams and films, by PyAV."""

import errno
import socket
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import av
import av.error
import av.logging
from av.codec.codec import Properties
from av.container import InputContainer
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from appliance.cameras.opening import opening_of, sentence_of
from appliance.cameras.pace import Thrift
from appliance.cameras.shots import Shot, SourceError, Tally, Wants
from appliance.cameras.urls import Kind
from appliance.cameras.wire import Job, Opened

# FFmpeg opens what has timestamps of some sort; a film without is shown at this rate.
_DEFAULT_FPS = 25.0
# Pictures in a decoder at once, at most; H.264 and HEVC have up to 16.
_MAX_HELD_BACK = 64
# PyAV gives the codec's flags as a plain number, newer ones than its enum knows among them.
_INTRA_ONLY: int = Properties.INTRA_ONLY.value  # type: ignore[assignment]


def log_to_stderr() -> None:
    """Let FFmpeg write its warnings to standard error by itself.

    Not through Python's logging: FFmpeg's threads would need the interpreter's lock.
    """
    av.logging.restore_default_callback()
    av.logging.set_libav_level(av.logging.WARNING)


class Film:
    """One opened source.

    Raises: SourceError if it cannot be opened or has no picture.
    """

    def __init__(self, job: Job, tally: Tally, wants: Wants) -> None:
        self._job = job
        self._tally = tally
        self._container = _open(job)
        try:
            self._stream = self._video()
        except BaseException:
            self._container.close()
            raise
        kind = job.source.kind
        has_length = (self._container.duration or 0) > 0
        self.is_finite = kind is Kind.FILE or (kind in {Kind.HTTP, Kind.HLS} and has_length)
        # HLS comes in bursts of whole segments.
        self._is_timed = self.is_finite or kind is Kind.HLS
        context = self._stream.codec_context
        rate = self._stream.average_rate or self._stream.guessed_rate
        self.opened = Opened(context.name, context.width, context.height, float(rate or 0))
        self._is_intra = bool(context.codec.properties & _INTRA_ONLY)
        # Not self in the closure: the circle would keep a decoder's pictures (5 MB at 720p) of each
        # pass of a film until the collector comes by, which it seldom does here.
        is_timed = self._is_timed
        self._thrift = Thrift(
            job.fps, is_intra=self._is_intra, passes=lambda at_s: wants(at_s, is_timed)
        )
        # Times of packets that the rate has let through: the decoder holds back some pictures,
        # and those that come out after it are not all of the same choice.
        self._chosen: deque[int] = deque(maxlen=_MAX_HELD_BACK)
        self._first_s: float | None = None
        self._packets = self._shown = 0

    def _video(self) -> VideoStream:
        if not self._container.streams.video:
            raise SourceError("there is no picture in this source")
        stream = self._container.streams.video[0]
        # The cores are for inference; one thread decodes 720p at 200 frames a second here.
        stream.codec_context.thread_count = 1
        return stream

    def shots(self) -> Iterator[Shot]:
        """Decode; see `shots.ShotSource`."""
        try:
            for packet in self._container.demux(self._stream):
                yield from self._decode(packet)
        except av.error.EOFError:
            return
        except (av.error.FFmpegError, OSError, MemoryError) as exc:
            raise SourceError(_explain(exc, self._job)) from exc

    def _decode(self, packet: "Packet[VideoStream]") -> Iterator[Shot]:
        at_s = self._time_of(packet.pts, self._packets)
        self._packets += 1
        # A packet without anything in it ends the film: the decoder gives what it held back.
        is_last = packet.size == 0
        if packet.is_corrupt:
            self._tally.corrupt += 1
            return
        # Without a time its picture could not be told from its neighbours when it comes out.
        has_time = self._is_intra or packet.pts is not None
        if has_time and not is_last and not self._thrift.wants(at_s, is_key=packet.is_keyframe):
            self._tally.rate += 1
            return
        if self._thrift.decides_rate and packet.pts is not None:
            self._chosen.append(packet.pts)
        skips = self._thrift.skips_unreferenced(at_s)
        self._stream.codec_context.skip_frame = "NONREF" if skips else "DEFAULT"
        try:
            pictures = packet.decode()
        except (av.error.InvalidDataError, av.error.PatchWelcomeError):
            self._tally.corrupt += 1
            return
        if skips and not pictures:
            self._tally.rate += 1
        for picture in pictures:
            yield from self._check(picture, at_s)

    def _check(self, picture: VideoFrame, packet_s: float) -> Iterator[Shot]:
        if picture.is_corrupt or not picture.width or not picture.height:
            self._tally.corrupt += 1
            return
        if self._is_intra:
            at_s, is_chosen = packet_s, True
        else:
            at_s = self._time_of(picture.pts, self._shown)
            is_chosen = picture.pts in self._chosen
        self._thrift.count_decoded(at_s)
        self._shown += 1
        yield Shot(picture, at_s if self._is_timed else None, is_chosen)

    def _time_of(self, pts: int | None, count: int) -> float:
        """Tell the time within the film, from 0; for what comes live, now.

        count: of packets or pictures before it, for a film that has no times.
        """
        if not self._is_timed:
            return time.monotonic()
        base = self._stream.time_base
        if pts is None or base is None:
            return count / (self.opened.fps or _DEFAULT_FPS)
        at_s = float(pts * base)
        if self._first_s is None:
            self._first_s = at_s
        return max(0.0, at_s - self._first_s)

    def close(self) -> None:
        self._container.close()


def _open(job: Job) -> InputContainer:
    opening = opening_of(job)
    try:
        if job.source.kind is Kind.FILE and not Path(opening.url).stat().st_size:
            raise SourceError("the file is empty")
        return av.open(
            opening.url, "r", format=opening.format, options=dict(opening.options),
            timeout=(job.open_s, job.read_s), metadata_errors="replace",
        )  # fmt: skip
    except (av.error.FFmpegError, OSError, MemoryError, ValueError) as exc:
        raise SourceError(_explain(exc, job)) from exc


def _explain(error: BaseException, job: Job) -> str:
    """As `sentence_of`; FFmpeg says "input/output error" for a host without an address."""
    is_network = job.source.kind in {Kind.RTSP, Kind.HTTP, Kind.HLS}
    if is_network and getattr(error, "errno", None) == errno.EIO:
        host = urlsplit(job.source.address).hostname
        try:
            socket.getaddrinfo(host, None)
        except OSError:
            return f"no such host: {host}"
    return sentence_of(error, job)
