"""Every call to a box as data: what is sent, how long to wait, how the answer is read.

Neither client knows a path or a shape; they send a `Call` and hand its answer to `answer_of`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, BinaryIO, Generic, TypedDict, TypeVar
from urllib.parse import quote

import httpx
from pydantic import TypeAdapter, ValidationError

from appliance.api import shapes
from appliance.api.shapes.health import Log as BoxLog
from appliance.api.shapes.health import Ready
from appliance.client.errors import refusal_of
from appliance.errors import BadRequest, Unavailable

T = TypeVar("T")

# Of `history`: as many as the box gives at once.
PAGE_ROWS = 1000
_NDJSON = {"Accept": "application/x-ndjson"}


# An archive, or an open one that is read as it is sent, or files by name.
ModelContent = bytes | BinaryIO | Mapping[str, bytes]


class Watched(TypedDict, total=False):
    """Which predictions of a stream. camera: the frame's source.   label: the top one, exactly."""

    app: str | None
    camera: str | None
    label: str | None
    min_score: float | None


class Span(Watched, total=False):
    """Which predictions of the history. since, until: Unix seconds, since <= emitted < until."""

    since: float | None
    until: float | None


class Filters(Span, total=False):
    """Which predictions, and where to begin. frame: its sequence number in its source.

    before: next_before of the page before.   limit: of one page.
    """

    frame: int | None
    before: int | None
    limit: int | None


@dataclass(frozen=True, slots=True)
class Call(Generic[T]):
    """One request. is_work: it waits for more than what the box has at hand."""

    method: str
    path: str
    read: Callable[[httpx.Response], T]
    params: Mapping[str, str | int | float] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    content: bytes | BinaryIO | None = None
    files: Mapping[str, bytes] | None = None
    json: Mapping[str, Any] | None = None
    is_work: bool = False

    @property
    def request(self) -> dict[str, Any]:
        """Give the vendor's arguments for it."""
        files = None if self.files is None else [
            ("files", (name, content)) for name, content in self.files.items()
        ]  # fmt: skip
        return {
            "method": self.method, "url": self.path, "params": self.params, "files": files,
            "headers": self.headers, "content": self.content, "json": self.json,
        }  # fmt: skip


def answer_of(call: Call[T], response: httpx.Response) -> T:
    """Read an answer whose body is there. Raises: Refused; Unavailable if it is not a box's."""
    if response.is_success:
        return call.read(response)
    raise refusal_of(response)


def _read_as(shape: type[T]) -> Callable[[httpx.Response], T]:
    adapter = TypeAdapter(shape)

    def read(response: httpx.Response) -> T:
        try:
            return adapter.validate_json(response.content)
        except ValidationError as exc:
            finding = exc.errors(include_url=False, include_input=False)[0]
            if finding["type"] == "json_invalid":
                what = f"no JSON (status {response.status_code})"
            else:
                where = ".".join(str(part) for part in finding["loc"])
                what = f"not what was asked for ({where}: {finding['msg']})"
            raise Unavailable(
                f"the answer is {what}; is this our socket, and a box of this version?"
            ) from exc

    return read


def _text(response: httpx.Response) -> str:
    return response.text


def _nothing(_: httpx.Response) -> None:
    return None


_health = _read_as(shapes.Health)
_ready = _read_as(Ready)
_box_log = _read_as(BoxLog)
_apps = _read_as(list[shapes.App])
_app = _read_as(shapes.App)
_app_detail = _read_as(shapes.AppDetail)
_app_log = _read_as(shapes.Log)
_deployed = _read_as(shapes.Deployed)
_answer = _read_as(shapes.Answer)
_models = _read_as(shapes.Models)
_versions = _read_as(shapes.ModelVersions)
_added = _read_as(shapes.Added)
_plan = _read_as(shapes.ModelPlan)
_sample = _read_as(shapes.Sample)
_page = _read_as(shapes.Page)
_summary = _read_as(shapes.Summary)


def _given(filters: Mapping[str, Any]) -> dict[str, str | int | float]:
    return {key: value for key, value in filters.items() if value is not None}


