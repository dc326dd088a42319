"""Reactor guests: warm instances that are called once a frame.

An instance that traps or misses its deadline is in an unknown state and is thrown away; the next
frame gets a fresh one. One that returns an errno is well and stays.
"""

import threading
import time

import wasmtime

from appliance.errors import FailureReason, GuestFailed, Unavailable
from appliance.guests.instance import Instance, Output, too_busy
from appliance.guests.program import ON_FRAME, Program
from appliance.guests.runner import Answer
from appliance.records import Frame
from wasi_nn.executor import Cancellation


class ReactorRunner:
    """A pool of up to `instances` warm instances, made when first needed."""

    def __init__(self, program: Program, instances: int) -> None:
        self._program = program
        self._limit = instances
        self._changed = threading.Condition()
        self._idle: list[Instance] = []
        self._alive = 0

    def __repr__(self) -> str:
        return (
            f"<ReactorRunner {self._program.name} "
            f"[Instances: {self._alive} of {self._limit}, {len(self._idle)} idle]>"
        )

    def warm_up(self) -> None:
        """Make one instance now, so that what fails at start fails at deploy."""
        self._give_back(self._take())

    def run(self, frame: Frame, cancellation: Cancellation | None = None) -> Answer:
        """See `Runner.run`."""
        instance = self._take()
        started_s = time.perf_counter()
        try:
            handle = instance.guest.show(frame)
            status = instance.call(handle, cancellation=cancellation)
        except BaseException:
            self._throw_away(instance)
            raise
        outputs = instance.guest.hide()
        guest_s = time.perf_counter() - started_s
        answer = Answer(outputs, guest_s, instance.memory_bytes(), instance.spent)
        last_error, refused = instance.guest.last_error, instance.guest.refused
        self._give_back(instance)
        if refused:
            raise GuestFailed(refused, reason=FailureReason.OUTPUT)
        if status != 0 and instance.guest.was_busy:
            raise too_busy(self._program.name, last_error)
        if status != 0:
            raise GuestFailed(
                f"{ON_FRAME} returned {status}, wanted 0"
                + (f"; its last failed call: {last_error}" if last_error else ""),
                reason=FailureReason.ERRNO,
            )
        return answer

    def close(self) -> None:
        """See `Runner.close`."""
        with self._changed:
            instances, self._idle = self._idle, []
            self._alive -= len(instances)
        for instance in instances:
            instance.close()

    def _take(self) -> Instance:
        """Take an idle instance, make one, or wait for one."""
        deadline_s = self._program.limits.deadline_s
        with self._changed:
            is_free = self._changed.wait_for(
                lambda: self._idle or self._alive < self._limit, timeout=deadline_s
            )
            if not is_free:
                raise Unavailable(
                    f"app {self._program.name}: all {self._limit} instances stayed busy for "
                    f"{deadline_s:g} s; send fewer frames at once"
                )
            if self._idle:
                return self._idle.pop()
            self._alive += 1
        try:
            return self._make()
        except BaseException:
            self._forget()
            raise

    def _make(self) -> Instance:
        manifest = self._program.manifest
        wasi = wasmtime.WasiConfig()
        wasi.argv = [manifest.name, *manifest.args]
        wasi.env = list(manifest.env.items())
        # A reactor answers through `emit`; what it prints is for people.
        return Instance(self._program, wasi, Output())

    def _give_back(self, instance: Instance) -> None:
        with self._changed:
            self._idle.append(instance)
            self._changed.notify()

    def _throw_away(self, instance: Instance) -> None:
        self._forget()
        instance.close()

    def _forget(self) -> None:
        with self._changed:
            self._alive -= 1
            self._changed.notify()
