"""Reactor guests: warm instances that are called once a frame.

An instance that traps or misses its deadline is in an unknown state and is thrown away; the next
frame gets a fresh one. One that returns an errno is well and stays.
"""

import threading
import time
from collections import OrderedDict

from appliance.errors import FailureReason, GuestFailed, Unavailable
from appliance.guests.instance import Instance, Output, too_busy
from appliance.guests.pool import InstancePool
from appliance.guests.program import ON_FRAME, Program
from appliance.guests.runner import Answer
from appliance.guests.setup import set_up
from appliance.manifests import Instances
from appliance.records import Frame
from wasi_nn.executor import Cancellation

# Sources that have an instance to themselves; beyond that the longest unused one is closed. More
# than a box has cameras; clients of the socket are one source.
MAX_SOURCES = 128


class ReactorRunner:
    """Up to `instances` warm instances, made when first needed; for all frames, or one for each
    source if the manifest says so.
    """

    def __init__(self, program: Program, instances: int) -> None:
        self._program = program
        self._is_per_source = program.manifest.instances is Instances.PER_CAMERA
        self._shared = InstancePool(instances)
        self._lock = threading.Lock()
        # The one used last comes last.
        self._own: OrderedDict[str, InstancePool] = OrderedDict()

    def __repr__(self) -> str:
        what = f"{len(self._own)} sources" if self._is_per_source else repr(self._shared)
        return f"<ReactorRunner {self._program.name} {what}>"

    def warm_up(self) -> None:
        """Make one instance now, so that what fails at start fails at deploy."""
        made = self._take(self._shared, "")
        if self._is_per_source:
            self._throw_away(self._shared, made)
        else:
            self._shared.give_back(made)

    def run(self, frame: Frame, cancellation: Cancellation | None = None) -> Answer:
        """See `Runner.run`."""
        pool = self._pool_of(frame.source)
        instance = self._take(pool, frame.source)
        started_s = time.perf_counter()
        try:
            handle = instance.guest.show(frame)
            status = instance.call(handle, cancellation=cancellation)
        except BaseException:
            self._throw_away(pool, instance)
            raise
        outputs = instance.guest.hide()
        guest_s = time.perf_counter() - started_s
        answer = Answer(outputs, guest_s, instance.memory_bytes(), instance.spent)
        last_error, refused = instance.guest.last_error, instance.guest.refused
        was_busy = instance.guest.was_busy
        pool.give_back(instance)
        if refused:
            raise GuestFailed(refused, reason=FailureReason.OUTPUT)
        if status != 0 and was_busy:
            raise too_busy(self._program.name, last_error)
        if status != 0:
            raise GuestFailed(
                f"{ON_FRAME} returned {status}, wanted 0"
                + (f"; its last failed call: {last_error}" if last_error else ""),
                reason=FailureReason.ERRNO,
            )
        return answer

    def forget(self, source: str) -> None:
        """See `Runner.forget`."""
        with self._lock:
            pool = self._own.pop(source, None)
        if pool is not None:
            pool.close()

    def close(self) -> None:
        """See `Runner.close`."""
        with self._lock:
            pools, self._own = [self._shared, *self._own.values()], OrderedDict()
        for pool in pools:
            pool.close()

    def _pool_of(self, source: str) -> InstancePool:
        """Find whose turn a source's frame takes."""
        if not self._is_per_source:
            return self._shared
        with self._lock:
            pool = self._own.pop(source, None) or InstancePool(1)
            self._own[source] = pool
            unused = [name for name, own in self._own.items() if own.is_idle and own is not pool]
            old = self._own.pop(unused[0]) if unused and len(self._own) > MAX_SOURCES else None
        if old is not None:
            old.close()
        return pool

    def _take(self, pool: InstancePool, source: str) -> Instance:
        """Take an idle instance, make one, or wait for one."""
        deadline_s = self._program.limits.deadline_s
        try:
            instance = pool.take(source, deadline_s)
        except TimeoutError:
            raise Unavailable(
                f"app {self._program.name}: all {pool.limit} instances stayed busy for "
                f"{deadline_s:g} s; send fewer frames at once"
            ) from None
        if instance is not None:
            return instance
        try:
            return self._make()
        except BaseException:
            pool.throw_away()
            raise

    def _make(self) -> Instance:
        wasi = set_up(self._program, self._program.manifest.args)
        # A reactor answers through `emit`; what it prints is for people.
        return Instance(self._program, wasi.config, Output(), wasi.spaces)

    def _throw_away(self, pool: InstancePool, instance: Instance) -> None:
        instance.close()
        pool.throw_away()
