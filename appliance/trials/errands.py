"""What the throw-away process is sent to do; runs there only."""

from collections.abc import Callable, Sequence
from typing import Any

from appliance.trials.guest import AppErrand, try_app
from appliance.trials.model import ModelErrand, try_model


def do(
    message: dict[str, Any], blobs: Sequence[bytes], on_stage: Callable[[str], None]
) -> dict[str, Any]:
    """Do one errand. Returns: {"done": ...}.   Raises: ApplianceError, why the version is no good.

    The box said what to do, so it is right.
    """
    if "app" in message:
        return {"done": try_app(AppErrand(**message["app"]), blobs, on_stage)}
    return {"done": try_model(ModelErrand(**message["model"]), on_stage)}
