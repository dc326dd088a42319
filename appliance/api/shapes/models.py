"""Models, loaded graphs, and what they did."""

from pydantic import Field

from appliance.api.shapes.shape import Shape


class Model(Shape):
    """One version of a model; reason says why it is broken, if it is."""

    name: str
    version: str
    encodings: list[str] = Field(description="the preferred first")
    licence: str
    reason: str


class Plan(Shape):
    """How a graph is run here, as measured: threads of one run, runs side by side, batch size.

    latency_ms: of one row on a busy lane.   rows_per_s: with full batches.
    """

    threads: int
    parallel: int
    max_batch_rows: int
    latency_ms: float
    rows_per_s: float


class Figure(Shape):
    """One way of running a graph, timed: threads of a run, runs side by side, rows of a run."""

    threads: int
    parallel: int
    rows: int
    latency_ms: float
    rows_per_s: float


class MeasuredPlan(Plan):
    """A plan with everything that it was chosen from."""

    figures: list[Figure]


class Counts(Shape):
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


class Graph(Shape):
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


class Models(Shape):
    """The repository, the loaded graphs, and the graph cache since start.

    loads: done by a backend.   hits: answered by a graph that was there.   failures: refused.
    """

    models: list[Model]
    graphs: list[Graph]
    loads: int
    hits: int
    failures: int


class ModelInput(Shape):
    """How a picture becomes one input. mean, std: tensor = (pixel - mean) / std, by channel."""

    name: str
    type: str
    size_wh: tuple[int, int]
    color: str
    resize: str
    crop_fraction: float
    mean: list[float]
    std: list[float]


class ModelOutput(Shape):
    """One output. kind: logits or probabilities.   labels: how many classes it names."""

    name: str
    kind: str
    labels: int


class ModelFile(Shape):
    """The weights in one encoding. is_verified: the manifest has their sha256."""

    encoding: str
    layout: str
    paths: list[str]
    is_verified: bool


class ModelDetail(Model):
    """All about one version of a model.

    state: ready, or broken or quarantined with the reason.
    """

    state: str
    title: str
    origin: str
    tolerance: float
    is_shipped: bool
    is_default: bool = Field(description="what the plain name means")
    size_bytes: int
    inputs: list[ModelInput]
    outputs: list[ModelOutput]
    files: list[ModelFile]
    sample: str | None = Field(description="the label of its sample picture, if it has both")
    graphs: list[Graph] = Field(description="loaded now")


class ModelVersions(Shape):
    """All versions of a model, the lowest first."""

    name: str
    versions: list[ModelDetail]


class Added(Shape):
    """A new version. loaded: encodings tried on this box.   untried: those it cannot run."""

    name: str
    version: str
    loaded: list[str]
    untried: list[str]
    is_default: bool


class GraphPlan(Shape):
    """How one loaded graph is run; null if it could not be measured."""

    encoding: str
    backend: str
    device: str
    plan: MeasuredPlan | None


class ModelPlan(Shape):
    """The plans of a version's loaded graphs; none if nothing has loaded it now."""

    name: str
    version: str
    graphs: list[GraphPlan]


class Score(Shape):
    """One class; score is 0..1 if the model says what its numbers are."""

    index: int
    label: str | None
    score: float


class SampleTiming(Shape):
    """Where the time went, in milliseconds. load: little if the graph was there."""

    load: float
    decode: float
    preprocess: float
    queue: float
    compute: float
    total: float


class Sample(Shape):
    """What a model says about a picture."""

    name: str
    version: str
    encoding: str
    backend: str
    device: str
    kind: str | None = Field(description="null: not said, scores are the output's numbers")
    top: list[Score]
    expected: str | None = Field(description="the label of the model's own sample")
    is_as_expected: bool | None = Field(description="null if nothing was expected")
    timing_ms: SampleTiming
