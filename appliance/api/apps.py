"""Apps over the socket: list, deploy, and send a frame."""

import re
import time
from contextlib import suppress
from typing import Annotated

from fastapi import APIRouter, Header, Path, Request, Response
from starlette.concurrency import run_in_threadpool

from appliance.api import shapes
from appliance.api.body import (
    DirectRoute,
    TheBox,
    body_of,
    cancelled_on_disconnect,
    on_thread,
    read_body,
    rendered,
)
from appliance.api.exchange import timing_of
from appliance.api.predictions import shape_of
from appliance.api.rooms import Rooms
from appliance.bundles import MAX_WASM_BYTES, read_bundle
from appliance.deploying.stages import CLI_AGENT, Asker
from appliance.errors import BadRequest, Conflict, NotFound
from appliance.pictures import decode
from appliance.pipeline import CLIENTS
from appliance.records import Frame
from appliance.standings import Standing
from wasi_nn.executor import Cancellation

router = APIRouter(prefix="/v1/apps", tags=["apps"])
hot = APIRouter(prefix="/v1/apps", tags=["apps"], route_class=DirectRoute)

_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")

Name = Annotated[str, Path(description="lower-case letters, digits and dashes")]


@router.get("")
def list_apps(box: TheBox) -> list[shapes.App]:
    """List the apps: live, disabled and failed."""
    return [app_of(box, standing) for standing in box.deployer.standings()]


@router.put("/{name}", openapi_extra=body_of(
    "application/octet-stream", "application/zip", "application/x-tar", "application/gzip",
))  # fmt: skip
async def deploy(
    name: Name, request: Request, box: TheBox,
    signature: Annotated[
        str | None,
        Header(alias="X-App-Signature", description="a line that `appliance sign` made"),
    ] = None,
) -> shapes.Deployed:  # fmt: skip
    """Deploy a guest: the body is a .wasm, or an archive with one, an app.toml and an app.sig.

    Archives are .zip, .tar or .tar.gz. The signature of a lone .wasm comes in the header
    `X-App-Signature`. It is tried in a process of its own first, with the [sample] of its
    app.toml if it has one.
    """
    if _NAME.fullmatch(name) is None:
        raise BadRequest(
            f"app name: got {name[:80]!r}, wanted 1 to 63 lower-case letters, digits and dashes"
        )
    body = await read_body(request, MAX_WASM_BYTES, "a .wasm, .zip or .tar.gz")
    by = asker_of(request)

    def work() -> shapes.Deployed:
        bundle = read_bundle(body).signed(None if signature is None else signature.encode())
        done = box.deployer.deploy(bundle, name, is_name_binding=True, by=by)
        return shapes.Deployed(name=done.name, version=done.version, is_new=done.is_new)

    return await run_in_threadpool(work)


def asker_of(request: Request) -> Asker:
    """Tell our command line from other clients, for the record; nothing depends on it."""
    agent = request.headers.get("user-agent", "")
    return Asker.CLI if agent.startswith(CLI_AGENT) else Asker.API


@hot.post(
    "/{name}/frames",
    response_model=shapes.Answer,
    openapi_extra=body_of("image/jpeg", "image/png", "image/webp", "application/octet-stream"),
)
async def send_frame(name: Name, request: Request, box: TheBox) -> Response:
    """Show a picture (JPEG, PNG or WebP as the body) to an app and get what it says."""
    captured_at, captured_s = time.time(), time.monotonic()
    body = await read_body(request, box.settings.max_body_bytes, "a picture")
    box.pipeline.check(name)
    timing = timing_of(request)

    async with cancelled_on_disconnect(request) as cancellation:

        def work() -> Response:
            answer = _answer(box, name, body, captured_at, captured_s, cancellation)
            parts = answer.timing_ms.model_dump(exclude={"total"}, exclude_none=True)
            timing.update(parts)
            return rendered(answer)

        return await on_thread(work)


def _answer(
    box: Rooms, name: str, body: bytes, captured_at: float, captured_s: float,
    cancellation: Cancellation,
) -> shapes.Answer:  # fmt: skip
    pixels, media_type = decode(body, max_pixels=box.settings.max_pixels)
    decoded_s = time.monotonic()
    frame = Frame(
        source=CLIENTS, sequence=box.pipeline.next_sequence(), captured_at=captured_at,
        captured_monotonic_s=captured_s, pixels=pixels, encoded=body, media_type=media_type,
    )  # fmt: skip
    done = box.pipeline.process(name, frame, cancellation)
    return shapes.Answer(
        app=done.app,
        version=done.version,
        width=frame.width,
        height=frame.height,
        predictions=[shape_of(prediction) for prediction in done.predictions],
        is_stored=done.is_stored,
        timing_ms=shapes.Timing(
            decode=_ms(decoded_s - captured_s),
            queue=_ms(done.spent.queue_s),
            compute=_ms(done.spent.compute_s),
            guest=_ms(done.guest_s),
            store=_ms(done.store_s),
            total=_ms(time.monotonic() - captured_s),
        ),
    )


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 3)


def app_of(box: Rooms, standing: Standing) -> shapes.App:
    """Say what an app is; its counts, if a version answers."""
    failure, deploy = standing.failure, standing.under_way
    app = shapes.App(
        name=standing.name, state=standing.state, version=standing.version,
        last_deploy_error="" if failure is None else failure.reason,
        deploying=None if deploy is None else shapes.Deploying(
            version=deploy.version, stage=deploy.stage, at=deploy.steps[-1].at
        ),
    )  # fmt: skip
    with suppress(NotFound, Conflict), box.apps.using(standing.name) as live:
        counts = live.statistics()
        return app.model_copy(update={
            "version": live.version, "mode": live.program.mode.value,
            "live_since": live.went_live_at, "frames": counts.frames,
            "predictions": counts.predictions, "failures": counts.failures,
            "guest_ms": _ms(counts.guest_s), "last_error": counts.last_error,
            "last_error_at": counts.last_error_at,
        })  # fmt: skip
    return app
