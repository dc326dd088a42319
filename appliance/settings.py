"""What the operator decides, read once at start and then frozen.

A value comes from, first wins: the caller (the command line), the environment
(`APPLIANCE_MAX_PIXELS`, nested `APPLIANCE_LIMITS__MEMORY_BYTES`), `<state>/settings.toml`, the
default. The state folder itself: the caller, `APPLIANCE_STATE`, `STATE_DIRECTORY` (systemd sets
it for `StateDirectory=appliance`: /var/lib/appliance), else ~/.local/state/appliance.

This is the only file that reads the environment.
"""

import logging
import os
import re
import tomllib
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    ValidationError,
    field_validator,
)
from pydantic_settings import (
    BaseSettings,
    InitSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from appliance.deploysettings import DeploySettings
from appliance.errors import BadSettings
from appliance.listening import HttpLimits, Tcp
from appliance.policies import PolicySettings, checked_outside
from appliance.tables import GIB as GIB
from appliance.tables import KIB as KIB
from appliance.tables import MIB as MIB
from appliance.tables import SizeBytes as SizeBytes
from appliance.tables import Table as Table
from appliance.tables import explain

logger = logging.getLogger(__name__)

# sun_path of sockaddr_un has 108 bytes on Linux, the last one a NUL (man 7 unix).
_MAX_SOCKET_PATH_BYTES = 107


def _parse_mode(value: object) -> object:
    if not isinstance(value, str):
        return value
    if re.fullmatch(r"(0o)?[0-7]{3,4}", value) is None:
        raise ValueError('octal rights such as "0660"')
    return int(value, 8)


class AppLimits(Table):
    """What one app may use. `model_fields_set` tells what was said and what is the default.

    memory_bytes: linear memory of one instance.   deadline_s: wall time of one frame.
    fuel: instructions of one frame; None = not counted, which is faster.
    output_bytes: predictions about one frame.   log_bytes: what it prints and logs about one.
    host_calls: of one frame, slowed down after 10 000; None = any number at full speed.
    handles: execution contexts.   tensor_bytes: of all tensors alive.
    instances: run at the same time; None = one per core.
    frames: running and waiting, so that one app cannot hold all of the box's threads.
    """

    # 4 GiB is all that wasm32 can address.
    memory_bytes: Annotated[SizeBytes, Field(le=4 * GIB)] = 256 * MIB
    deadline_s: float = Field(10.0, gt=0, le=3600)
    fuel: int | None = Field(None, gt=0)
    output_bytes: SizeBytes = 1 * MIB
    log_lines_per_s: int = Field(50, ge=0)
    handles: int = Field(64, gt=0)
    graphs: int = Field(8, gt=0)
    tensor_bytes: SizeBytes = 256 * MIB
    # A function table of a large C++ program has some thousands; 8 bytes each.
    table_elements: int = Field(100_000, gt=0, le=10_000_000)
    instances: int | None = Field(None, gt=0, le=64)
    frames: int = Field(16, gt=0, le=1024)
    host_calls: int | None = Field(500_000, gt=0)
    log_bytes: SizeBytes = 256 * KIB

    def over(self, defaults: "AppLimits") -> "AppLimits":
        """Lay what was said here over somebody's defaults."""
        said = {key: getattr(self, key) for key in self.model_fields_set}
        return defaults.model_copy(update=said)


class Isolation(StrEnum):
    """Which models compute in a process of their own: none, those not shipped with us, or all."""

    NONE = "none"
    FOREIGN = "foreign"
    ALL = "all"


def inherited_sockets() -> dict[int, str]:
    """Tell which sockets systemd opened for this process, by descriptor with their names.

    They are told once: the variables are removed, as sd_listen_fds(3) may do, so that no child
    takes them for its own.
    """
    pid, count, names = (
        os.environ.pop(key, "") for key in ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES")
    )
    if pid != str(os.getpid()) or not count.isdecimal():
        return {}
    labels = names.split(":")
    # SD_LISTEN_FDS_START is 3.
    return {3 + i: labels[i] if i < len(labels) else "" for i in range(int(count))}


class ModelScheduling(Table):
    """How a model's graphs are run, where the operator knows better than the measurement.

    threads, max_batch_rows: None as measured here.   The rest: as in `requests.BatchPolicy`.
    """

    threads: int | None = Field(None, gt=0, le=1024)
    max_batch_rows: int | None = Field(None, gt=0, le=1024)
    preferred_batch_rows: tuple[Annotated[int, Field(gt=0)], ...] = ()
    max_queue_delay_us: int = Field(0, ge=0, le=10_000_000)
    max_queue_size: int = Field(64, gt=0)
    default_timeout_us: int = Field(0, ge=0)
    timeout_action: Literal["reject", "delay"] = "reject"

    @field_validator("preferred_batch_rows")
    @classmethod
    def _within_a_batch(cls, sizes: tuple[int, ...], info: Any) -> tuple[int, ...]:
        largest = info.data.get("max_batch_rows") or 0
        if any(size > largest for size in sizes):
            raise ValueError("sizes up to max_batch_rows, which is to be given, too")
        return sizes


class SchedulerSettings(Table):
    """The `[scheduler]` table.

    max_queue_size: requests of all graphs of a device.   weights: an app's share against the
    others', 1 if not named.   models: by name, or name:version.
    """

    max_queue_size: int = Field(256, gt=0)
    weights: dict[str, Annotated[float, Field(gt=0)]] = Field(default_factory=dict)
    models: dict[str, ModelScheduling] = Field(default_factory=dict)

    def of_model(self, name: str) -> ModelScheduling:
        """Find what is said about a model. name: name:version, or "" for a guest's own bytes."""
        plain = name.partition(":")[0]
        return self.models.get(name) or self.models.get(plain) or ModelScheduling()


def state_folder(chosen: Path | str | None = None) -> Path:
    """Tell where the box keeps everything, absolute; nothing is made."""
    # systemd separates several folders by colons; ours is the first.
    systemd = os.environ.get("STATE_DIRECTORY", "").split(":")[0]
    path = chosen or os.environ.get("APPLIANCE_STATE") or systemd or "~/.local/state/appliance"
    try:
        return Path(path).expanduser().absolute()
    except RuntimeError as exc:
        raise BadSettings(
            f"setting state: got {path!s} but there is no home folder; give --state"
        ) from exc


def _check_length(run: Path) -> None:
    length = len(os.fsencode(run / "appliance.sock"))
    if length > _MAX_SOCKET_PATH_BYTES:
        raise ValueError(
            f"a shorter folder: its socket's path has {length} bytes and the kernel takes at"
            f" most {_MAX_SOCKET_PATH_BYTES}"
        )


class Settings(BaseSettings):
    """The operator's decisions; build them with `load_settings`, which explains what is wrong.

    socket_group: a group's name, None leaves the group alone.   socket_mode: rights of sockets.
    run: the folder of the sockets and of what is in flight; None = run/ in the state folder. Give
        one in memory (/run/appliance) to a box that is to start on a read-only state folder.
    max_pixels: of one picture, width * height.
    max_model_bytes: of one version of a model as it is uploaded, all its files together.
    isolation: a process costs 90 to 190 MB and 0.1 to 0.2 ms a run, and survives a bad model.
    allow_device_fallback: compute on the CPU where the asked device is absent.
    predictions_max_rows, predictions_max_age_days, predictions_max_bytes: history kept, whichever
    ends first; bytes of the database's file.
    aot_max_bytes: compiled guests kept on disk; those not used for longest go first.
    max_streams: clients that follow predictions at the same time.
    threads: compute threads of the CPU lane; None = one per core.
    max_process_bytes: memory of the whole service; None = three quarters of the machine's.
    grpc: answer gRPC, too, on a socket of its own; takes 14 MiB.
    shared_memory: let clients hand tensors over in POSIX shared memory; whoever may use the
        socket could then name any object in /dev/shm that the box's user may open.
    stop_settle_s: how long a stopping box still takes requests, for balancers that poll /readyz.
    stop_grace_s: how long requests under way may then take to finish.
    policy: what apps may be granted.
    require_signature: only apps that a key in <state>/keys signed are deployed or restored.
    watchdog_s: a service that shows no progress for so long is killed and started again.
    max_run_s: a graph that runs longer, in the service's own process, counts as hung.
    """

    model_config = SettingsConfigDict(
        env_prefix="APPLIANCE_",
        env_nested_delimiter="__",
        frozen=True,
        extra="forbid",
        validate_default=True,
        allow_inf_nan=False,
    )

    state: Path = Field(default_factory=state_folder)
    run: Path | None = None
    socket_group: str | None = None
    socket_mode: Annotated[int, BeforeValidator(_parse_mode), Field(ge=0, le=0o777)] = 0o660
    limits: AppLimits = AppLimits()
    policy: Annotated[PolicySettings, AfterValidator(checked_outside)] = PolicySettings()
    require_signature: bool = False
    scheduler: SchedulerSettings = SchedulerSettings()
    deploy: DeploySettings = DeploySettings()
    isolation: Isolation = Isolation.FOREIGN
    max_body_bytes: SizeBytes = 32 * MIB
    max_model_bytes: SizeBytes = 1 * GIB
    # Pillow warns, through a process-wide switch, above 89 million.
    max_pixels: int = Field(50_000_000, gt=0, le=80_000_000)
    allow_device_fallback: bool = False
    predictions_max_rows: int = Field(1_000_000, gt=0)
    predictions_max_age_days: float = Field(30.0, gt=0)
    predictions_max_bytes: Annotated[SizeBytes, Field(ge=16 * MIB)] = 2 * GIB
    aot_max_bytes: SizeBytes = 1 * GIB
    max_streams: int = Field(100, gt=0)
    threads: int | None = Field(None, gt=0, le=1024)
    max_process_bytes: SizeBytes | None = None
    grpc: bool = True
    shared_memory: bool = False
    tcp: Tcp | None = None
    http: HttpLimits = HttpLimits()
    stop_settle_s: float = Field(0.0, ge=0, le=3600)
    stop_grace_s: float = Field(10.0, ge=0, le=3600)
    watchdog_s: float = Field(20.0, ge=2, le=3600)
    max_run_s: float = Field(60.0, gt=0, le=86400)

    @field_validator("state")
    @classmethod
    def _resolve_state(cls, state: Path) -> Path:
        state = state_folder(state)
        _check_length(state / "run")
        return state

    @field_validator("run")
    @classmethod
    def _check_run(cls, run: Path | None) -> Path | None:
        if run is None:
            return None
        if not run.is_absolute():
            raise ValueError("an absolute folder, such as /run/appliance")
        _check_length(run)
        return run

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        chosen = init_settings().get("state")
        file = InitSettingsSource(settings_cls, _read_toml(state_folder(chosen)))
        return init_settings, env_settings, file

    @property
    def inbox(self) -> Path:
        return self.state / "inbox"

    @property
    def keys(self) -> Path:
        """Public keys that are trusted; nothing that answers a request writes here."""
        return self.state / "keys"

    @property
    def apps(self) -> Path:
        return self.state / "apps"

    @property
    def models(self) -> Path:
        return self.state / "models"

    @property
    def cache_aot(self) -> Path:
        return self.state / "cache" / "aot"

    @property
    def cache_plans(self) -> Path:
        return self.state / "cache" / "plans"

    @property
    def cache_trials(self) -> Path:
        return self.state / "cache" / "trials.json"

    @property
    def predictions_db(self) -> Path:
        return self.state / "predictions.db"

    @property
    def quarantine_file(self) -> Path:
        return self.state / "quarantine.json"

    @property
    def run_dir(self) -> Path:
        return self.state / "run" if self.run is None else self.run

    @property
    def socket_path(self) -> Path:
        return self.run_dir / "appliance.sock"

    @property
    def grpc_socket_path(self) -> Path:
        """Shorter than socket_path, whose length is checked."""
        return self.run_dir / "grpc.sock"


def load_settings(**chosen: Any) -> Settings:
    """Read the settings once.

    chosen: what the command line said, by field name; beats every other source.
    Raises: BadSettings naming the key, what it got and what is wanted.
    """
    for name in os.environ:
        # Not refused: Kubernetes gives every pod APPLIANCE_PORT and more for a service "appliance".
        key = name.removeprefix("APPLIANCE_").split("__")[0].lower()
        if name.startswith("APPLIANCE_") and key not in Settings.model_fields:
            logger.warning("setting ignored, no such key name=%s", name)
    try:
        return Settings(**chosen)
    except ValidationError as exc:
        raise BadSettings(
            f"setting {explain(exc, Settings)}; correct it on the command line, in the environment"
            " (APPLIANCE_...) or in settings.toml"
        ) from exc
    except ValueError as exc:  # SettingsError: a nested value in the environment is no JSON
        raise BadSettings(f"settings in the environment: {exc}") from exc


def _read_toml(state: Path) -> dict[str, Any]:
    path = state / "settings.toml"
    try:
        values = tomllib.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return {}
    except OSError as exc:
        raise BadSettings(f"settings.toml: cannot be read: {exc.strerror}") from exc
    except (ValueError, RecursionError) as exc:
        raise BadSettings(f"settings.toml: not TOML: {exc}") from exc
    if "state" in values:
        raise BadSettings("settings.toml: key state: the file lies in it; use --state instead")
    return values
