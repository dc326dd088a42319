"""The start of the box: what was interrupted is closed, what was live comes up again.

Rules:
1. Nothing here stops the box: a broken app is reported and skipped.
2. A deploy that was interrupted is live if the pointer names its version, else it has failed and
   what it wrote is removed. Only what the journal says was new is removed: a lost journal removes
   nothing.
3. A version on probation that ended the service is not brought up again: the one before is. One
   that has none before is left to the three strikes of `quarantine`.
"""

import logging

from appliance.deploying.attempts import OUR_FAULT
from appliance.deploying.front import Front, Parts
from appliance.deploying.probation import NO_PROBATION, Verdict
from appliance.deploying.stages import Asker, Deploy, Kind, Stage
from appliance.errors import ApplianceError
from appliance.marking import Guard

log = logging.getLogger(__name__)


class Restorer:
    """Brings the apps up, once. is_watched: whether there is any probation on this box."""

    def __init__(self, parts: Parts, front: Front, *, is_watched: bool) -> None:
        self._parts = parts
        self._front = front
        self._is_watched = is_watched
        self._guard: Guard | None = parts.bringer.guard

    def restore(self) -> None:
        """Bring up what was live before the box stopped."""
        self._parts.shelf.open()
        self._parts.journal.open()
        names = self._parts.shelf.names()
        for app in self._parts.journal.apps():
            try:
                self._close_interrupted(app, is_there=app in names)
            except ApplianceError as exc:
                log.error("deploys not closed app=%s reason=%s", app, exc)
            self._recall_failure(app)
        # Anew: `close_interrupted` may have removed one whose first deploy it was.
        for name in self._parts.shelf.names():
            try:
                self._restore(name)
            except ApplianceError as exc:
                self._note_failure(name, "", str(exc))
            except Exception:
                # Our bug, and this app's alone: the others are to come up.
                log.exception("app not restored app=%s", name)
                self._note_failure(name, "", OUR_FAULT)
        self._parts.journal.tidy()

    # -- what was interrupted --------------------------------------------------------------------

    def _close_interrupted(self, app: str, *, is_there: bool) -> None:
        shelf, journal = self._parts.shelf, self._parts.journal
        # A name that no folder bears becomes no path.
        current = shelf.current(app) if is_there and not shelf.is_disabled(app) else None
        is_found = False
        for deploy in journal.of(app):
            is_current = deploy.version == current
            if deploy.is_under_way and is_current:
                journal.step(deploy.id, Stage.LIVE)
            elif deploy.is_under_way:
                journal.step(deploy.id, Stage.FAILED, self._interruption())
                if is_there and not deploy.had_files:
                    shelf.discard(app, deploy.version)
                continue
            elif deploy.stage not in (Stage.LIVE, Stage.DRAINING):
                continue
            if is_found or not is_current or deploy.stage is Stage.DRAINING:
                # Its last frames ended with the process.
                journal.step(deploy.id, Stage.GONE)
            else:
                is_found = True

    def _interruption(self) -> str:
        fate = "" if self._guard is None else self._guard.fate
        how = f" ({fate})" if fate else ""
        return f"interrupted by a restart{how}; try again"

    def _recall_failure(self, app: str) -> None:
        """Show again what failed last, unless it went well since or is tried again now."""
        newest = next(iter(self._parts.journal.of(app)), None)
        if newest is None or newest.kind is Kind.START:
            return
        is_fallback = newest.kind is Kind.ROLLBACK and newest.by is Asker.AUTOMATIC
        if newest.stage is Stage.FAILED:
            self._show(newest, newest.version, newest.reason)
        elif newest.stage is Stage.LIVE and is_fallback:
            reason = f"version {newest.before} failed its probation: {newest.reason}"
            self._show(newest, newest.before, reason)

    def _show(self, deploy: Deploy, version: str, reason: str) -> None:
        self._parts.failures.note(deploy.app, version, reason, at=deploy.steps[-1].at)

    # -- what comes up ---------------------------------------------------------------------------

    def _restore(self, name: str) -> None:
        parts = self._parts
        if parts.shelf.is_disabled(name):
            parts.table.disable(name)
            return
        version = parts.shelf.recovered(name)
        deploy = self._judged(name, version)
        if deploy is not None and deploy.probation.is_bad and self._is_watched:
            try:
                if self._front.go_back(deploy):
                    return
            except ApplianceError as exc:
                log.error("not rolled back app=%s version=%s reason=%s", name, version, exc)
                if deploy.probation.verdict is Verdict.CRASHED:
                    return
        self._bring_up(name, version, deploy)

    def _judged(self, name: str, version: str | None) -> Deploy | None:
        """Find what made a version answer; if that ended the service, its probation is over."""
        found = (d for d in self._parts.journal.of(name) if d.stage is Stage.LIVE)
        deploy = next(found, None)
        if deploy is None or deploy.version != version or self._guard is None:
            return deploy if deploy is not None and deploy.version == version else None
        is_guilty = self._guard.has_ended_the_service(name, deploy.version)
        if deploy.probation.is_open and is_guilty and self._is_watched:
            reason = f"the service ended ({self._guard.fate}) while it was in flight"
            self._parts.journal.judge(deploy.id, deploy.probation.crashed(), reason)
        return self._parts.journal.get(deploy.id)

    def _bring_up(self, name: str, version: str | None, deploy: Deploy | None) -> None:
        parts, front = self._parts, self._front
        try:
            bundle, manifest = front.read(name, version)
            front.admit(bundle, manifest)
            live = parts.bringer.bring_up(bundle, manifest, lambda stage: None)
        except ApplianceError as exc:
            self._note_failure(name, version or "", str(exc))
            return
        if deploy is None:
            deploy = parts.journal.adopt(
                name, bundle.version, front.unfinished(name, bundle.version)
            )
        front.switch(live, deploy.id, deploy.probation if self._is_watched else NO_PROBATION)

    def _note_failure(self, name: str, version: str, reason: str) -> None:
        journal = self._parts.journal
        log.error("app not restored app=%s version=%s reason=%s", name, version, reason)
        self._parts.failures.note(name, version, reason, at=self._parts.clock())
        newest = next(iter(journal.of(name)), None)
        is_known = newest is not None and newest.kind is Kind.START and newest.reason == reason
        # Not once for each of many starts.
        if not is_known:
            journal.step(journal.adopt(name, version, NO_PROBATION).id, Stage.FAILED, reason)
