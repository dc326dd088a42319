"""What travels over the socket, as the OpenAPI page shows it.

Times are Unix seconds. An error of any status is `{"error": sentence, "code": word}`; OIP clients
read the key `error`.
"""

from appliance.api.shapes.apps import (
    Answer,
    App,
    AppDetail,
    AppSignature,
    Breach,
    Deploy,
    Deployed,
    Deploying,
    DeployStage,
    GrantedFolder,
    Grants,
    Limits,
    Log,
    LogLine,
    Probation,
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
from appliance.api.shapes.models import (
    Added,
    Counts,
    Figure,
    Graph,
    GraphPlan,
    MeasuredPlan,
    Model,
    ModelDetail,
    ModelFile,
    ModelInput,
    ModelOutput,
    ModelPlan,
    Models,
    ModelVersions,
    Plan,
    Sample,
    SampleTiming,
    Score,
)
from appliance.api.shapes.predictions import Bucket, LabelCount, Page, Prediction, Summary

__all__ = [
    "Added", "Answer", "App", "AppDetail", "AppSignature", "Breach", "Bucket", "Camera",
    "CameraDetail",
    "CameraSettings", "Cameras", "Counts", "Deploy", "DeployStage", "Deployed", "Deploying",
    "Device", "Devices", "Error", "Feed",
    "Figure", "GrantedFolder", "Grants",
    "Graph", "GraphPlan", "Health", "LabelCount", "Limits", "Log", "LogLine",
    "MeasuredPlan", "Model", "ModelDetail", "ModelFile", "ModelInput", "ModelOutput", "ModelPlan",
    "ModelVersions", "Models", "NewCamera", "Page", "Plan", "Prediction", "Probation", "Pushed",
    "Region",
    "Rollback", "Route", "Sample",
    "SampleTiming", "Score", "Summary", "Timing", "Version",
]  # fmt: skip
