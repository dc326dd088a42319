"""From a frame to stored predictions."""

import itertools
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from appliance.apps import AppTable
from appliance.errors import ApplianceError, Suspended, Unavailable
from appliance.feed import Feed
from appliance.records import Frame, Prediction, prediction_from_output
from appliance.store import PredictionStore
from wasi_nn.executor import Cancellation, Spent

log = logging.getLogger(__name__)

# The source of frames that clients send without naming a camera.
CLIENTS = "api"


@dataclass(frozen=True, slots=True)
class Processed:
    """What one app made of one frame.

    is_stored: False if the disk refused the history; the predictions hold all the same, without
    ids.   guest_s, store_s: seconds; spent says which of the guest's its computes took.
    """

    app: str
    version: str
    predictions: tuple[Prediction, ...]
    is_stored: bool
    guest_s: float
    spent: Spent
    store_s: float


class Pipeline:
    """Shows frames to apps and keeps what they say."""

    def __init__(
        self, table: AppTable, store: PredictionStore, feed: Feed,
        clock: Callable[[], float] = time.time,
    ) -> None:  # fmt: skip
        self._table = table
        self._store = store
        self._feed = feed
        self._clock = clock
        self._sequence = itertools.count()

    def next_sequence(self) -> int:
        """Number a frame of the source CLIENTS, whichever way it came."""
        return next(self._sequence)

    def check(self, app_name: str) -> None:
        """Refuse a frame before anything is done for it, if its app is suspended; it is counted.

        An app that fails may be shown frames without end, and decoding each costs the others.
        Does not wait.   Raises: NotFound for an unknown app, Suspended.
        """
        with self._table.using(app_name) as app:
            try:
                app.runner.check()
            except Suspended as exc:
                app.count_failure(exc)
                raise

    def process(
        self, app_name: str, frame: Frame, cancellation: Cancellation | None = None
    ) -> Processed:
        """Show a frame to an app.

        cancellation: tells when nobody waits for the answer any more.
        Raises: NotFound for an unknown app, GuestFailed, Unavailable. The app stays.
        """
        with self._table.using(app_name) as app:
            try:
                answer = app.runner.run(frame, cancellation)
            except ApplianceError as exc:
                app.count_failure(exc)
                # A camera would fill the log; it is counted, and who asked is told.
                log.debug("frame failed app=%s version=%s reason=%s", app.name, app.version, exc)
                raise
            now = self._clock()
            predictions = tuple(
                prediction_from_output(
                    output, app=app.name, version=app.version, frame=frame, emitted_at=now
                )
                for output in answer.outputs
            )
            started_s = time.perf_counter()
            stored, is_stored = self._keep(predictions)
            app.count_answer(len(stored), answer.guest_s)
        return Processed(
            app.name, app.version, stored, is_stored, answer.guest_s, answer.spent,
            time.perf_counter() - started_s,
        )  # fmt: skip

    def _keep(self, predictions: tuple[Prediction, ...]) -> tuple[tuple[Prediction, ...], bool]:
        """Store them; a box whose disk is full still answers."""
        if not predictions:
            return predictions, True
        try:
            ids = self._store.append(predictions)
        except Unavailable as exc:
            # The store says when this begins and ends; a line for each frame would fill the disk.
            log.debug("predictions not stored reason=%s", exc)
            # What is stored the store publishes; who watches sees these all the same.
            self._feed.publish(predictions)
            return predictions, False
        return tuple(replace(p, id=i) for p, i in zip(predictions, ids, strict=True)), True
