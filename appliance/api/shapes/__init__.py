"""What travels over the socket, as the OpenAPI page shows it.

Times are Unix seconds. An error of any status is `{"error": sentence, "code": word}`; OIP clients
read the key `error`.
"""

from appliance.api.shapes.apps import Answer, App, Deployed, Timing
from appliance.api.shapes.health import Error, Health
from appliance.api.shapes.models import Counts, Graph, Model, Models, Plan
from appliance.api.shapes.predictions import Bucket, LabelCount, Page, Prediction, Summary

__all__ = [
    "Answer", "App", "Bucket", "Counts", "Deployed", "Error", "Graph", "Health", "LabelCount",
    "Model", "Models", "Page", "Plan", "Prediction", "Summary", "Timing",
]  # fmt: skip
