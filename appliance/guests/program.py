"""A guest that is ready to be instantiated: compiled, linked, and understood."""

from dataclasses import dataclass

import wasmtime

from appliance.errors import BadGuest
from appliance.guests.engine import GuestEngine
from appliance.guests.journal import Journal
from appliance.manifests import AppManifest, Mode
from appliance.settings import AppLimits
from wasi_nn.executor import Executor
from wasi_nn.keeper import GraphKeeper
from wasi_nn.policy import Policy, SessionLimits
from wasi_nn.registry import Registry
from wasi_nn.session import Session

START = "_start"
ON_FRAME = "appliance_on_frame"
INITIALIZE = "_initialize"


@dataclass(frozen=True, slots=True)
class Host:
    """What every guest of the box shares."""

    engine: GuestEngine
    registry: Registry
    executor: Executor
    defaults: AppLimits
    allow_fallback: bool = False


@dataclass(frozen=True, slots=True)
class Program:
    """One version of one app, ready to be instantiated.

    limits: the manifest's over the box's defaults.   keeper: keeps its graphs between instances.
    """

    host: Host
    manifest: AppManifest
    mode: Mode
    limits: AppLimits
    linked: wasmtime.InstancePre
    journal: Journal
    keeper: GraphKeeper

    @property
    def name(self) -> str:
        return self.manifest.name

    def new_session(self) -> Session:
        """Make what one instance will own."""
        manifest = self.manifest
        policy = Policy(
            models=manifest.models,
            encodings=manifest.nn.encodings,
            devices=manifest.nn.devices,
            numbering=manifest.nn.tensor_types,
            allow_fallback=self.host.allow_fallback,
        )
        limits = SessionLimits(
            graphs=self.limits.graphs,
            contexts=self.limits.handles,
            tensor_bytes=self.limits.tensor_bytes,
        )
        return Session(self.host.registry, self.host.executor, limits, policy, self.keeper)


def make_program(host: Host, module: wasmtime.Module, manifest: AppManifest) -> Program:
    """Link a module and find out how it wants to be run.

    Raises: BadGuest for an import that is not offered, or exports that fit no mode.
    """
    linked = host.engine.link(module)
    limits = manifest.limits_over(host.defaults)
    return Program(
        host=host,
        manifest=manifest,
        mode=mode_of(module, manifest.mode),
        limits=limits,
        linked=linked,
        journal=Journal(manifest.name, limits.log_lines_per_s),
        keeper=GraphKeeper(limits.graphs),
    )


def mode_of(module: wasmtime.Module, asked: Mode) -> Mode:
    """Tell how a module is run.

    Raises: BadGuest if it has not what the asked mode needs, or fits none.
    """
    exports = {export.name: export.type for export in module.exports}
    offered = {
        mode
        for mode, export in ((Mode.COMMAND, START), (Mode.REACTOR, ON_FRAME))
        if export in exports
    }
    if Mode.REACTOR in offered:
        _check_on_frame(exports[ON_FRAME])
    if asked is Mode.AUTO:
        if not offered:
            raise BadGuest(
                f"guest: exports neither {START} (a command) nor {ON_FRAME} (a reactor); it "
                f"exports {', '.join(sorted(exports)[:10]) or 'nothing'}"
            )
        return Mode.REACTOR if Mode.REACTOR in offered else Mode.COMMAND
    if asked not in (Mode.COMMAND, Mode.REACTOR):
        raise BadGuest(f"mode {asked.value}: not run by this version; wanted command or reactor")
    if asked not in offered:
        wanted = START if asked is Mode.COMMAND else ON_FRAME
        raise BadGuest(f"mode {asked.value}: the guest does not export {wanted}")
    return asked


def _check_on_frame(export: object) -> None:
    i32 = str(wasmtime.ValType.i32())
    if (
        not isinstance(export, wasmtime.FuncType)
        or [str(p) for p in export.params] != [i32]
        or [str(r) for r in export.results] != [i32]
    ):
        raise BadGuest(f"guest: export {ON_FRAME} has another signature, wanted (i32) -> i32")
