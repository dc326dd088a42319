"""What travels over the socket, as the OpenAPI page shows it.

Times are Unix seconds. An error of any status is `{"error": sentence, "code": word}`; OIP clients
read the key `error`.
"""

from typing import Any

from pydantic import BaseModel, Field


class Error(BaseModel):
    """Why a request was refused."""

    error: str = Field(description="what happened, got, wanted, what to do")
    code: str = Field(description="a word for programs, such as bad_picture")
    reason: str | None = Field(None, description="of a failed guest: trap, exit, deadline, ...")


class Health(BaseModel):
    """The box answers."""

    status: str = "ok"
    version: str
    uptime_s: float
    apps: int


class App(BaseModel):
    """One app: what is live, and what last went wrong."""

    name: str
    state: str = Field(description="live, or failed if no version answers")
    version: str
    mode: str | None = None
    live_since: float | None = None
    frames: int = 0
    predictions: int = 0
    failures: dict[str, int] = Field(default_factory=dict)
    last_error: str = ""
    last_deploy_error: str = ""


class Deployed(BaseModel):
    """What answers now; is_new is false if it was live already."""

    name: str
    version: str
    is_new: bool


class Model(BaseModel):
    """One version of a model; reason says why it is broken, if it is."""

    name: str
    version: str
    encodings: list[str] = Field(description="the preferred first")
    licence: str
    reason: str


class Plan(BaseModel):
    """How a graph is run here, as measured: threads of one run, runs side by side, batch size.

    latency_ms: of one row on a busy lane.   rows_per_s: with full batches.
    """

    threads: int
    parallel: int
    max_batch_rows: int
    latency_ms: float
    rows_per_s: float


class Counts(BaseModel):
    """What a graph did since it was loaded.

    batch_rows: how many runs had how many rows.   queue_ms, compute_ms: sums.
    """

    requests: int
    rows: int
    executions: int
    failures: int
    batch_rows: dict[int, int]
    queue_ms: float
    compute_ms: float
    refusals: dict[str, int]
    owner_rows: dict[str, int]


class Graph(BaseModel):
    """A loaded graph. device differs from asked where the operator allowed a fallback."""

    model: str | None = Field(description="name:version; null if a guest brought the bytes")
    digest: str
    encoding: str
    backend: str
    asked: str
    device: str
    references: int
    plan: Plan | None
    counts: Counts | None


class Models(BaseModel):
    """The repository, the loaded graphs, and the graph cache since start.

    loads: done by a backend.   hits: answered by a graph that was there.   failures: refused.
    """

    models: list[Model]
    graphs: list[Graph]
    loads: int
    hits: int
    failures: int


class Prediction(BaseModel):
    """What an app said about a frame; data is the guest's own JSON object."""

    id: int | None
    app: str
    version: str
    source: str
    sequence: int
    captured_at: float
    emitted_at: float
    label: str | None
    score: float | None
    data: dict[str, Any]


class Timing(BaseModel):
    """Where the time of one frame went, in milliseconds."""

    decode: float
    guest: float
    store: float
    total: float


class Answer(BaseModel):
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


class Page(BaseModel):
    """Predictions, newest first; `next_before` continues after the last one, null at the end."""

    predictions: list[Prediction]
    next_before: int | None
