"""`fwmgr key new|list|show|export|sign`, and `fwmgr key root …`: keys that sign, and the root of trust.

Knows the options and how results are printed. Never shows a private key.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from firmware_mgr.cli import root
from firmware_mgr.cli.key_passphrase import PassphraseFile, asker, new_passphrase
from firmware_mgr.cli.package_signing import sign_package
from firmware_mgr.package.keyring import PEM_SUFFIX, Keyring, key_id, read_public_key
from firmware_mgr.packaging.keys import load_key, new_key

app = typer.Typer(help="Keys that sign packages, and the root of trust.", no_args_is_help=True)
app.add_typer(root.app, name="root")
app.command("sign")(sign_package)

DEFAULT_FOLDER = Path("var/keys")

Folder = Annotated[Path, typer.Option("--dir", envvar="FWMGR_KEYS", help="The folder of key files.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command()
def new(
    name: Annotated[str, typer.Argument(help="The key's name, such as release-2025.")],
    *,
    folder: Folder = DEFAULT_FOLDER,
    passphrase: Annotated[
        bool, typer.Option("--passphrase", help="Seal the private key with a passphrase, which is asked for.")
    ] = False,
    passphrase_file: PassphraseFile = None,
    as_json: AsJson = False,
) -> None:
    """Make a key: NAME.key signs and stays secret, NAME.pem is handed to whoever is to trust it."""
    sealed = passphrase or passphrase_file is not None
    private, public = new_key(folder, name, new_passphrase(passphrase_file) if sealed else None)
    key = key_id(read_public_key(public))
    if as_json:
        typer.echo(json.dumps({"id": key, "private": str(private), "public": str(public), "sealed": sealed}))
        return
    typer.echo(f"key {key}\n  private {private}{', sealed' if sealed else ''}\n  public  {public}")


@app.command("list")
def list_keys(folder: Folder = DEFAULT_FOLDER, as_json: AsJson = False) -> None:
    """The public keys of the folder."""
    Keyring.from_directory(folder)
    keys = [_document(path) for path in sorted(folder.glob("*" + PEM_SUFFIX))]
    if as_json:
        typer.echo(json.dumps(keys))
        return
    for key in keys:
        typer.echo(f"{key['id']}  {key['name']}")


@app.command()
def show(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A public key (.pem), or a private one.")],
    *,
    passphrase_file: PassphraseFile = None,
    as_json: AsJson = False,
) -> None:
    """Whose key a file holds: its name and id. Of a private key nothing else is shown."""
    if file.suffix == PEM_SUFFIX:
        document = _document(file)
    else:
        key = load_key(file, asker(passphrase_file))
        document = {"name": file.stem, "id": key.id, "file": str(file)}
    typer.echo(json.dumps(document) if as_json else f"{document['id']}  {document['name']}")


@app.command()
def export(folder: Folder = DEFAULT_FOLDER) -> None:
    """The public keys of the folder as a keyring document (JSON), as boot images carry it."""
    typer.echo(json.dumps(Keyring.from_directory(folder).document(), indent=2))


def _document(path: Path) -> dict[str, Any]:
    return {"name": path.stem, "id": key_id(read_public_key(path)), "file": str(path)}
