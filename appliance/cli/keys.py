"""`appliance keys`: make, show, trust; and `appliance sign`.

None of them talks to a box: who may write into its state folder decides whom it trusts.
"""

import io
import zipfile
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from appliance.bundles import SIGNATURE_FILE
from appliance.cli.box import bundle_of
from appliance.cli.options import State, console, read_file, settings_of
from appliance.drops import signature_beside
from appliance.errors import BadRequest, Conflict
from appliance.files import write_atomic
from appliance.manifests import name_from, parse_app_manifest
from appliance.trust.keys import PrivateKey, PublicKey, new_key, read_private, read_public
from appliance.trust.signing import sign
from appliance.trust.trusted import SUFFIX, TrustedKeys

PRIVATE_SUFFIX = ".key"

PublicFile = Annotated[Path, typer.Argument(help="A public key's file, NAME.pub.")]

commands = typer.Typer(no_args_is_help=True, help="Keys that sign apps, and who is trusted.")


def add_to(app: typer.Typer) -> None:
    app.add_typer(commands, name="keys")
    app.command("sign", no_args_is_help=True)(sign_bundle)


@commands.command("new")
def new(
    path: Annotated[Path, typer.Argument(metavar="NAME", help="Makes NAME.key and NAME.pub.")],
) -> None:
    """Make a key: NAME.key signs and stays secret, NAME.pub is for the boxes that trust it."""
    private, public = (path.with_name(path.name + end) for end in (PRIVATE_SUFFIX, SUFFIX))
    for target in (private, public):
        if target.exists():
            raise Conflict(f"{target}: it is there already; choose another name")
    key = new_key()
    write_atomic(private, key.pem(), mode=0o600)
    write_atomic(public, key.public.pem(), mode=0o644)
    console.print(f"{key.public.id} {private} (keep it secret) and {public}", soft_wrap=True)


@commands.command("show")
def show(path: PublicFile) -> None:
    """Print a public key: its id, and itself."""
    key = _public(path)
    typer.echo(f"{key.id}\n{key.pem().decode()}", nl=False)


@commands.command("list")
def list_keys(state: State = None) -> None:
    """List the keys that the box trusts."""
    trusted = _trusted(state).all()
    table = Table("key", "id")
    for found in trusted:
        table.add_row(found.name, "damaged, trusted by nobody" if not found.key else found.key.id)
    console.print(table if trusted else "no key is trusted")


@commands.command("trust")
def trust(
    path: PublicFile,
    name: Annotated[str | None, typer.Option(help="Its name here; else the file's.")] = None,
    state: State = None,
) -> None:
    """Let a key sign apps for the box; it counts from the next deploy on."""
    key = _public(path)
    name = name or name_from(path.name.removesuffix(SUFFIX))
    _trusted(state).add(name, key)
    console.print(f"{name} {key.id} trusted")


@commands.command("remove")
def remove(
    name: Annotated[str, typer.Argument(help="The key's name on the box.")], state: State = None
) -> None:
    """Trust a key no more; what it signed answers until the next restart or deploy."""
    _trusted(state).remove(name)
    console.print(f"{name} removed")


def _trusted(state: Path | None) -> TrustedKeys:
    return TrustedKeys(settings_of(state).keys)


def _public(path: Path) -> PublicKey:
    return read_public(read_file(path), str(path))


def sign_bundle(
    guest: Annotated[Path, typer.Argument(help="A .wasm, or a .zip with one and an app.toml.")],
    key: Annotated[Path, typer.Option(help="The private key's file, NAME.key.")],
    name: Annotated[
        str | None, typer.Option(help="The app's name; else the manifest's, else the file's.")
    ] = None,
) -> None:
    """Sign an app under its name: into the .zip, or beside a .wasm as x.wasm.sig."""
    content = read_file(guest)
    bundle = bundle_of(guest, None)
    signer = _private(key)
    named = parse_app_manifest(bundle.manifest or b"", default_name=name or guest.name).name
    if name not in (None, named):
        raise BadRequest(f"--name: got {name}, but the app.toml says {named}; correct one of them")
    line = sign(bundle, named, signer).line()
    if zipfile.is_zipfile(io.BytesIO(content)):
        target, signed = guest, _with_member(content, line)
    else:
        target, signed = signature_beside(guest), line
    write_atomic(target, signed, mode=0o644)
    console.print(f"{named} {bundle.version} signed by {signer.public.id}: {target}",
                  soft_wrap=True)  # fmt: skip


def _private(path: Path) -> PrivateKey:
    """Read a private key that is its owner's alone."""
    content = read_file(path)
    rights = path.stat().st_mode & 0o777
    if rights & 0o077:
        raise BadRequest(
            f"{path}: others may read this key (rights {rights:04o}), wanted 0600; "
            f"chmod 600 {path}, or make a new one if somebody did"
        )
    return read_private(content, str(path))


def _with_member(content: bytes, line: bytes) -> bytes:
    """Write an archive again, with this signature and no other."""
    packed = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(content)) as old,
        zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as new_archive,
    ):
        for info in old.infolist():
            if info.filename.split("/")[-1] != SIGNATURE_FILE:
                new_archive.writestr(info, old.read(info))
        new_archive.writestr(SIGNATURE_FILE, line)
    return packed.getvalue()
