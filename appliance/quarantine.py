"""Strikes and quarantines, over restarts: state/quarantine.json.

What is quarantined is not brought up and not loaded. Other bytes are another subject: a new
version is not held back. `release` lets the same bytes try again.
"""

import json
import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from appliance.errors import ApplianceError, NotFound, Unavailable
from appliance.files import read_bounded, set_aside, write_atomic
from appliance.marks import Mark
from appliance.suspicion import (
    STRIKES,
    Kind,
    Subject,
    convicted,
    recent,
    struck,
    suspects,
)

log = logging.getLogger(__name__)

_MAX_BYTES = 256 * 1024
# The oldest is forgotten; a box has fewer models and apps.
_KEPT = 200


@dataclass(frozen=True, slots=True)
class Sentence:
    """A quarantine. since: Unix seconds.   fate: how the service ended the last time."""

    subject: Subject
    since: float
    fate: str

    @property
    def reason(self) -> str:
        subject = self.subject
        if subject.kind is Kind.APP:
            cure = (
                f"deploy another version, or try this one again: `appliance enable {subject.name}`"
            )
        else:
            name, _, version = subject.name.partition(":")
            cure = (
                "replace it, or try it again: POST "
                f"/v1/models/{name}/{version}/release"
            )  # fmt: skip
        return (
            f"{subject.kind} {subject.name}: quarantined, the box ended {STRIKES} times while it "
            f"was in flight (last: {self.fate}); {cure}"
        )


class Quarantine:
    """Knows what is not to be run. Thread-safe. clock: Unix seconds."""

    def __init__(self, file: Path, clock: Callable[[], float] = time.time) -> None:
        self._file = file
        self._clock = clock
        self._lock = threading.Lock()
        self._strikes: dict[Subject, tuple[float, ...]] = {}
        self._sentences: dict[Subject, Sentence] = {}
        self._problem = ""

    def problem(self) -> str:
        """Say what was wrong with the file; "" if nothing was."""
        return self._problem

    def open(self) -> None:
        """Read what is known; a damaged file costs the strikes, not the start."""
        try:
            self._strikes, self._sentences = _parse(read_bounded(self._file, max_bytes=_MAX_BYTES))
        except NotFound:
            return
        except (ApplianceError, ValueError, LookupError, TypeError, ArithmeticError,
                RecursionError) as exc:  # fmt: skip
            aside = set_aside(self._file)
            kept = "" if aside is None else f" and is now {aside.name}"
            self._problem = f"quarantine.json was damaged{kept}; what was quarantined runs again"
            log.error("quarantines forgotten reason=%s", exc)

    def judge(self, marks: tuple[Mark, ...], fate: str, now_s: float) -> frozenset[Subject]:
        """Give strikes for a death of the service. now_s: monotonic seconds.

        Returns: who got one.
        """
        suspected = suspects(marks, fate, now_s)
        now = self._clock()
        if fate:
            names = ", ".join(f"{s.kind}={s.name}" for s in sorted(suspected)) or "nobody"
            apps = ", ".join(sorted({mark.name for mark in marks if mark.doing.name == "APP"}))
            log.error(
                "service ended before fate=%r suspects=%s apps_in_flight=%s", fate, names,
                apps or "none",
            )  # fmt: skip
        with self._lock:
            self._strikes = struck(self._strikes, suspected, now)
            for subject in convicted(self._strikes):
                sentence = self._sentences[subject] = Sentence(subject, now, fate)
                del self._strikes[subject]
                log.error("quarantined reason=%s", sentence.reason)
            while len(self._sentences) > _KEPT:
                del self._sentences[next(iter(self._sentences))]
            if suspected:
                self._save()
        return suspected

    def sentence(self, subject: Subject) -> Sentence | None:
        """Find a quarantine."""
        with self._lock:
            return self._sentences.get(subject)

    def of_model(self, name: str) -> Sentence | None:
        """Find the quarantine of a model, name:version, whatever its bytes."""
        with self._lock:
            found = [s for s in self._sentences.values()
                     if s.subject.kind is Kind.MODEL and s.subject.name == name]  # fmt: skip
        return found[-1] if found else None

    def is_suspect(self, subject: Subject) -> bool:
        """Tell whether it was in flight at a death lately."""
        with self._lock:
            return subject in recent(self._strikes, self._clock())

    def release(self, kind: Kind, name: str) -> bool:
        """Forget strikes and quarantines of a name. Returns: whether it was quarantined."""
        with self._lock:
            released = [s for s in self._sentences if (s.kind, s.name) == (kind, name)]
            struck_before = [s for s in self._strikes if (s.kind, s.name) == (kind, name)]
            for subject in released:
                del self._sentences[subject]
            for subject in struck_before:
                del self._strikes[subject]
            if released or struck_before:
                self._save()
        if released:
            log.info("quarantine lifted %s=%s", kind, name)
        return bool(released)

    def _save(self) -> None:
        """Under the lock. A disk that refuses costs what the next start would know."""
        content = {
            "strikes": [[*_key(s), list(times)] for s, times in self._strikes.items()],
            "quarantined": [[*_key(s), v.since, v.fate] for s, v in self._sentences.items()],
        }
        try:
            write_atomic(self._file, json.dumps(content, indent=1).encode())
        except Unavailable as exc:
            log.error("quarantine not kept reason=%s", exc)


def _key(subject: Subject) -> tuple[str, str, str]:
    return subject.kind.value, subject.name, subject.version


def _parse(
    content: bytes,
) -> tuple[dict[Subject, tuple[float, ...]], dict[Subject, Sentence]]:
    """Raises: for what we did not write, whatever comes of it."""
    value: Any = json.loads(content)
    strikes = {
        Subject(Kind(kind), str(name), str(version)): tuple(float(at) for at in times)
        for kind, name, version, times in value["strikes"]
    }
    sentences = [
        Sentence(Subject(Kind(kind), str(name), str(version)), float(since), str(fate))
        for kind, name, version, since, fate in value["quarantined"]
    ]
    return strikes, {sentence.subject: sentence for sentence in sentences}
