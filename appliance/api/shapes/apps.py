"""Apps, and what one says about a frame just sent."""

from pydantic import BaseModel, Field

from appliance.api.shapes.predictions import Prediction


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


class Timing(BaseModel):
    """Where the time of one frame went, in milliseconds.

    guest: in the guest and its calls; of these its computes waited for queue and took compute.
    """

    decode: float
    queue: float
    compute: float
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
