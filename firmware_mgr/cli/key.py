"""`fwmgr key new|list|export`: keys that sign packages, and the keyring that trusts them.

Knows the options and how results are printed. Never shows a private key.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from firmware_mgr.package.keyring import PEM_SUFFIX, Keyring, key_id, read_public_key
from firmware_mgr.packaging.keys import new_key

app = typer.Typer(help="Keys that sign packages.", no_args_is_help=True)

DEFAULT_FOLDER = Path("var/keys")

Folder = Annotated[Path, typer.Option("--dir", envvar="FWMGR_KEYS", help="The folder of key files.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command()
def new(
    name: Annotated[str, typer.Argument(help="The key's name, such as release-2025.")],
    folder: Folder = DEFAULT_FOLDER,
    as_json: AsJson = False,
) -> None:
    """Make a key: NAME.key signs and stays secret, NAME.pem is handed to whoever is to trust it."""
    private, public = new_key(folder, name)
    key = key_id(read_public_key(public))
    if as_json:
        typer.echo(json.dumps({"id": key, "private": str(private), "public": str(public)}))
        return
    typer.echo(f"key {key}\n  private {private}\n  public  {public}")


@app.command("list")
def list_keys(folder: Folder = DEFAULT_FOLDER, as_json: AsJson = False) -> None:
    """The public keys of the folder."""
    Keyring.from_directory(folder)
    keys = [
        {"name": path.stem, "id": key_id(read_public_key(path)), "file": str(path)}
        for path in sorted(folder.glob("*" + PEM_SUFFIX))
    ]
    if as_json:
        typer.echo(json.dumps(keys))
        return
    for key in keys:
        typer.echo(f"{key['id']}  {key['name']}")


@app.command()
def export(folder: Folder = DEFAULT_FOLDER) -> None:
    """The public keys of the folder as a keyring document (JSON), as boot images carry it."""
    typer.echo(json.dumps(Keyring.from_directory(folder).document(), indent=2))
