"""Apps, and what one says about a frame just sent."""

from typing import Literal

from pydantic import AliasChoices, ConfigDict, Field

from appliance.api.shapes.predictions import Prediction
from appliance.api.shapes.shape import Shape


class Deploying(Shape):
    """A change of an app that is under way. at: when it came to that stage, Unix seconds."""

    version: str
    stage: str = Field(description="received, validated, compiled, or warmed")
    at: float


class App(Shape):
    """One app: what is live, and what last went wrong."""

    name: str
    state: str = Field(
        description="live, disabled by the operator, failed to come up, or deploying: its first "
        "version is on the way"
    )
    version: str
    mode: str | None = None
    live_since: float | None = None
    frames: int = 0
    predictions: int = 0
    failures: dict[str, int] = Field(default_factory=dict)
    guest_ms: float = Field(0.0, description="time in the guest, all frames together")
    last_error: str = ""
    last_deploy_error: str = ""
    last_error_at: float | None = Field(None, description="Unix seconds")
    deploying: Deploying | None = Field(None, description="a change that is under way")


class DeployStage(Shape):
    """A stage that a deploy came to. at: Unix seconds."""

    stage: str
    at: float


class Probation(Shape):
    """The first frames of a new version, which decide whether it stays.

    frames: that decide.   answered, failed: those so far that count.
    """

    frames: int
    answered: int
    failed: int
    verdict: str | None = Field(description="passed, failed, or crashed; null: it goes on")


class Deploy(Shape):
    """One change of which version answers, and what became of it."""

    version: str
    from_: str = Field(
        validation_alias=AliasChoices("from", "from_"), serialization_alias="from",
        description="the version that answered before; empty if none did",
    )  # fmt: skip
    kind: str = Field(description="deploy, rollback, enable, or start")
    by: str = Field(description="inbox, api, cli, or automatic")
    stage: str = Field(
        description="received, validated, compiled, warmed, live, draining, gone, or failed"
    )
    reason: str = Field(description="why it failed, or why the box rolled back by itself")
    started_at: float
    stages: list[DeployStage]
    probation: Probation | None = Field(description="null: it has none")


class Version(Shape):
    """One version on the box. deployed_at: when it was last put in front, Unix seconds."""

    version: str
    deployed_at: float
    size_bytes: int
    is_current: bool


class Limits(Shape):
    """What one app may use, as it holds: the manifest's [limits] over the box's."""

    memory_bytes: int
    deadline_s: float
    fuel: int | None = Field(description="null: not counted")
    output_bytes: int
    log_lines_per_s: int
    handles: int
    graphs: int
    tensor_bytes: int
    table_elements: int
    instances: int | None = Field(description="null: one per core")
    frames: int
    host_calls: int | None = Field(description="null: any number")
    log_bytes: int


class Breach(Shape):
    """The last limit that the app ran into. wanted: null if nobody can know."""

    limit: str
    at: float
    wanted: float | None
    allowed: float


class GrantedFolder(Shape):
    """A folder that an app sees.

    guest: where it sees it.   max_bytes: of disk space, by all files in it.
    """

    guest: str
    name: str
    access: Literal["read", "write"]
    max_bytes: int


class Grants(Shape):
    """What an app may do: what its manifest asks for and the operator's policy grants."""

    models: dict[str, str] | None = Field(
        description="what the guest calls a model -> its name here; null: all"
    )
    own_models: bool = Field(description="whether it may load a model's bytes")
    encodings: list[str] | None = Field(description="null: all")
    devices: list[str] | None = Field(description="null: all")
    folders: list[GrantedFolder]
    env: list[str] = Field(description="names of the operator's variables that it gets")
    clock: bool
    random: bool


class AppSignature(Shape):
    """Who signed an app. signer: the trusted key's name; null if the key is not trusted."""

    signer: str | None
    key_id: str


class AppDetail(App):
    """All about one app; counts are of the version that answers, since it went live."""

    is_enabled: bool
    reason: str = Field(description="why it is not live; empty if it is")
    versions: list[Version] = Field(description="the one put in front last comes first")
    limits: Limits | None = Field(description="null if its manifest cannot be read")
    models: dict[str, str] | None = Field(
        description="what the guest calls a model -> its name here; null allows all"
    )
    cameras: list[str] | None = Field(description="null: all")
    frames_last_minute: int = 0
    log_dropped: int = Field(0, description="log lines dropped over its rate")
    breaches: dict[str, int] = Field(
        default_factory=dict, description="limit -> how often the app ran into it"
    )
    last_breach: Breach | None = None
    suspended_s: float = Field(0.0, description="how long its frames are still refused")
    grants: Grants | None = Field(None, description="null if its manifest asks for too much")
    signature: AppSignature | None = Field(
        None, description="null: not signed, or not checked since the start"
    )
    deploys: list[Deploy] = Field(
        default_factory=list, description="the last ones, the newest first"
    )


class Rollback(Shape):
    """Which version is to answer; without one, that which was in front before the current one."""

    model_config = ConfigDict(extra="forbid")

    version: str | None = Field(None, max_length=63)


class LogLine(Shape):
    """One line that an app wrote; at: Unix seconds."""

    at: float
    level: str
    text: str


class Log(Shape):
    """The end of an app's log, oldest first. dropped: lines over its rate, never kept."""

    lines: list[LogLine]
    dropped: int


class Deployed(Shape):
    """What answers now; is_new is false if it was live already."""

    name: str
    version: str
    is_new: bool


class Timing(Shape):
    """Where the time of one frame went, in milliseconds.

    guest: in the guest and its calls; of these its computes waited for queue and took compute.
    """

    decode: float
    queue: float
    compute: float
    guest: float
    store: float
    total: float


class Answer(Shape):
    """What an app said about the frame just sent.

    is_stored is false if the history could not be written; the predictions hold all the same.
    """

    app: str
    version: str
    width: int
    height: int
    predictions: list[Prediction]
    is_stored: bool
    timing_ms: Timing
