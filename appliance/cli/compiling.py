"""`appliance compile`: guests compiled ahead, into a file or into a box's cache."""

import time
from pathlib import Path
from typing import Annotated

import typer

from appliance.cli.options import State, read_file, settings_of
from appliance.drops import read_drop
from appliance.errors import BadRequest, Unavailable
from appliance.files import write_atomic
from appliance.guests.aot import SUFFIX, AotCache
from appliance.guests.compiling import compiled_in_child, limits_of_machine
from appliance.guests.engine import GuestEngine
from appliance.guests.seal import sealed
from appliance.manifests import name_from, parse_app_manifest


def add_to(app: typer.Typer) -> None:
    app.command("compile", no_args_is_help=True)(compile_guests)


def compile_guests(
    guests: Annotated[
        list[Path], typer.Argument(metavar="GUEST...", help="A .wasm; for a cache also a .zip.")
    ],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="Else the guest's name with .cwasm.")
    ] = None,
    into_cache: Annotated[
        bool, typer.Option("--into-cache", help="Into the cache of the box; deploy them later.")
    ] = False,
    state: State = None,
) -> None:
    """Compile a guest for this machine, for `run` or for a box to start at once."""
    if into_cache and output is not None:
        raise BadRequest("--into-cache and --output: got both, wanted one of them")
    if output is not None and len(guests) > 1:
        raise BadRequest(f"--output: got {len(guests)} guests for one file, wanted one guest")
    if into_cache:
        _fill(guests, state)
        return
    engine = GuestEngine()
    for guest in guests:
        _compile(engine, guest, output or guest.with_suffix(SUFFIX))


def _compile(engine: GuestEngine, guest: Path, target: Path) -> None:
    """Write a sealed .cwasm."""
    started_s = time.perf_counter()
    with compiled_in_child(read_file(guest), limits_of_machine()) as descriptor:
        compiled = b"".join(sealed(descriptor, engine.fingerprint))
    write_atomic(target, compiled, mode=0o644)
    typer.echo(f"{target}: {len(compiled)} bytes for {engine.fingerprint}, {_ms(started_s)}")


def _fill(guests: list[Path], state: Path | None) -> None:
    """Compile guests as a deploy on that box would, whether it runs or not."""
    settings = settings_of(state)
    engine = GuestEngine()
    cache = AotCache(settings.cache_aot, engine, max_bytes=settings.aot_max_bytes)
    for guest in guests:
        started_s = time.perf_counter()
        bundle = read_drop(guest)
        manifest = parse_app_manifest(bundle.manifest or b"", default_name=name_from(guest.name))
        # An app that counts instructions is compiled to other code.
        is_counting = manifest.limits_over(settings.limits).fuel is not None
        chosen = cache.for_engine(engine.counting()) if is_counting else cache
        chosen.module(bundle.wasm)
        if not chosen.holds(bundle.wasm):
            raise Unavailable(
                f"{guest}: compiled, but not kept; check the disk's space and rights, and "
                "aot_max_bytes in the settings"
            )
        typer.echo(f"{guest}: in the cache for {engine.fingerprint}, {_ms(started_s)}")


def _ms(since_s: float) -> str:
    return f"{(time.perf_counter() - since_s) * 1000:.0f} ms"
