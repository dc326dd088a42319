"""`appliance doctor`: what this machine offers, and why something is absent."""

import platform
from importlib.metadata import version

import typer
from rich.table import Table

from appliance.cli.options import State, console, settings_of
from appliance.guests.engine import GuestEngine
from appliance.models import ModelRepository
from appliance.shipped import models_folder
from wasi_nn.backends import all_backends
from wasi_nn.devices import survey
from wasi_nn.hostcall import is_fast


def add_to(app: typer.Typer) -> None:
    app.command("doctor")(doctor)


def doctor(state: State = None) -> None:
    """Say what this machine offers: runtimes, devices, versions, models."""
    settings = settings_of(state)
    console.print(
        f"appliance {version('edge-inference-appliance')}, Python {platform.python_version()}, "
        f"{platform.machine()}, state {settings.state}"
    )
    console.print(
        f"guests: {GuestEngine().fingerprint}, host calls "
        f"{'fast' if is_fast() else 'slow: this wasmtime has another C API, see the log'}"
    )
    table = Table("backend", "version", "device", "", "what it is, or why it is absent")
    for backend in survey(all_backends()):
        if backend.version is None:
            table.add_row(backend.name, "-", "-", "absent", backend.reason, end_section=True)
        for index, device in enumerate(backend.devices):
            table.add_row(
                backend.name if index == 0 else "", backend.version or "" if index == 0 else "",
                device.device.value, "present" if device.present else "absent", device.detail,
                end_section=index == len(backend.devices) - 1,
            )  # fmt: skip
    console.print(table)
    models = Table("model", "version", "encodings, the preferred first", "licence")
    for entry in ModelRepository((settings.models, models_folder())).entries():
        if entry.package is None:
            models.add_row(entry.name, entry.version, f"broken: {entry.reason}", "")
            continue
        manifest = entry.package.manifest
        encodings = ", ".join(files.encoding.value for files in manifest.files)
        models.add_row(entry.name, entry.version, encodings, manifest.licence)
    console.print(models)
