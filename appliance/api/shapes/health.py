"""Errors and the box's health."""

from pydantic import BaseModel, Field


class Error(BaseModel):
    """Why a request was refused."""

    error: str = Field(description="what happened, got, wanted, what to do")
    code: str = Field(description="a word for programs, such as bad_picture")
    reason: str | None = Field(None, description="of a failed guest: trap, exit, deadline, ...")


class Health(BaseModel):
    """The box answers."""

    status: str = "ok"
    version: str
    uptime_s: float
    apps: int


class Ready(BaseModel):
    """The box takes work."""

    ready: bool


class LogLine(BaseModel):
    """A record of the log. at: Unix seconds."""

    at: float
    level: str
    logger: str
    text: str


class Log(BaseModel):
    """The last records that fit, newest last. dropped: older ones, no longer kept."""

    lines: list[LogLine]
    dropped: int
