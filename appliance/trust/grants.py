"""What one app may do: what its manifest asks for and the operator's policy grants.

Rules:
1. A grant is never more than the policy grants, and never more than the manifest asks where it
   asks at all.
2. What a manifest asks for in so many words and does not get is refused as a whole, at deploy:
   an app that runs with half of its rights fails in the field, at night.
3. What it does not mention is decided by the policy, so a lone `.wasm` needs no manifest.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import TypeVar

from appliance.errors import Forbidden
from appliance.manifests import APP_MANIFEST, AppManifest
from appliance.policies import AppPolicy, PolicySettings
from wasi_nn.backend import Device, Encoding

Choice = TypeVar("Choice", bound=Enum)


@dataclass(frozen=True, slots=True)
class FolderGrant:
    """A folder that a guest sees.

    guest: where it sees it.   name: the operator's.   path: where it is, shown to nobody.
    max_bytes: of disk space, by all files in it.
    """

    guest: str
    name: str
    path: Path = field(repr=False)
    may_write: bool
    max_bytes: int


class GrantedModels(Mapping[str, str]):
    """Names granted by the operator, each for itself, and `name:version` with them."""

    def __init__(self, names: Iterable[str]) -> None:
        self._names = frozenset(names)

    def __getitem__(self, name: str) -> str:
        if name.partition(":")[0] not in self._names:
            raise KeyError(name)
        return name

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._names))

    def __len__(self) -> int:
        return len(self._names)


@dataclass(frozen=True, slots=True)
class Grants:
    """What one app may do.

    models: what the guest calls a model -> its name here; None grants all.
    own_models: whether it may load bytes of its own.   encodings, devices: None grants all.
    env: the operator's variables that it gets, with their values; they are nobody's business.
    """

    models: Mapping[str, str] | None = None
    own_models: bool = True
    encodings: frozenset[Encoding] | None = None
    devices: frozenset[Device] | None = None
    folders: tuple[FolderGrant, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict, repr=False)
    clock: bool = True
    random: bool = True

    @property
    def can_write(self) -> bool:
        return any(folder.may_write for folder in self.folders)


def grants_of(manifest: AppManifest, policy: PolicySettings) -> Grants:
    """Lay what an app asks for over what it may be granted.

    Raises: Forbidden naming the first thing that is asked for and not granted, what is, and the
    setting to change.
    """
    name, granted = manifest.name, policy.of_app(manifest.name)
    return Grants(
        models=_models(manifest, granted),
        own_models=_switch(
            name, "nn.own_models", "own_models", manifest.nn.own_models, granted.own_models
        ),
        encodings=_chosen(name, "encodings", manifest.nn.encodings, granted.encodings),
        devices=_chosen(name, "devices", manifest.nn.devices, granted.devices),
        folders=_folders(manifest, granted, policy),
        env=_env(manifest, granted),
        clock=_switch(name, "wasi.clock", "clock", manifest.wasi.clock, granted.clock),
        random=_switch(name, "wasi.random", "random", manifest.wasi.random, granted.random),
    )


def _refusal(app: str, asked: str, granted: Iterable[str], setting: str) -> Forbidden:
    return Forbidden(
        f"app {app}: {APP_MANIFEST} asks for {asked}, the policy grants "
        f"{', '.join(sorted(granted)) or 'none'}; the operator may change {setting} in [policy] "
        f"or [policy.apps.{app}] of settings.toml"
    )


def _switch(app: str, key: str, setting: str, asked: bool | None, granted: bool) -> bool:
    if asked and not granted:
        raise _refusal(app, key, (), setting)
    return granted and asked is not False


def _chosen(
    app: str, key: str, asked: frozenset[Choice] | None, granted: frozenset[Choice] | None
) -> frozenset[Choice] | None:
    if asked is None or granted is None:
        return granted if asked is None else asked
    if missing := sorted(choice.value for choice in asked - granted):
        raise _refusal(app, f"nn.{key} {missing[0]}", (c.value for c in granted), key)
    return asked


def _models(manifest: AppManifest, granted: AppPolicy) -> Mapping[str, str] | None:
    if granted.models is None:
        return manifest.models
    if manifest.models is None:
        return GrantedModels(granted.models)
    for model in manifest.models.values():
        if model not in granted.models:
            raise _refusal(manifest.name, f"model {model}", granted.models, "models")
    return manifest.models


def _folders(
    manifest: AppManifest, granted: AppPolicy, policy: PolicySettings
) -> tuple[FolderGrant, ...]:
    given = []
    for guest, asked in sorted(manifest.folders.items()):
        allowed = granted.write if asked.write else granted.read | granted.write
        if asked.name not in allowed:
            setting = "write" if asked.write else "read"
            raise _refusal(
                manifest.name, f"folder {asked.name} to {setting}", allowed, f"{setting}, folders"
            )
        folder = policy.folders[asked.name]
        given.append(FolderGrant(guest, asked.name, folder.path, asked.write, folder.max_bytes))
    return tuple(given)


def _env(manifest: AppManifest, granted: AppPolicy) -> dict[str, str]:
    given = {}
    for name in manifest.env_from:
        if name not in granted.env:
            raise _refusal(manifest.name, f"env_from {name[:80]}", granted.env, "env")
        given[name] = granted.env[name].get_secret_value()
    return given
