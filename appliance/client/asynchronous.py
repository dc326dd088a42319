"""A box for programs with an event loop; each method is the blocking client's."""

import random
from collections.abc import AsyncIterator
from pathlib import Path
from types import TracebackType
from typing import Self, Unpack

from appliance.api import shapes
from appliance.api.shapes.health import Log as BoxLog
from appliance.client import routes
from appliance.client.address import USUAL, Address, Patience
from appliance.client.async_wire import AsyncStream, AsyncWire
from appliance.client.following import Following, OnBreak
from appliance.client.routes import Filters, ModelContent, Span, Watched


class AsyncClient:
    """A connection to one box; use it in an `async with`. Tasks of one loop may share it.

    where: the path of its Unix socket, or http(s)://host:port with the box's token; ca: a file
    with the certificates that https trusts, None for the system's.
    """

    def __init__(
        self,
        where: Path | str,
        *,
        token: str | None = None,
        ca: Path | None = None,
        patience: Patience = USUAL,
        agent: str = "",
    ) -> None:
        self._wire = AsyncWire(Address(where, token, ca, agent), patience)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:  # fmt: skip
        await self.close()

    async def close(self) -> None:
        """Give the connections back; streams have ended by then."""
        await self._wire.close()

    # -- the box -----------------------------------------------------------------------------------

    async def health(self) -> shapes.Health:
        """Tell how the box is."""
        return await self._wire.ask(routes.health())

    async def ready(self) -> bool:
        """Tell that the box takes work. Raises: Refused (503) while it starts or stops."""
        return (await self._wire.ask(routes.ready())).ready

    async def logs(self, lines: int = 100, level: str = "debug", app: str | None = None) -> BoxLog:
        """Give the last lines of the box's own log, newest last.

        level: the least to show.   app: only what names this app.
        """
        return await self._wire.ask(routes.logs(lines, level, app))

    async def metrics(self) -> str:
        """Give all counts in Prometheus' text format."""
        return await self._wire.ask(routes.metrics())

    # -- apps --------------------------------------------------------------------------------------

    async def apps(self) -> list[shapes.App]:
        """List the apps, by name."""
        return await self._wire.ask(routes.apps())

    async def app(self, name: str) -> shapes.AppDetail:
        """Say all about one app: state, limits, versions, and what became of its frames."""
        return await self._wire.ask(routes.app(name))

    async def app_log(self, name: str, lines: int = 100, level: str = "debug") -> shapes.Log:
        """Give the end of an app's log, newest last. level: the least to show."""
        return await self._wire.ask(routes.app_log(name, lines, level))

    async def rollback(self, name: str, version: str | None = None) -> shapes.Deployed:
        """Let an earlier version answer; without one, that which did before the current one."""
        return await self._wire.ask(routes.rollback(name, version))

    async def enable(self, name: str) -> shapes.App:
        """Let a disabled app answer again."""
        return await self._wire.ask(routes.enable(name))

    async def disable(self, name: str) -> shapes.App:
        """Let an app answer nothing, restarts included, until it is enabled or deployed."""
        return await self._wire.ask(routes.disable(name))

    async def delete_app(self, name: str) -> None:
        """Forget an app and its versions; its predictions stay in the history."""
        await self._wire.ask(routes.delete_app(name))

    async def deploy(self, name: str, content: bytes) -> shapes.Deployed:
        """Deploy a .wasm, or a .zip or .tar.gz bundle; it answers when this returns."""
        return await self._wire.ask(routes.deploy(name, content))

    async def predict(self, app: str, picture: bytes) -> shapes.Answer:
        """Show a picture (JPEG, PNG or WebP) to an app."""
        return await self._wire.ask(routes.predict(app, picture))

    # -- cameras -----------------------------------------------------------------------------------

    async def cameras(self) -> shapes.Cameras:
        """List the cameras and how each is, by name."""
        return await self._wire.ask(routes.cameras())

    async def camera(self, name: str) -> shapes.CameraDetail:
        """Say all about one camera."""
        return await self._wire.ask(routes.camera(name))

    async def add_camera(self, name: str, url: str, **settings: object) -> shapes.CameraDetail:
        """Add a camera. settings: as in `shapes.CameraSettings`, JSON."""
        return await self._wire.ask(routes.add_camera(name, url, settings))

    async def change_camera(self, name: str, **settings: object) -> shapes.CameraDetail:
        """Change what is named of a camera, and nothing else."""
        return await self._wire.ask(routes.change_camera(name, settings))

    async def enable_camera(self, name: str) -> shapes.CameraDetail:
        """Let a camera begin again."""
        return await self._wire.ask(routes.switch_camera(name, is_enabled=True))

    async def disable_camera(self, name: str) -> shapes.CameraDetail:
        """Stop a camera until it is enabled."""
        return await self._wire.ask(routes.switch_camera(name, is_enabled=False))

    async def remove_camera(self, name: str) -> None:
        """Forget a camera; its predictions stay."""
        await self._wire.ask(routes.remove_camera(name))

    async def devices(self) -> shapes.Devices:
        """List the capture devices of the box."""
        return await self._wire.ask(routes.devices())

    async def push(self, camera: str, picture: bytes) -> shapes.Pushed:
        """Give a frame to a push camera: JPEG, PNG or WebP, or JPEGs in a row."""
        return await self._wire.ask(routes.push(camera, picture))

    async def snapshot(
        self, camera: str, *, has_labels: bool = True, width: int | None = None
    ) -> bytes:
        """Show what a camera sees now, as JPEG. width: pixels, at most."""
        return await self._wire.ask(routes.snapshot(camera, has_labels, width))

    # -- models ------------------------------------------------------------------------------------

    async def models(self) -> shapes.Models:
        """List the models and the loaded graphs."""
        return await self._wire.ask(routes.models())

    async def model(self, name: str) -> shapes.ModelVersions:
        """Say all about a model, version by version."""
        return await self._wire.ask(routes.model(name))

    async def upload_model(self, name: str, version: str, content: ModelContent) -> shapes.Added:
        """Add a model: a .tar, .tar.gz or .zip of its folder, or its files by name.

        content: an archive that is an open file is read as it is sent.
        The box loads it in every encoding that it has a runtime for before this returns.
        """
        return await self._wire.ask(routes.upload_model(name, version, content))

    async def delete_model(self, name: str, version: str) -> None:
        """Delete a version that was uploaded."""
        await self._wire.ask(routes.delete_model(name, version))

    async def plan(self, name: str, version: str | None = None) -> shapes.ModelPlan:
        """Tell how a version's loaded graphs are run, and what that was chosen from."""
        return await self._wire.ask(routes.plan(name, version))

    async def sample(
        self, name: str, picture: bytes | None = None, *, version: str | None = None,
        encoding: str | None = None,
    ) -> shapes.Sample:  # fmt: skip
        """Show a picture to a model, without an app; without one, the model's own sample."""
        return await self._wire.ask(routes.sample(name, picture, version, encoding))

    # -- predictions -------------------------------------------------------------------------------

    async def predictions(self, **filters: Unpack[Filters]) -> shapes.Page:
        """Give one page of the history, newest first; filters that are None say nothing."""
        return await self._wire.ask(routes.predictions(filters))

    async def history(self, **filters: Unpack[Filters]) -> AsyncIterator[shapes.Prediction]:
        """Give all that match, newest first; pages of `limit` are fetched as they are needed."""
        filters.setdefault("limit", routes.PAGE_ROWS)
        while True:
            page = await self.predictions(**filters)
            for prediction in page.predictions:
                yield prediction
            if page.next_before is None:
                return
            filters["before"] = page.next_before

    async def summary(self, interval_s: int, **filters: Unpack[Span]) -> shapes.Summary:
        """Count labels in all, and in each interval of so many seconds."""
        return await self._wire.ask(routes.summary(interval_s, filters))

    def stream(
        self, *, after: int | None = None, on_break: OnBreak | None = None,
        **filters: Unpack[Watched],
    ) -> AsyncStream:  # fmt: skip
        """Give predictions as they are made, until closed; a restart of the box is got over.

        after: first what came after this prediction's id; None = what comes from the moment that
        it is first awaited, or entered by `async with`.
        on_break: told why, each time that the stream broke and will be resumed.
        """
        following = Following(self._wire.patience, random.random, after)
        return AsyncStream(self._wire, filters, following, on_break)
