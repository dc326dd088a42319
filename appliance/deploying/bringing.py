"""From a bundle to a version that could answer: compiled, linked, models loaded, instantiated."""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

from appliance.apps import LiveApp, make_live
from appliance.bundles import Bundle
from appliance.deploying.stages import Stage
from appliance.guests.aot import AotCache
from appliance.guests.program import Host, make_program
from appliance.manifests import AppManifest
from appliance.marking import Guard


@dataclass(frozen=True, slots=True)
class Bringer:
    """Brings versions up.

    scratch: where command guests find their frames.   instances: warm ones of a reactor, at most.
    clock: Unix seconds.   guard: marks what runs, and refuses what crashed the box too often.
    """

    host: Host
    cache: AotCache
    scratch: Path
    instances: int
    clock: Callable[[], float]
    guard: Guard | None

    def bring_up(
        self, bundle: Bundle, manifest: AppManifest, on_stage: Callable[[Stage], None],
        models: Sequence[str] = (),
    ) -> LiveApp:  # fmt: skip
        """Compile and instantiate.

        on_stage: told what is reached.   models: that it is known to ask for.
        Raises: BadGuest, GuestFailed, Unavailable; Conflict if that crashed the box too often.
        """
        name, version, guard = manifest.name, bundle.version, self.guard
        host, cache = self.host, self.cache
        if manifest.limits_over(host.defaults).fuel is not None:
            host = replace(host, engine=host.engine.counting())
            cache = cache.for_engine(host.engine)
        with nullcontext() if guard is None else guard.bringing_up(name, version):
            module = cache.module(bundle.wasm)
            on_stage(Stage.COMPILED)
            program = make_program(host, module, manifest)
            program.warm(models)
            live = make_live(
                program, version,
                instances=self.instances, scratch=self.scratch, clock=self.clock,
            )  # fmt: skip
            on_stage(Stage.WARMED)
        if guard is not None:
            live.runner.watched = guard.runner(live.runner.watched, name, version)
        return live
