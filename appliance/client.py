"""Talk to a box over its Unix socket.

    with Client(socket_path) as box:
        box.predict("classifier", picture_bytes)

Answers are the API's JSON as dictionaries; a refusal is an ApplianceError with the box's sentence.
"""

from pathlib import Path
from types import TracebackType
from typing import Any, Self, cast

import httpx

from appliance.errors import ApplianceError, Unavailable

# A deploy compiles, which takes tens of seconds for a large guest; a frame's bound is the app's.
TIMEOUT_S = 180.0


class Refused(ApplianceError):
    """The box refused; the message is its sentence."""

    code = "refused"


class Client:
    """A connection to one box; use it in a `with`."""

    def __init__(self, socket_path: Path) -> None:
        self._socket_path = socket_path
        self._http = httpx.Client(
            transport=httpx.HTTPTransport(uds=str(socket_path)),
            base_url="http://appliance",
            timeout=TIMEOUT_S,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:  # fmt: skip
        self._http.close()

    def health(self) -> dict[str, Any]:
        """Tell how the box is."""
        return cast(dict[str, Any], self._ask("GET", "/healthz"))

    def apps(self) -> list[dict[str, Any]]:
        """List the apps."""
        return cast(list[dict[str, Any]], self._ask("GET", "/v1/apps"))

    def models(self) -> dict[str, Any]:
        """List the models and the loaded graphs."""
        return cast(dict[str, Any], self._ask("GET", "/v1/models"))

    def deploy(self, name: str, content: bytes) -> dict[str, Any]:
        """Deploy a .wasm or a .zip bundle."""
        return cast(dict[str, Any], self._ask("PUT", f"/v1/apps/{name}", content=content))

    def predict(self, app: str, picture: bytes) -> dict[str, Any]:
        """Show a picture to an app."""
        return cast(dict[str, Any], self._ask("POST", f"/v1/apps/{app}/frames", content=picture))

    def predictions(self, **filters: str | int | float | None) -> dict[str, Any]:
        """Query the history; filters as in the API: app, camera, label, min_score, limit, ..."""
        given = {key: value for key, value in filters.items() if value is not None}
        return cast(dict[str, Any], self._ask("GET", "/v1/predictions", params=given))

    def _ask(self, method: str, path: str, **request: Any) -> Any:
        try:
            response = self._http.request(method, path, **request)
        except httpx.ConnectError as exc:
            raise Unavailable(
                f"no appliance answers on {self._socket_path}; start one with `appliance serve`, "
                "or say where with --state"
            ) from exc
        except httpx.HTTPError as exc:
            raise Unavailable(f"the appliance did not answer: {exc}") from exc
        try:
            answer = response.json()
        except ValueError as exc:
            raise Unavailable(
                f"the answer is no JSON (status {response.status_code}); is this our socket?"
            ) from exc
        if response.is_error:
            sentence = answer.get("error") if isinstance(answer, dict) else None
            raise Refused(sentence or f"refused with status {response.status_code}")
        return answer
