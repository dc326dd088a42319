"""The box's own log over the socket."""

from typing import Annotated

from fastapi import APIRouter, Query

from appliance.api.body import TheBox
from appliance.api.shapes.health import Log, LogLine
from appliance.logring import KEPT, LogQuery
from appliance.logs import LogLevel

router = APIRouter(prefix="/v1/logs", tags=["health"])


@router.get("")
def read_log(
    box: TheBox,
    level: Annotated[LogLevel, Query(description="the least to show")] = LogLevel.DEBUG,
    lines: Annotated[int, Query(ge=1, le=KEPT, description="how many, the newest")] = 100,
    app: Annotated[str | None, Query(description="only what names this app")] = None,
) -> Log:
    """Give the last lines of the log, newest last."""
    found, dropped = box.log_ring.read(LogQuery(level.number, lines, app))
    return Log(
        lines=[LogLine(at=f.at, level=f.level, logger=f.logger, text=f.text) for f in found],
        dropped=dropped,
    )
