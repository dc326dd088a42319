"""What a deploy goes through, as a value.

    received -> validated -> compiled -> warmed -> live -> draining -> gone
        any before live, or a probation that was failed -> failed

A stage is one that was reached. `live` is also the end of what a restart interrupted after the
pointer had switched. Stages only go forward; what comes late is ignored.
"""

from dataclasses import dataclass, replace
from enum import StrEnum

from appliance.deploying.probation import NO_PROBATION, Probation

# Of a sentence that is kept; a compiler's can be long.
MAX_REASON_LENGTH = 500
# The User-Agent of our command line, by which the box knows who asked.
CLI_AGENT = "appliance-cli"


class Stage(StrEnum):
    """received: on record.   validated: its manifest, and what the box grants.   compiled: also
    tried in a process of its own, if the box does so.   warmed: an instance could answer, the
    models it used when tried are loaded.   live: it answers.   draining: another does; its last
    frames finish.   gone: they have.
    """

    RECEIVED = "received"
    VALIDATED = "validated"
    COMPILED = "compiled"
    WARMED = "warmed"
    LIVE = "live"
    DRAINING = "draining"
    GONE = "gone"
    FAILED = "failed"


_ORDER = tuple(Stage)
_ENDS = (Stage.GONE, Stage.FAILED)


class Kind(StrEnum):
    """What was asked. start: the box came up with an app that broke, or without a record of it."""

    DEPLOY = "deploy"
    ROLLBACK = "rollback"
    ENABLE = "enable"
    START = "start"


class Asker(StrEnum):
    """Who asked. automatic: the box itself."""

    INBOX = "inbox"
    API = "api"
    CLI = "cli"
    AUTOMATIC = "automatic"


@dataclass(frozen=True, slots=True)
class Step:
    """at: Unix seconds."""

    stage: Stage
    at: float


@dataclass(frozen=True, slots=True)
class Deploy:
    """One change of which version of an app answers, and what became of it.

    id: grows.   before: the version that answered when it began, "" if none.
    had_files: the version was on disk before.   reason: why it failed, or why it was made.
    """

    id: int
    app: str
    version: str
    before: str
    kind: Kind
    by: Asker
    steps: tuple[Step, ...]
    had_files: bool = True
    reason: str = ""
    probation: Probation = NO_PROBATION

    @property
    def stage(self) -> Stage:
        return self.steps[-1].stage

    @property
    def is_under_way(self) -> bool:
        return _ORDER.index(self.stage) < _ORDER.index(Stage.LIVE)

    def reached(self, stage: Stage, at: float, reason: str = "") -> "Deploy":
        """Go on to a stage. Returns: itself if that would be a step back."""
        is_forward = _ORDER.index(stage) > _ORDER.index(self.stage)
        if self.stage in _ENDS or not is_forward:
            return self
        steps = (*self.steps, Step(stage, at))
        return replace(self, steps=steps, reason=reason[:MAX_REASON_LENGTH] or self.reason)
