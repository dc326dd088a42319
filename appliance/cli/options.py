"""Options that several commands share."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from appliance.client import Client
from appliance.errors import BadRequest
from appliance.settings import load_settings

State = Annotated[
    Path | None,
    typer.Option(help="Where the box keeps everything; its socket is run/appliance.sock in it."),
]

console = Console(highlight=False)


def connect(state: Path | None) -> Client:
    """Find the box that runs over a state folder."""
    chosen = {} if state is None else {"state": state}
    return Client(load_settings(**chosen).socket_path)


def read_file(path: Path) -> bytes:
    """Read a file that the user named. Raises: BadRequest saying why not."""
    try:
        return path.read_bytes()
    except OSError as exc:
        raise BadRequest(f"{path}: {exc.strerror}") from exc
