"""One app over the socket: what it is, what it says, and changes of it."""

from contextlib import suppress
from enum import StrEnum
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from pydantic import ValidationError
from starlette.concurrency import run_in_threadpool

from appliance.api import shapes
from appliance.api.apps import Name, app_of, asker_of
from appliance.api.body import TheBox, read_optional_body
from appliance.api.granted import grants_shape, signature_shape
from appliance.api.rooms import Rooms
from appliance.deploying.stages import Deploy
from appliance.errors import ApplianceError, BadRequest, Conflict, NotFound
from appliance.guests.breaches import Breach
from appliance.guests.journal import KEPT_LINES
from appliance.manifests import AppManifest
from appliance.settings import AppLimits
from appliance.standings import AppState, Standing

router = APIRouter(prefix="/v1/apps", tags=["apps"])

_MAX_ROLLBACK_BYTES = 1024
MAX_DEPLOYS = 20


class Level(StrEnum):
    """Levels of an app's log, the least first."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


_LEVELS = list(Level)


@router.get("/{name}")
def show_app(name: Name, box: TheBox) -> shapes.AppDetail:
    """Say all about one app: state, limits, versions, and what became of its frames."""
    standing = box.deployer.standing(name)
    detail = shapes.AppDetail(
        **app_of(box, standing).model_dump(),
        is_enabled=standing.state is not AppState.DISABLED,
        reason=_reason(standing),
        versions=[
            shapes.Version(
                version=stored.version, deployed_at=stored.deployed_at,
                size_bytes=stored.size_bytes, is_current=stored.is_current,
            )
            for stored in box.deployer.versions(name)
        ],
        limits=None, models=None, cameras=None,
        deploys=[_deploy(deploy) for deploy in box.deployer.history(name)[:MAX_DEPLOYS]],
    )  # fmt: skip
    manifest = _manifest(box, name)
    if manifest is not None:
        detail = detail.model_copy(update={
            "limits": _limits(manifest.limits_over(box.settings.limits)),
            "grants": grants_shape(manifest, box.settings.policy),
            "signature": signature_shape(box.gate.admission(name, standing.version)),
            "models": manifest.models,
            "cameras": None if manifest.cameras is None else list(manifest.cameras),
        })  # fmt: skip
    with suppress(NotFound, Conflict), box.apps.using(name) as live:
        return detail.model_copy(update={
            "frames_last_minute": live.statistics().frames_last_minute,
            "log_dropped": live.program.journal.dropped,
            "breaches": dict(live.program.breaches.counts()),
            "last_breach": _breach(live.program.breaches.last),
            "suspended_s": live.runner.suspended_s,
        })  # fmt: skip
    return detail


def _reason(standing: Standing) -> str:
    if standing.state is AppState.LIVE:
        return ""
    if standing.state is AppState.DISABLED:
        return f"disabled; POST /v1/apps/{standing.name}/enable lets it answer again"
    if standing.under_way is not None and standing.state is AppState.DEPLOYING:
        return f"its first version is on the way: {standing.under_way.stage}"
    return "" if standing.failure is None else standing.failure.reason


def _deploy(deploy: Deploy) -> shapes.Deploy:
    watched = deploy.probation
    return shapes.Deploy(
        version=deploy.version, from_=deploy.before, kind=deploy.kind, by=deploy.by,
        stage=deploy.stage, reason=deploy.reason, started_at=deploy.steps[0].at,
        stages=[shapes.DeployStage(stage=step.stage, at=step.at) for step in deploy.steps],
        probation=None if not watched.frames else shapes.Probation(
            frames=watched.frames, answered=watched.answered, failed=watched.failed,
            verdict=watched.verdict,
        ),
    )  # fmt: skip


def _manifest(box: Rooms, name: str) -> AppManifest | None:
    """Find the manifest that holds: of the version that answers, else on disk, else none."""
    with suppress(NotFound, Conflict), box.apps.using(name) as live:
        return live.program.manifest
    try:
        return box.deployer.manifest(name)
    except ApplianceError:
        return None


def _breach(breach: Breach | None) -> shapes.Breach | None:
    if breach is None:
        return None
    return shapes.Breach(
        limit=breach.limit, at=breach.at, wanted=breach.wanted, allowed=breach.allowed
    )


def _limits(limits: AppLimits) -> shapes.Limits:
    return shapes.Limits.model_validate(limits.model_dump())


@router.get("/{name}/log")
def read_log(
    name: Name, box: TheBox,
    lines: Annotated[int, Query(ge=1, le=KEPT_LINES, description="at most")] = 100,
    level: Annotated[Level, Query(description="the least that counts")] = Level.DEBUG,
) -> shapes.Log:  # fmt: skip
    """Give the end of an app's log; empty if it is not live, for a version takes its log along."""
    box.deployer.standing(name)
    with suppress(NotFound, Conflict), box.apps.using(name) as live:
        journal = live.program.journal
        wanted = set(_LEVELS[_LEVELS.index(level) :])
        tail = [line for line in journal.tail() if line.level in wanted][-lines:]
        return shapes.Log(
            lines=[
                shapes.LogLine(at=line.at, level=line.level, text=line.text) for line in tail
            ],
            dropped=journal.dropped,
        )  # fmt: skip
    return shapes.Log(lines=[], dropped=0)


@router.post(
    "/{name}/rollback",
    openapi_extra={
        "requestBody": {
            "required": False,
            "content": {"application/json": {"schema": shapes.Rollback.model_json_schema()}},
        }
    },
)
async def roll_back(name: Name, request: Request, box: TheBox) -> shapes.Deployed:
    """Let an earlier version answer: {"version": "..."}, or {} for the one before."""
    # Read here and not by the framework, which would want a header that curl does not send.
    body = await read_optional_body(request, _MAX_ROLLBACK_BYTES)
    try:
        wanted = shapes.Rollback.model_validate_json(body or b"{}")
    except ValidationError as exc:
        raise BadRequest(
            f'body: {exc.errors()[0]["msg"].lower()}; wanted {{"version": "..."}} or {{}}'
        ) from exc
    by = asker_of(request)
    done = await run_in_threadpool(lambda: box.deployer.rollback(name, wanted.version, by=by))
    return shapes.Deployed(name=done.name, version=done.version, is_new=done.is_new)


@router.post("/{name}/enable")
def enable(name: Name, request: Request, box: TheBox) -> shapes.App:
    """Let a disabled app answer again; it is checked as at a deploy."""
    box.deployer.enable(name, by=asker_of(request))
    return app_of(box, box.deployer.standing(name))


@router.post("/{name}/disable")
def disable(name: Name, box: TheBox) -> shapes.App:
    """Let an app answer no frames, restarts included, until it is enabled or deployed."""
    box.deployer.disable(name)
    return app_of(box, box.deployer.standing(name))


@router.delete("/{name}", status_code=204, response_class=Response)
def delete(name: Name, box: TheBox) -> None:
    """Forget an app and its versions; its predictions stay in the history."""
    box.deployer.delete(name)
