"""`appliance run`: one guest without a box."""

import errno
import logging
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, TextIO

import typer
import wasmtime
from pydantic import ValidationError

from appliance.cli.options import read_file
from appliance.errors import BadPicture, BadRequest, FailureReason, GuestFailed
from appliance.guests import journal
from appliance.guests.aot import load_sealed
from appliance.guests.compiling import compile_bytes
from appliance.guests.engine import GuestEngine
from appliance.guests.instance import Instance, Output
from appliance.guests.program import Host, Program, make_program
from appliance.guests.seal import ELF
from appliance.logs import LogStyle, configure
from appliance.manifests import AppManifest, Mode, name_from
from appliance.models import ModelRepository
from appliance.pictures import decode
from appliance.records import Frame
from appliance.settings import GIB, AppLimits, load_settings
from appliance.shipped import models_folder
from appliance.tables import explain
from wasi_nn.backends import all_backends
from wasi_nn.catalogue import Catalogue, NamedModel, StaticCatalogue, parse_preload
from wasi_nn.errors import NotFound
from wasi_nn.executor import DirectExecutor
from wasi_nn.metering import CallMeter
from wasi_nn.registry import Registry

# A program run by hand may take its time; a box's app may not.
_TIMEOUT_S = 3600.0


def add_to(app: typer.Typer) -> None:
    app.command("run", context_settings={"allow_interspersed_args": False}, no_args_is_help=True)(
        run
    )


class _Models:
    """What was preloaded by name first, then the models that come with the box."""

    def __init__(self, preloaded: Sequence[NamedModel], repository: Catalogue) -> None:
        self._preloaded = StaticCatalogue(preloaded)
        self._repository = repository

    def find(self, name: str) -> NamedModel:
        try:
            return self._preloaded.find(name)
        except NotFound:
            return self._repository.find(name)


def run(
    guest: Annotated[Path, typer.Argument(help="A .wasm, or a .cwasm that `compile` made.")],
    arguments: Annotated[
        list[str] | None,
        typer.Argument(metavar="ARG...", help="Its arguments; for a reactor, pictures to show."),
    ] = None,
    folders: Annotated[
        list[str] | None,
        typer.Option("--dir", metavar="GUEST:HOST", help="A folder the guest may read and write."),
    ] = None,
    env: Annotated[
        list[str] | None, typer.Option("--env", metavar="NAME=VALUE", help="For the guest.")
    ] = None,
    preloads: Annotated[
        list[str] | None,
        typer.Option(
            "--nn-preload", metavar="NAME:ENCODING:TARGET:PATH[:PATH]",
            help="A model that the guest may load by name, as WasmEdge spells it.",
        ),
    ] = None,
    max_memory: Annotated[str, typer.Option(help="Of linear memory, such as 64MiB.")] = "1GiB",
    timeout: Annotated[float, typer.Option(help="Seconds.", min=0.01)] = _TIMEOUT_S,
    statistics: Annotated[
        bool, typer.Option(help="Print what the run took, on standard error.")
    ] = False,
) -> None:  # fmt: skip
    """Run one guest here and now; its exit status is this one's."""
    content = read_file(guest)
    is_compiled = content.startswith(ELF)
    manifest = AppManifest(
        name=name_from(guest.name), env=dict(_pair(text, "=", "--env") for text in env or ())
    )
    limits = _limits(max_memory, timeout)
    catalogue = _Models(
        [parse_preload(text) for text in preloads or ()],
        ModelRepository((load_settings().models, models_folder())),
    )
    _show_log()
    # Counting needs other code than `compile` makes.
    meter = CallMeter() if statistics else None
    engine = GuestEngine(counts_fuel=statistics and not is_compiled, meter=meter)
    host = Host(engine, Registry(all_backends(), catalogue), DirectExecutor(), limits)
    module = _compiled(engine, guest) if is_compiled else _module(engine, content)
    program = make_program(host, module, manifest)
    engine.start()
    try:
        is_reactor = program.mode is Mode.REACTOR
        status = (
            _show(program, arguments or [], meter)
            if is_reactor
            else _start(program, guest.name, arguments or [], folders or [], meter)
        )
    finally:
        program.keeper.close()
        engine.stop()
    raise typer.Exit(status)


def _show_log() -> None:
    """Let warnings, and whatever the guest logs, be seen."""
    configure(LogStyle.TEXT, level=logging.WARNING)
    logging.getLogger(journal.__name__).setLevel(logging.INFO)


def _limits(max_memory: str, timeout_s: float) -> AppLimits:
    """What the user allows; of output as much as there is."""
    try:
        return AppLimits.model_validate(
            {
                "memory_bytes": max_memory,
                "deadline_s": timeout_s,
                "output_bytes": 1 << 40,
                "tensor_bytes": 4 * GIB,
                "log_bytes": 1 << 40,
                "host_calls": None,
            }
        )
    except ValidationError as exc:
        raise BadRequest(f"--max-memory or --timeout: {explain(exc, AppLimits)}") from exc


