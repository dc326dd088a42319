"""Talk to a box, over its Unix socket or TCP, blocking or asynchronously.

    with Client(socket_path) as box:
        box.predict("classifier", picture_bytes).predictions[0].label

    async with AsyncClient("https://box:8443", token=token, ca=certificate) as box:
        async for event in box.stream(label="espresso"): ...

Rules:
1. Answers are the API's own shapes (`appliance.api.shapes`), frozen. Keys that a newer box sends
   are passed over.
2. Whatever goes wrong is a Refused (the box said no: its sentence, status, code) or an Unavailable
   (there is no box, no answer in time, or somebody else on the socket).
3. Nothing waits for ever; `Patience` has the bounds.
4. No web framework is imported: this is for programs that use a box.
"""

from appliance.api.shapes import Prediction
from appliance.client.address import Patience
from appliance.client.async_wire import AsyncStream
from appliance.client.asynchronous import AsyncClient
from appliance.client.blocking import Client
from appliance.client.errors import Refused
from appliance.client.following import Event, Lost
from appliance.client.wire import Stream
from appliance.errors import Unavailable

__all__ = [
    "AsyncClient", "AsyncStream", "Client", "Event", "Lost", "Patience", "Prediction", "Refused",
    "Stream", "Unavailable",
]  # fmt: skip
