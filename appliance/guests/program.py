"""A guest that is ready to be instantiated: compiled, linked, and understood."""

import logging
from collections.abc import Iterable
from dataclasses import dataclass, field

import wasmtime

from appliance.errors import BadGuest
from appliance.guests.breaches import BreachBook
from appliance.guests.debts import Ledger
from appliance.guests.engine import GuestEngine
from appliance.guests.journal import Journal
from appliance.guests.quotas import Spaces
from appliance.guests.refusing import Rule, Rules
from appliance.manifests import AppManifest, Mode
from appliance.policies import PolicySettings
from appliance.settings import AppLimits
from appliance.trust.grants import Grants, grants_of
from wasi_nn.errors import NNError
from wasi_nn.executor import Executor
from wasi_nn.keeper import GraphKeeper
from wasi_nn.policy import Policy, SessionLimits
from wasi_nn.registry import Registry
from wasi_nn.session import Session

log = logging.getLogger(__name__)

START = "_start"
ON_FRAME = "appliance_on_frame"
INITIALIZE = "_initialize"
_PAGE_BYTES = 64 * 1024
# What is called in each mode, and its signature.
ENTRIES = {Mode.COMMAND: START, Mode.REACTOR: ON_FRAME}
_SIGNATURES = {START: "() -> ()", ON_FRAME: "(i32) -> (i32)"}


@dataclass(frozen=True, slots=True)
class Host:
    """What every guest of the box shares.

    debts: of those whose frames fail.   spaces: of the folders that apps write into.
    """

    engine: GuestEngine
    registry: Registry
    executor: Executor
    defaults: AppLimits
    allow_fallback: bool = False
    policy: PolicySettings = field(default_factory=PolicySettings)
    spaces: Spaces = field(default_factory=Spaces)
    debts: Ledger = field(default_factory=Ledger)


@dataclass(frozen=True, slots=True)
class Program:
    """One version of one app, ready to be instantiated.

    limits: the manifest's over the box's defaults.   grants: of what it asks, what the policy
    grants.   rules: what of WASI is bound closer than usual.
    breaches: of the limits, since it was deployed.
    keeper: keeps its graphs between instances.
    """

    host: Host
    manifest: AppManifest
    mode: Mode
    limits: AppLimits
    grants: Grants
    rules: Rules
    linked: wasmtime.InstancePre
    journal: Journal
    breaches: BreachBook
    keeper: GraphKeeper

    @property
    def name(self) -> str:
        return self.manifest.name

    def warm(self, models: Iterable[str]) -> None:
        """Load models before the first frame waits for them.

        models: by their names on this box. One that does not load is the guest's to meet.
        """
        for name in models:
            try:
                reference = self.host.registry.load_named(name, policy=self._policy())
            except NNError as exc:
                log.info("model not warmed app=%s model=%s reason=%s", self.name, name, exc)
                continue
            self.keeper.keep(reference)
            reference.release()

    def _policy(self) -> Policy:
        nn = self.manifest.nn
        return Policy(
            models=self.grants.models,
            encodings=self.grants.encodings,
            devices=self.grants.devices,
            own_models=self.grants.own_models,
            numbering=nn.tensor_types,
            objective=nn.objective,
            allow_fallback=self.host.allow_fallback,
        )

    def new_session(self) -> Session:
        """Make what one instance will own."""
        limits = SessionLimits(
            graphs=self.limits.graphs,
            contexts=self.limits.handles,
            tensor_bytes=self.limits.tensor_bytes,
        )
        return Session(self.host.registry, self.host.executor, limits, self._policy(), self.keeper)


def make_program(host: Host, module: wasmtime.Module, manifest: AppManifest) -> Program:
    """Link a module and find out how it wants to be run.

    Raises: BadGuest for an import that is not offered, exports that fit no mode, or a memory that
    begins over the limit; Forbidden if the manifest asks for more than the policy grants.
    """
    grants = grants_of(manifest, host.policy)
    rules = _rules_of(grants)
    linked = host.engine.link(module, rules)
    limits = manifest.limits_over(host.defaults)
    _check_memory(module, limits)
    breaches = BreachBook()
    return Program(
        host=host,
        manifest=manifest,
        mode=mode_of(module, manifest.mode),
        limits=limits,
        grants=grants,
        rules=rules,
        linked=linked,
        journal=Journal(manifest.name, limits.log_lines_per_s, breaches=breaches),
        breaches=breaches,
        keeper=GraphKeeper(limits.graphs),
    )


def _rules_of(grants: Grants) -> Rules:
    bound = {
        Rule.CLOCK: not grants.clock, Rule.RANDOM: not grants.random, Rule.SPACE: grants.can_write
    }  # fmt: skip
    return frozenset(rule for rule, is_bound in bound.items() if is_bound)


def _check_memory(module: wasmtime.Module, limits: AppLimits) -> None:
    """Refuse at deploy what could never start: a command guest is instantiated per frame only."""
    for export in module.exports:
        if isinstance(export.type, wasmtime.MemoryType):
            wanted = export.type.limits.min * _PAGE_BYTES
            if wanted > limits.memory_bytes:
                raise BadGuest(
                    f"guest: its memory begins with {wanted} bytes, the app's limit is "
                    f"{limits.memory_bytes}; raise memory_bytes in [limits]"
                )


def mode_of(module: wasmtime.Module, asked: Mode) -> Mode:
    """Tell how a module is run.

    Raises: BadGuest if it has not what the asked mode needs, or fits none.
    """
    exports = {export.name: export.type for export in module.exports}
    offered = {mode for mode, export in ENTRIES.items() if export in exports}
    for mode in offered:
        _check_signature(ENTRIES[mode], exports[ENTRIES[mode]])
    if asked is Mode.AUTO:
        if not offered:
            raise BadGuest(
                f"guest: exports neither {START} (a command) nor {ON_FRAME} (a reactor); it "
                f"exports {', '.join(sorted(exports)[:10]) or 'nothing'}"
            )
        return Mode.REACTOR if Mode.REACTOR in offered else Mode.COMMAND
    if asked not in ENTRIES:
        raise BadGuest(f"mode {asked.value}: not run by this version; wanted command or reactor")
    if asked not in offered:
        raise BadGuest(f"mode {asked.value}: the guest does not export {ENTRIES[asked]}")
    return asked


def _check_signature(name: str, export: object) -> None:
    """Raises: BadGuest if an entry is no function or takes or gives something else."""
    got = "no function"
    if isinstance(export, wasmtime.FuncType):
        params, results = (
            ", ".join(str(kind) for kind in kinds) for kinds in (export.params, export.results)
        )
        got = f"({params}) -> ({results})"
    if got != _SIGNATURES[name]:
        raise BadGuest(f"guest: export {name} is {got}, wanted {_SIGNATURES[name]}")
