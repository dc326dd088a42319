"""Models, loaded graphs, and what they did."""

from pydantic import BaseModel, Field


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
