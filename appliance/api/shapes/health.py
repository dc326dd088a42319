"""Errors and the box's health."""

from pydantic import Field

from appliance.api.shapes.shape import Shape


class Error(Shape):
    """Why a request was refused."""

    error: str = Field(description="what happened, got, wanted, what to do")
    code: str = Field(description="a word for programs, such as bad_picture")
    reason: str | None = Field(None, description="of a failed guest: trap, exit, deadline, ...")


class Health(Shape):
    """The box answers."""

    status: str = "ok"
    version: str
    uptime_s: float
    memory_bytes: int | None = Field(None, description="resident memory of the service")
    apps: int
    problems: list[str] = Field(
        default_factory=list,
        description="what somebody should look at, though the box serves: a full disk, a file that "
        "was damaged and set aside",
    )


class Ready(Shape):
    """The box takes work."""

    ready: bool


class LogLine(Shape):
    """A record of the log. at: Unix seconds."""

    at: float
    level: str
    logger: str
    text: str


class Log(Shape):
    """The last records that fit, newest last. dropped: older ones, no longer kept."""

    lines: list[LogLine]
    dropped: int
