"""The `[policy]` table of the settings: what the operator grants to apps.

    [policy]                            # what every app may be granted
    own_models = false                  # only models of the box, none that a guest brings
    devices = ["cpu"]

    [policy.folders]                    # the folders there are, by name
    photos = { path = "/srv/photos" }
    results = { path = "/srv/results", max_bytes = "64MiB" }

    [policy.apps.archiver]              # an app's own; each key replaces the one above
    signed_by = ["vendor"]              # so that nobody else deploys under its name
    read = ["photos"]
    write = ["results"]
    env = { SITE = "berlin" }

What is not said grants everything that cannot leave the box: all models, encodings and devices,
clock and random numbers; but no folder and no variable. An app gets what it asks for and the
policy grants, never more than either (`trust.grants`).
"""

import os
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import (
    AfterValidator,
    Field,
    SecretStr,
    SerializationInfo,
    field_serializer,
    model_validator,
)

from appliance.fields import EnvName, Name
from appliance.tables import MIB, SizeBytes, Table
from wasi_nn.backend import Device, Encoding


def _check_absolute(path: Path) -> Path:
    if not path.is_absolute():
        raise ValueError('an absolute path, such as "/srv/photos"')
    return path


def _check_value(value: SecretStr) -> SecretStr:
    if "\0" in value.get_secret_value():
        raise ValueError("text without NUL")
    return value


EnvValue = Annotated[SecretStr, AfterValidator(_check_value)]


class SharedFolder(Table):
    """A folder of the machine that apps may be granted.

    path: absolute; not in the box's own folder, nor around it.
    max_bytes: of disk space, all files in it together; a guest's write beyond is refused.
    """

    path: Annotated[Path, AfterValidator(_check_absolute)]
    max_bytes: SizeBytes = 64 * MIB


class AppPolicy(Table):
    """What apps may be granted. `model_fields_set` tells what was said and what is the default.

    models: by name, None for all.   own_models: whether a guest may load bytes of its own.
    read, write: names of folders; what may be written may be read, too.
    env: values of variables that an app may ask for by name.
    signed_by: names of the trusted keys that may sign it; None for any, or none at all.
    clock, random: without them a guest's calls give errno 76, not capable.
    """

    models: frozenset[Name] | None = None
    own_models: bool = True
    encodings: frozenset[Encoding] | None = None
    devices: frozenset[Device] | None = None
    read: frozenset[Name] = frozenset()
    write: frozenset[Name] = frozenset()
    env: dict[EnvName, EnvValue] = Field(default_factory=dict)
    signed_by: frozenset[Name] | None = None
    clock: bool = True
    random: bool = True

    @field_serializer("env", when_used="json")
    def _write_env(self, env: dict[str, SecretStr], info: SerializationInfo) -> dict[str, str]:
        is_revealed = bool(info.context)
        return {k: v.get_secret_value() if is_revealed else str(v) for k, v in env.items()}

    def over(self, defaults: "AppPolicy") -> "AppPolicy":
        """Lay what was said here over what holds for every app."""
        said = {key: getattr(self, key) for key in self.model_fields_set}
        plain = {key: getattr(defaults, key) for key in AppPolicy.model_fields}
        return AppPolicy.model_construct(**{**plain, **said})


class PolicySettings(AppPolicy):
    """The `[policy]` table. folders: by name.   apps: by the app's name."""

    folders: dict[Name, SharedFolder] = Field(default_factory=dict)
    apps: dict[Name, AppPolicy] = Field(default_factory=dict)

    def of_app(self, name: str) -> AppPolicy:
        """Give what holds for an app."""
        return self.apps.get(name, AppPolicy()).over(self)

    @model_validator(mode="after")
    def _known_folders(self) -> Self:
        known = ", ".join(sorted(self.folders)) or "none yet"
        policies: tuple[AppPolicy, ...] = (self, *self.apps.values())
        for policy in policies:
            for name in sorted(policy.read | policy.write):
                if name not in self.folders:
                    raise ValueError(
                        f"folders that [policy.folders] names ({known}), not {name}; add it there"
                    )
        return self

    def for_child(self) -> str:
        """Write it whole, values of variables too, for a process of our own that runs guests.

        Read it there by `model_validate_json`.
        """
        return self.model_dump_json(exclude_unset=True, context={"revealed": True})

    def check_outside(self, state: Path) -> None:
        """Raises: ValueError if a folder holds what is the box's own, or lies in it."""
        own = Path(os.path.realpath(state))
        for name, folder in self.folders.items():
            real = Path(os.path.realpath(folder.path))
            if real.is_relative_to(own) or own.is_relative_to(real):
                raise ValueError(
                    f"a folder outside of the box's own for [policy.folders] {name}: with this "
                    "one a guest could reach keys and apps"
                )


def checked_outside(policy: PolicySettings, info: Any) -> PolicySettings:
    """Check the folders against the `state` of the settings. Raises: ValueError."""
    state = info.data.get("state")
    if state is not None:
        policy.check_outside(state)
    return policy
