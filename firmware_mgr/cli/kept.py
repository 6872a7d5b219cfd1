"""`fwmgr card logs`, `cores` and `core`: what a card keeps, read through the master.

Knows how it is printed and when to ask again.
"""

from __future__ import annotations

import base64
import codecs
import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from rich.table import Table

from firmware_mgr.cli.cards import Slot
from firmware_mgr.cli.master import DEFAULT_DIRECTORY, AsJson, Directory, master_client
from firmware_mgr.cli.screen import plain, screen
from firmware_mgr.master.client import MasterClient
from firmware_mgr.model.errors import PeerError, UsageError

#: Between two questions of `--follow`, in seconds.
FOLLOW_SECONDS: Final = 1.0
_ODD: Final = "\N{REPLACEMENT CHARACTER}"


def logs(
    slot: Slot,
    process: Annotated[
        str | None, typer.Argument(help="A process, or `agent:`; all of them when not given.")
    ] = None,
    *,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with what is written.")] = False,
    lines: Annotated[int, typer.Option("--lines", "-n", min=1, help="So many from the end.")] = 20,
    directory: Directory = DEFAULT_DIRECTORY,
) -> None:
    """What the card's processes wrote, and its agent's own log, of this start of the card."""
    client = master_client(directory)
    if process is None and follow:
        raise typer.BadParameter("--follow takes one process, or agent:")
    if process is not None:
        place = _print_log(client, slot, process, -lines)
        while follow:
            time.sleep(FOLLOW_SECONDS)
            place = _print_log(client, slot, process, place)
        return
    for log in client.get("/v1/card/kept", slot=slot)["logs"]:
        typer.echo(f"==> {plain(log['name'])} <==")
        _print_log(client, slot, log["name"], -lines)


def _print_log(client: MasterClient, slot: str, name: str, start: int) -> int:
    """From there to the end; where that is."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    while True:
        piece = client.get("/v1/card/log", slot=slot, name=name, start=str(start))
        data = base64.b64decode(piece["data"])
        # What a card wrote must not steer the terminal.
        text = decoder.decode(data)
        sys.stdout.write("".join(c if c.isprintable() or c in "\n\t" else _ODD for c in text))
        sys.stdout.flush()
        start = piece["start"] + len(data)
        if not data or start >= piece["end"]:
            return start


def cores(slot: Slot, directory: Directory = DEFAULT_DIRECTORY, as_json: AsJson = False) -> None:
    """The core dumps that a card keeps, oldest first."""
    answer = master_client(directory).get("/v1/card/kept", slot=slot)
    if as_json:
        typer.echo(json.dumps(answer["cores"], indent=1))
        return
    table = Table("id", "process", "pid", "signal", "when", "bytes, gzip")
    for core in answer["cores"]:
        size = f"{core['length']}" + (", the end is cut off" if core["cut"] else "")
        when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(core["time"]))
        table.add_row(
            plain(core["id"]), plain(core["process"]), str(core["pid"]), _signal(core["signal"]), when, size
        )
    screen().print(table)
    if answer["note"]:
        typer.echo(plain(answer["note"]))


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return str(number)


def core(
    slot: Slot,
    identifier: Annotated[str, typer.Argument(metavar="ID", help="As `fwmgr card cores` shows it.")],
    *,
    out: Annotated[Path, typer.Option(help="The file to write: the dump, compressed with gzip.")],
    directory: Directory = DEFAULT_DIRECTORY,
) -> None:
    """Fetch a core dump."""
    client = master_client(directory)
    draft = out.with_name(f".{out.name}.{os.getpid()}")
    try:
        with draft.open("xb") as file:
            length = _fetch(client, slot, identifier, file)
        draft.replace(out)
    except OSError as e:
        raise UsageError("cannot be written", where=str(out), found=e.strerror) from e
    finally:
        draft.unlink(missing_ok=True)
    typer.echo(f"{out}: {length} bytes; read it with: gunzip -c {out} > core")


def _fetch(client: MasterClient, slot: str, identifier: str, file: Any) -> int:
    done, end = 0, None
    while end is None or done < end:
        piece = client.get("/v1/card/core", slot=slot, id=identifier, start=str(done))
        if end is not None and piece["end"] != end:
            raise PeerError("core dump changed while it was read", where=f"slot {slot}", found=identifier)
        end = piece["end"]
        done += file.write(base64.b64decode(piece["data"]))
    return done