def _at(*names: str) -> str:
    """Make a path. Raises: BadRequest for a name that cannot be one part of it."""
    for name in names:
        if "/" in name or name in {"", ".", ".."}:
            raise BadRequest(f"name: got {name!r}, wanted one without a slash, such as cat")
    return "/v1/" + "/".join(quote(name, safe="") for name in names)


# -- the box ---------------------------------------------------------------------------------------


def health() -> Call[shapes.Health]:
    return Call("GET", "/healthz", _health)


def ready() -> Call[Ready]:
    return Call("GET", "/readyz", _ready)


def logs(lines: int, level: str, app: str | None) -> Call[BoxLog]:
    asked = _given({"lines": lines, "level": level, "app": app})
    return Call("GET", _at("logs"), _box_log, params=asked)


def metrics() -> Call[str]:
    return Call("GET", "/metrics", _text)


# -- apps ------------------------------------------------------------------------------------------


def apps() -> Call[list[shapes.App]]:
    return Call("GET", _at("apps"), _apps)


def app(name: str) -> Call[shapes.AppDetail]:
    return Call("GET", _at("apps", name), _app_detail)


def app_log(name: str, lines: int, level: str) -> Call[shapes.Log]:
    asked: dict[str, str | int | float] = {"lines": lines, "level": level}
    return Call("GET", _at("apps", name, "log"), _app_log, params=asked)


def rollback(name: str, version: str | None) -> Call[shapes.Deployed]:
    wanted = _given({"version": version})
    return Call("POST", _at("apps", name, "rollback"), _deployed, json=wanted, is_work=True)


def enable(name: str) -> Call[shapes.App]:
    return Call("POST", _at("apps", name, "enable"), _app, is_work=True)


def disable(name: str) -> Call[shapes.App]:
    return Call("POST", _at("apps", name, "disable"), _app, is_work=True)


def delete_app(name: str) -> Call[None]:
    return Call("DELETE", _at("apps", name), _nothing, is_work=True)


def deploy(name: str, content: bytes) -> Call[shapes.Deployed]:
    return Call("PUT", _at("apps", name), _deployed, content=content, is_work=True)


def predict(app: str, picture: bytes) -> Call[shapes.Answer]:
    return Call("POST", _at("apps", app, "frames"), _answer, content=picture, is_work=True)


# -- models ----------------------------------------------------------------------------------------


def models() -> Call[shapes.Models]:
    return Call("GET", _at("models"), _models)


def model(name: str) -> Call[shapes.ModelVersions]:
    return Call("GET", _at("models", name), _versions)


def upload_model(name: str, version: str, content: ModelContent) -> Call[shapes.Added]:
    path = _at("models", name, version)
    if isinstance(content, Mapping):
        return Call("PUT", path, _added, files=content, is_work=True)
    return Call("PUT", path, _added, content=content, is_work=True)


def delete_model(name: str, version: str) -> Call[None]:
    return Call("DELETE", _at("models", name, version), _nothing, is_work=True)


def plan(name: str, version: str | None) -> Call[shapes.ModelPlan]:
    return Call("GET", _at("models", name, "plan"), _plan, params=_given({"version": version}))


def sample(
    name: str, picture: bytes | None, version: str | None, encoding: str | None
) -> Call[shapes.Sample]:
    asked = _given({"version": version, "encoding": encoding})
    path = _at("models", name, "sample")
    return Call("POST", path, _sample, params=asked, content=picture, is_work=True)


# -- predictions -----------------------------------------------------------------------------------


def predictions(filters: Mapping[str, Any]) -> Call[shapes.Page]:
    return Call("GET", _at("predictions"), _page, params=_given(filters))


def summary(interval_s: int, filters: Mapping[str, Any]) -> Call[shapes.Summary]:
    asked = _given({"interval": interval_s, **filters})
    return Call("GET", _at("predictions", "summary"), _summary, params=asked)


def newest() -> Call[int]:
    """Ask for the id of the newest prediction; 0 if there is none."""

    def read(response: httpx.Response) -> int:
        found = _page(response).predictions
        return (found[0].id or 0) if found else 0

    return Call("GET", _at("predictions"), read, params={"limit": 1})


def stream(filters: Mapping[str, Any], after: int | None) -> Call[None]:
    return Call(
        "GET", _at("predictions", "stream"), _nothing, headers=_NDJSON,
        params=_given({**filters, "after": after}),
    )  # fmt: skip
