"""Talk to a box over its Unix socket.

    with Client(socket_path) as box:
        box.predict("classifier", picture_bytes)

Answers are the API's JSON as dictionaries; a refusal is an ApplianceError with the box's sentence.
"""

from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self, cast
from urllib.parse import quote

import httpx

from appliance.errors import ApplianceError, BadRequest, Unavailable

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

    def app(self, name: str) -> dict[str, Any]:
        """Say all about one app."""
        return cast(dict[str, Any], self._ask("GET", f"/v1/apps/{_part(name)}"))

    def rollback(self, name: str, version: str | None = None) -> dict[str, Any]:
        """Let an earlier version answer, the one before unless one is named."""
        wanted = {} if version is None else {"version": version}
        return cast(
            dict[str, Any], self._ask("POST", f"/v1/apps/{_part(name)}/rollback", json=wanted)
        )

    def enable(self, name: str) -> dict[str, Any]:
        """Let a disabled app answer again."""
        return cast(dict[str, Any], self._ask("POST", f"/v1/apps/{_part(name)}/enable"))

    def disable(self, name: str) -> dict[str, Any]:
        """Let an app answer no frames."""
        return cast(dict[str, Any], self._ask("POST", f"/v1/apps/{_part(name)}/disable"))

    def delete(self, name: str) -> None:
        """Forget an app and its versions."""
        self._ask("DELETE", f"/v1/apps/{_part(name)}")

    def model(self, name: str) -> dict[str, Any]:
        """Say all about a model, version by version."""
        return cast(dict[str, Any], self._ask("GET", f"/v1/models/{_part(name)}"))

    def add_model(self, name: str, version: str, archive: BinaryIO) -> dict[str, Any]:
        """Upload a model. archive: a .tar, .tar.gz or .zip, read as it is sent."""
        path = f"/v1/models/{_part(name)}/{_part(version)}"
        return cast(dict[str, Any], self._ask("PUT", path, content=archive))

    def remove_model(self, name: str, version: str) -> None:
        """Delete a version of a model that was uploaded."""
        self._ask("DELETE", f"/v1/models/{_part(name)}/{_part(version)}")

    def sample(self, name: str, picture: bytes = b"", **query: str | None) -> dict[str, Any]:
        """Show a model a picture, its own sample without one. query: version, encoding."""
        given = {key: value for key, value in query.items() if value is not None}
        path = f"/v1/models/{_part(name)}/sample"
        return cast(dict[str, Any], self._ask("POST", path, content=picture, params=given))

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
        if response.status_code == 204:
            return None
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


def _part(name: str) -> str:
    """Make one part of a path of a name. Raises: BadRequest for what cannot be one."""
    if "/" in name or name in {"", ".", ".."}:
        raise BadRequest(f"name: got {name!r}, wanted one without a slash, such as cat")
    return quote(name, safe="")
