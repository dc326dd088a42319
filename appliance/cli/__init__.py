"""The command line: `appliance COMMAND`.

Every failure is one sentence on standard error and an exit status that is not 0:

    0     done
    1     refused, failed, no box there, or the reader of the pipe left
    2     wrong usage
    130   ended by Ctrl-C
    `run` passes on the status of the guest.
"""

import sys
from importlib.metadata import version
from typing import Annotated

import typer

from appliance.cli import (
    box,
    cameras,
    check,
    compiling,
    demo,
    doctor,
    guest,
    keys,
    logs,
    manage,
    models,
    predictions,
    serve,
    top,
)
from appliance.errors import ApplianceError
from wasi_nn.errors import NNError

app = typer.Typer(
    name="appliance",
    help="An edge box that runs wasm image classifiers.",
    epilog="Exit status: 0 done, 1 failed (standard error says why), 2 wrong usage, 130 Ctrl-C.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def _print_version(is_wanted: bool) -> None:
    if is_wanted:
        typer.echo(version("edge-inference-appliance"))
        raise typer.Exit


@app.callback()
def _root(
    _: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version."
        ),
    ] = False,
) -> None:
    """Options of the program itself."""


for _module in (
    serve, demo, box, check, manage, models, cameras, predictions, top, logs, guest, compiling,
    keys, doctor,
):  # fmt: skip
    _module.add_to(app)


def main() -> None:
    """Run the command line; the console script."""
    try:
        app()
    except (ApplianceError, NNError) as exc:
        sys.stderr.write(f"appliance: {exc}\n")
        sys.exit(1)
    except BrokenPipeError:
        # The reader, such as `head`, has seen enough.
        sys.stderr.close()
        sys.exit(1)
