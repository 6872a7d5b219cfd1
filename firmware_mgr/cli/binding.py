"""`fwmgr card bind|unbind`, and the cards that wait to be bound, below the table of cards.

Knows words and tables. Asks the master for everything.
"""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from firmware_mgr.cli.master import DEFAULT_DIRECTORY, AsJson, Directory, master_client
from firmware_mgr.cli.screen import ago, plain

Slot = Annotated[str, typer.Argument(metavar="SLOT", help="A slot: 3, or 2/3 on shelf 2.")]


def bind(
    slot: Slot,
    *,
    mac: Annotated[str | None, typer.Option(help="The card's MAC address.")] = None,
    key: Annotated[str | None, typer.Option(help="The card's key, or its first digits.")] = None,
    port: Annotated[str | None, typer.Option(help="A relay's port, REMOTE/CIRCUIT.")] = None,
    board: Annotated[str | None, typer.Option(help="What it is, when it has not said so itself.")] = None,
    directory: Directory = DEFAULT_DIRECTORY,
    as_json: AsJson = False,
) -> None:
    """Say which card sits in a slot of which no register tells. One that was bound elsewhere moves."""
    body = {"slot": slot, "mac": mac, "key": key, "port": port, "board": board}
    answer = master_client(directory).post("/v1/card/bind", body)
    if as_json:
        typer.echo(json.dumps(answer, indent=1))
        return
    key_text = "the first key that it shows" if answer["key"] is None else f"key {answer['key'][:16]}"
    parts = [
        f"MAC {answer['mac']}" if answer["mac"] else "",
        f"port {answer['port']}" if answer["port"] else "",
    ]
    typer.echo(plain(f"slot {slot}: bound to {', '.join([*filter(None, parts), key_text])}"))


def unbind(slot: Slot, directory: Directory = DEFAULT_DIRECTORY) -> None:
    """The card is no longer this slot's; what the slot should run stays for the next."""
    master_client(directory).post("/v1/card/unbind", {"slot": slot})
    typer.echo(f"slot {slot}: no card is bound to it")


def show_waiting(screen: Console, waiting: list[dict[str, Any]]) -> None:
    """Nothing at all when none waits."""
    if not waiting:
        return
    table = Table("MAC", "board", "key", "at", "last heard", title="cards that wait")
    for one in waiting:
        table.add_row(
            one["mac"] or "",
            plain(one["board"]),
            one["key"][:16],
            plain(one["address"]),
            ago(one["last_seen"]),
        )
    screen.print(table)
    for one in waiting:
        screen.print(plain(f"{one['mac'] or one['key'][:16]}: {one['what']}: {one.get('hint', '')}"))