def _module(engine: GuestEngine, content: bytes) -> wasmtime.Module:
    return wasmtime.Module.deserialize(engine.engine, compile_bytes(engine, content))


def _compiled(engine: GuestEngine, guest: Path) -> wasmtime.Module:
    """Take what `compile` made: the user vouches for it, as for any program started by hand."""
    descriptor = os.open(guest, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return load_sealed(engine, descriptor)
    finally:
        os.close(descriptor)


def _start(
    program: Program, name: str, arguments: list[str], folders: list[str], meter: CallMeter | None
) -> int:
    wasi = wasmtime.WasiConfig()
    wasi.argv = [name, *arguments]
    wasi.env = list(program.manifest.env.items())
    wasi.inherit_stdin()
    for text in folders:
        seen, real = _pair(text, ":", "--dir")
        try:
            wasi.preopen_dir(real, seen)
        except wasmtime.WasmtimeError as exc:
            raise BadRequest(f"--dir {text}: no such folder on this machine: {real}") from exc
    instance = Instance(program, wasi, Output(_to(sys.stdout), _to(sys.stderr)))
    started_s = time.perf_counter()
    try:
        instance.call()
        status = 0
    except GuestFailed as failure:
        if failure.reason is not FailureReason.EXIT:
            raise
        cause = failure.__cause__
        status = cause.code if isinstance(cause, wasmtime.ExitTrap) else 1
    finally:
        if meter is not None:
            _print_statistics(instance, meter, time.perf_counter() - started_s)
        instance.close()
    return status


def _show(program: Program, pictures: list[str], meter: CallMeter | None) -> int:
    """Show pictures to a reactor and print what it emits, a line each."""
    if not pictures:
        raise BadRequest(f"{program.name} is a reactor: give it pictures to be shown")
    wasi = wasmtime.WasiConfig()
    wasi.argv = [program.name]
    wasi.env = list(program.manifest.env.items())
    instance = Instance(program, wasi, Output(_to(sys.stderr), _to(sys.stderr)))
    started_s = time.perf_counter()
    status = 0
    try:
        for sequence, picture in enumerate(pictures):
            encoded = read_file(Path(picture))
            try:
                pixels, media_type = decode(encoded, max_pixels=load_settings().max_pixels)
            except BadPicture as exc:
                raise BadPicture(f"{picture}: {exc}") from exc
            frame = Frame(
                "file", sequence, time.time(), time.monotonic(), pixels, encoded, media_type
            )
            status = instance.call(instance.guest.show(frame)) or status
            for output in instance.guest.hide():
                sys.stdout.write(output.decode("utf-8", "replace") + "\n")
    finally:
        if meter is not None:
            _print_statistics(instance, meter, time.perf_counter() - started_s)
        instance.close()
    return status


def _print_statistics(instance: Instance, meter: CallMeter, wall_s: float) -> None:
    """Say what WasmEdge says (times, instructions), and where the host's time went.

    Linear memory never shrinks, so its size at the end is its peak.
    """
    registry = instance.program.host.registry.statistics()
    session, fuel = instance.guest.session, instance.fuel_used()
    wasm_s = max(wall_s - meter.seconds, 1e-9)
    lines = [
        f"wall: {wall_s * 1000:.3f} ms",
        f"in wasm and WASI: {wasm_s * 1000:.3f} ms",
        f"in host functions: {meter.seconds * 1000:.3f} ms",
        f"instructions (fuel): {'not counted in a .cwasm' if fuel is None else fuel}",
        f"linear memory: {instance.memory_bytes()} bytes at most",
        f"wasi-nn computes: {session.computes}",
        f"wasi-nn bytes: {session.bytes_in} in, {session.bytes_out} out",
        f"graphs loaded: {registry.loads}, found in the cache: {registry.hits}",
    ]
    if fuel is not None:
        lines.insert(4, f"instructions per second: {fuel / wasm_s:.0f}")
    for name, cost in sorted(meter.costs.items(), key=lambda item: -item[1].seconds):
        lines.append(f"call {name}: {cost.count} times, {cost.seconds * 1000:.3f} ms")
    sys.stderr.write("\n".join(lines) + "\n")


def _to(stream: TextIO) -> Callable[[bytes], int | None]:
    """Pass a guest's output on, as bytes and at once."""

    def write(raw: bytes) -> int | None:
        try:
            stream.buffer.write(raw)
            stream.buffer.flush()
        except OSError as exc:  # the reader, such as `head`, has gone
            return -(exc.errno or errno.EIO)
        return None

    return write


def _pair(text: str, separator: str, option: str) -> tuple[str, str]:
    left, found, right = text.partition(separator)
    if not found or not left:
        raise typer.BadParameter(f"{option} {text}: wanted two parts with {separator!r} between")
    return left, right
