"""Who is to blame for a death of the service: pure, of what was in flight each time.

Rules:
1. If a graph was loaded or ran, graphs are the suspects: they are native code. Else the apps are:
   a guest is in a sandbox, which crashes far more rarely, and mostly waits for its graph.
2. Every suspect of a death gets one strike. STRIKES within WINDOW_S, and it is quarantined.
3. Who has a strike runs alone among those that have (`marking`): the next death has one suspect of
   them. So of several that were in flight together only the guilty one comes to STRIKES.
4. After a hang only those count that were at it for long.
5. A death by somebody's will, such as kill -9, and a power cut give no strikes.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from appliance.marks import Doing, Mark

STRIKES = 3
WINDOW_S = 3600.0
# Of what hangs; a graph's run takes milliseconds. Chosen, not measured.
LONG_S = 1.5


class Kind(StrEnum):
    MODEL = "model"
    APP = "app"


@dataclass(frozen=True, slots=True, order=True)
class Subject:
    """What can be quarantined: a version of an app, or the bytes of a model.

    name: an app's, or a model's as name:version.   version: an app's, or the model's digest.
    """

    kind: Kind
    name: str
    version: str


def suspects(marks: Sequence[Mark], fate: str, now_s: float) -> frozenset[Subject]:
    """Say who is suspected. fate: how the service ended, see `supervision.link`."""
    is_hang = fate.startswith("hang")
    if not is_hang and not fate.startswith("crash"):
        return frozenset()
    if is_hang:
        marks = [mark for mark in marks if now_s - mark.began_s >= LONG_S]
    graphs = frozenset(_subject(mark) for mark in marks if mark.doing is not Doing.APP)
    return graphs or frozenset(_subject(mark) for mark in marks)


def _subject(mark: Mark) -> Subject:
    kind = Kind.APP if mark.doing is Doing.APP else Kind.MODEL
    return Subject(kind, mark.name, mark.version)


def recent(
    strikes: Mapping[Subject, Sequence[float]], now: float
) -> dict[Subject, tuple[float, ...]]:
    """Leave out what is too old to count; a clock that was set back makes nothing count."""
    kept = {
        subject: tuple(at for at in times if 0 <= now - at < WINDOW_S)
        for subject, times in strikes.items()
    }
    return {subject: times for subject, times in kept.items() if times}


def struck(
    strikes: Mapping[Subject, Sequence[float]], subjects: Iterable[Subject], now: float
) -> dict[Subject, tuple[float, ...]]:
    """Give each a strike, and forget the old ones. now: Unix seconds."""
    kept = recent(strikes, now)
    return kept | {subject: (*kept.get(subject, ()), now) for subject in subjects}


def convicted(strikes: Mapping[Subject, Sequence[float]]) -> frozenset[Subject]:
    """Say who is to be quarantined."""
    return frozenset(subject for subject, times in strikes.items() if len(times) >= STRIKES)
