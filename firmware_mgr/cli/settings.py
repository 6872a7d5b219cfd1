"""`fwmgr settings`: what a slot or a card class is given: host name, addresses, files, variables.

Knows options and how answers are printed. A secret's content is read from a file or standard input, never
from an argument, and never printed.
"""

from __future__ import annotations

import base64
import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from firmware_mgr.cli.master import DEFAULT_DIRECTORY, AsJson, Directory, master_client
from firmware_mgr.cli.screen import plain, screen
from firmware_mgr.model.errors import UsageError

app = typer.Typer(
    help="Settings and secrets of a slot (3) or a card class (class:edge). The slot's win over its class's.",
    no_args_is_help=True,
)

Target = Annotated[str, typer.Argument(metavar="SLOT|class:NAME", help="3, 2/3, or class:edge.")]
_CLASS = "class:"


def _owner(target: str) -> str:
    return f"class/{target.removeprefix(_CLASS)}" if target.startswith(_CLASS) else f"slot/{target}"


def _content(source: str) -> bytes:
    if source == "-":
        return sys.stdin.buffer.read()
    try:
        return Path(source).read_bytes()
    except OSError as e:
        raise UsageError("cannot be read", where=source, found=e.strerror) from e


@app.command("set")
def set_(
    target: Target,
    *,
    hostname: Annotated[str | None, typer.Option(help="Host name of the card.")] = None,
    address: Annotated[
        list[str] | None,
        typer.Option(help="Address beside the leased one, 10.1.2.3/24; all of them are replaced."),
    ] = None,
    file: Annotated[
        str | None, typer.Option(help="A file below /run/settings, such as web/tls.key; content: --from.")
    ] = None,
    env: Annotated[
        list[str] | None, typer.Option(help="NAME=VALUE for every process; NAME alone: value from --from.")
    ] = None,
    source: Annotated[
        str | None, typer.Option("--from", help="Where the content is read from; - is standard input.")
    ] = None,
    mode: Annotated[str, typer.Option(help="The file's mode, octal.")] = "0600",
    owner: Annotated[str, typer.Option(help="The file's owner by numbers, UID:GID.")] = "0:0",
    secret: Annotated[bool, typer.Option("--secret", help="The content is never shown again.")] = False,
    directory: Directory = DEFAULT_DIRECTORY,
) -> None:
    """Set some; the others stay. Sent to the card at once; processes see it when the card next starts."""
    body: dict[str, Any] = {"owner": _owner(target)}
    if hostname is not None:
        body["hostname"] = hostname
    if address:
        body["addresses"] = address
    named = [text for text in env or [] if "=" not in text]
    if (file is not None) + len(named) != (source is not None):
        raise typer.BadParameter("--from goes with one --file, or one --env without a value")
    if file is not None and source is not None:
        content = base64.b64encode(_content(source)).decode()
        uid, gid = _ids(owner)
        body["files"] = [
            {
                "path": file,
                "mode": _mode(mode),
                "uid": uid,
                "gid": gid,
                "secret": secret,
                "content": content,
            }
        ]
    variables = []
    for text in env or []:
        name, given, value = text.partition("=")
        if not given and source is not None:
            try:
                value = _content(source).decode().removesuffix("\n")
            except UnicodeDecodeError as e:
                raise UsageError("a variable's value is text", where=name, expected="UTF-8") from e
        elif secret:
            raise typer.BadParameter("a secret value comes by --from: arguments can be seen by others")
        variables.append({"name": name, "value": value, "secret": secret})
    if variables:
        body["variables"] = variables
    if len(body) == 1:
        raise typer.BadParameter("nothing to set")
    master_client(directory).post("/v1/settings", body)
    typer.echo(f"{target}: set; at the card now, for its processes from its next start on")


def _mode(text: str) -> int:
    try:
        return int(text, 8)
    except ValueError as e:
        raise typer.BadParameter(f"--mode {text}: not octal") from e


def _ids(text: str) -> tuple[int, int]:
    uid, _, gid = text.partition(":")
    if not uid.isdecimal() or not gid.isdecimal():
        raise typer.BadParameter(f"--owner {text}: two numbers, such as 33:33")
    return int(uid), int(gid)


@app.command()
def unset(
    target: Target,
    *,
    hostname: Annotated[bool, typer.Option("--hostname", help="The host name.")] = False,
    addresses: Annotated[bool, typer.Option("--addresses", help="All addresses of its own.")] = False,
    file: Annotated[list[str] | None, typer.Option(help="A file's path.")] = None,
    env: Annotated[list[str] | None, typer.Option(help="A variable's name.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="Everything that is set there.")] = False,
    directory: Directory = DEFAULT_DIRECTORY,
) -> None:
    """Take settings away, from master and card."""
    body: dict[str, Any] = {
        "owner": _owner(target),
        "without_files": file or [],
        "without_variables": env or [],
        "without_all": everything,
    }
    if hostname:
        body["hostname"] = ""
    if addresses:
        body["addresses"] = []
    if not (hostname or addresses or file or env or everything):
        raise typer.BadParameter("nothing to take away; --all for everything")
    master_client(directory).post("/v1/settings", body)
    typer.echo(f"{target}: taken away; the card forgets it now, its processes at its next start")


@app.command()
def show(target: Target, directory: Directory = DEFAULT_DIRECTORY, as_json: AsJson = False) -> None:
    """What is set there. Of a secret only its length and a mark that tells contents apart."""
    answer = master_client(directory).get("/v1/settings/one", owner=_owner(target))
    if as_json:
        typer.echo(json.dumps(answer, indent=1))
        return
    table = Table(title=target, show_header=False)
    for name, value in _rows(answer):
        table.add_row(name, plain(value))
    screen().print(table)


def _rows(answer: dict[str, Any]) -> list[tuple[str, str]]:
    rows = [("host name", answer["hostname"])] if answer["hostname"] else []
    rows += [("address", address) for address in answer["addresses"] or []]
    for file in answer["files"]:
        kind = f"secret, {file['digest'][:12]}" if file["secret"] else file["digest"][:12]
        about = f"mode {file['mode']}, owner {file['owner']}, {file['length']} bytes, {kind}"
        rows.append((f"file {file['path']}", about))
    for variable in answer["variables"]:
        secret = f"secret, {variable['length']} bytes, {variable['digest'][:12]}"
        rows.append((f"variable {variable['name']}", secret if variable["secret"] else variable["value"]))
    return rows


@app.command("list")
def list_(directory: Directory = DEFAULT_DIRECTORY, as_json: AsJson = False) -> None:
    """Which slots and classes have settings."""
    answer = master_client(directory).get("/v1/settings")
    if as_json:
        typer.echo(json.dumps(answer, indent=1))
        return
    table = Table("of", "host name", "addresses", "files", "variables")
    for row in answer:
        kind, _, name = row["owner"].partition("/")
        table.add_row(
            name if kind == "slot" else f"{_CLASS}{name}",
            row["hostname"] or "",
            ", ".join(row["addresses"] or []),
            ", ".join(file["path"] for file in row["files"]),
            ", ".join(variable["name"] for variable in row["variables"]),
        )
    screen().print(table)
