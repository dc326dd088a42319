"""What travels over the socket, as the OpenAPI page shows it.

Times are Unix seconds. An error of any status is `{"error": sentence, "code": word}`; OIP clients
read the key `error`.
"""

from appliance.api.shapes.apps import (
    Answer,
    App,
    AppDetail,
    Deployed,
    Limits,
    Log,
    LogLine,
    Rollback,
    Timing,
    Version,
)
from appliance.api.shapes.cameras import (
    Camera,
    CameraDetail,
    Cameras,
    CameraSettings,
    Device,
    Devices,
    Feed,
    NewCamera,
    Pushed,
    Region,
    Route,
)
from appliance.api.shapes.health import Error, Health
from appliance.api.shapes.models import Counts, Graph, Model, Models, Plan
from appliance.api.shapes.predictions import Page, Prediction

__all__ = [
    "Answer", "App", "AppDetail", "Camera", "CameraDetail", "CameraSettings", "Cameras", "Counts",
    "Deployed", "Device", "Devices", "Error", "Feed", "Graph", "Health", "Limits", "Log", "LogLine",
    "Model", "Models", "NewCamera", "Page", "Plan", "Prediction", "Pushed", "Region", "Rollback",
    "Route", "Timing", "Version",
]  # fmt: skip
