"""Models come and go over the socket."""

from collections.abc import AsyncIterator
from typing import Protocol

from fastapi import APIRouter, Request, Response
from fastapi.concurrency import contextmanager_in_threadpool
from starlette.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect

from appliance.api import shapes
from appliance.api.body import TheBox, body_of
from appliance.api.multipart import MEDIA_TYPE, FormFiles
from appliance.errors import BadRequest, TooBig
from appliance.files import new_file, writing
from appliance.uploads import Upload

router = APIRouter(prefix="/v1/models", tags=["models"])

# What goes to the disk at once: one hop to a thread each, so not the network's small pieces.
_PIECE_BYTES = 1024 * 1024
# Boundaries and headers of the parts.
_FRAMING_BYTES = 1024 * 1024


@router.put(
    "/{name}/{version}",
    status_code=201,
    openapi_extra=body_of(
        "application/x-tar", "application/gzip", "application/zip", MEDIA_TYPE,
        "application/octet-stream",
    ),
)  # fmt: skip
async def upload(name: str, version: str, request: Request, box: TheBox) -> shapes.Added:
    """Add a model: a .tar, .tar.gz or .zip of its folder, or its files as multipart/form-data.

    It is checked, and loaded in every encoding that this box has a runtime for. Who loads the model
    by its plain name from now on gets the highest version; a warm reactor goes on with what it has
    until it is deployed, or disabled and enabled.
    """
    async with contextmanager_in_threadpool(box.uploads.begin(name, version)) as begun:
        await _receive(request, begun, box.uploads.limits.max_bytes)
        done = await run_in_threadpool(box.uploads.install, begun)
    return shapes.Added(
        name=done.name, version=done.version, loaded=list(done.loaded), untried=list(done.untried),
        is_default=done.is_default,
    )  # fmt: skip


class _Sink(Protocol):
    """Where a body goes, piece by piece."""

    def write(self, chunk: bytes) -> None: ...
    def finish(self) -> None: ...
    def close(self) -> None: ...


class _ArchiveFile:
    """Keeps a body as one file."""

    def __init__(self, begun: Upload) -> None:
        self._path = begun.archive
        self._file = new_file(begun.archive)

    def write(self, chunk: bytes) -> None:
        with writing(self._path):
            self._file.write(chunk)

    def finish(self) -> None:
        with writing(self._path):
            self._file.flush()

    def close(self) -> None:
        with writing(self._path):
            self._file.close()


async def _receive(request: Request, begun: Upload, max_bytes: int) -> None:
    """Bring a body to disk. Raises: TooBig, BadRequest, Unavailable."""
    content_type = request.headers.get("content-type", "")
    is_form = content_type.lower().startswith(MEDIA_TYPE)
    allowed = max_bytes + (_FRAMING_BYTES if is_form else 0)
    announced = request.headers.get("content-length", "")
    if announced.isdigit() and int(announced) > allowed:
        raise TooBig(f"body: got {announced} bytes, wanted at most {max_bytes}")
    sink: _Sink = (
        FormFiles(content_type, begun.files, begun.bounds) if is_form else _ArchiveFile(begun)
    )
    try:
        async for piece in _pieces(request, allowed):
            await run_in_threadpool(sink.write, piece)
        await run_in_threadpool(sink.finish)
    finally:
        sink.close()


async def _pieces(request: Request, allowed: int) -> AsyncIterator[bytes]:
    """Give a body in pieces of a good size."""
    received, pending = 0, bytearray()
    try:
        async for chunk in request.stream():
            received += len(chunk)
            if received > allowed:
                raise TooBig(f"body: got over {allowed} bytes, wanted at most that")
            pending += chunk
            if len(pending) >= _PIECE_BYTES:
                yield bytes(pending)
                pending.clear()
    except ClientDisconnect as exc:
        raise BadRequest(f"body: the client left after {received} bytes") from exc
    if not received:
        raise BadRequest(
            "body: empty, wanted a .tar, .tar.gz or .zip, or multipart/form-data with the files "
            "(with curl: -T model.tar.gz)"
        )
    if pending:
        yield bytes(pending)


@router.delete("/{name}/{version}", status_code=204, response_class=Response)
def remove(name: str, version: str, box: TheBox) -> None:
    """Delete a version that was uploaded; graphs in use live on until they are released."""
    box.models.remove(name, version)
