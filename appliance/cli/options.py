"""Options that several commands share."""

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer
from pydantic import BaseModel
from rich.console import Console

from appliance.client import Client
from appliance.deploying.stages import CLI_AGENT
from appliance.errors import BadRequest
from appliance.settings import Settings, load_settings

State = Annotated[
    Path | None,
    typer.Option(help="Where the box keeps everything; its socket is run/appliance.sock in it."),
]

Json = Annotated[bool, typer.Option("--json", help="Print JSON, one object a line.")]

console = Console(highlight=False)


def settings_of(state: Path | None) -> Settings:
    """Read the settings, of the state folder that the user named if one was."""
    return load_settings() if state is None else load_settings(state=state)


def connect(state: Path | None) -> Client:
    """Find the box that runs over a state folder."""
    return Client(settings_of(state).socket_path, agent=CLI_AGENT)


def read_file(path: Path) -> bytes:
    """Read a file that the user named. Raises: BadRequest saying why not."""
    try:
        return path.read_bytes()
    except OSError as exc:
        raise BadRequest(f"{path}: {exc.strerror}") from exc


def printable(text: str) -> str:
    """Escape what would drive the terminal: a guest says what it likes."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def print_json(answers: Iterable[BaseModel]) -> None:
    """Print what the box said, one object a line, as it said it."""
    for answer in answers:
        typer.echo(answer.model_dump_json())
