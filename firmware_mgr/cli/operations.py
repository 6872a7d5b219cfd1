"""`fwmgr burn-all` and `fwmgr operations`: start long work, watch it, look back at it.

Knows progress bars and tables. The work is the master's: ending this command does not end it.
"""

from __future__ import annotations

import json
import time
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from firmware_mgr.cli.check_words import warn
from firmware_mgr.cli.master import DEFAULT_DIRECTORY, AsJson, Directory, master_client
from firmware_mgr.cli.screen import plain, screen
from firmware_mgr.master.client import MasterClient
from firmware_mgr.model.errors import PeerError

POLL_SECONDS = 0.5
#: How long a master may be away before whoever watches an operation gives up.
MASTER_SECONDS = 60.0
#: Where a card's bar stands in each state; within burning it moves with the bytes.
_STEPS = {
    "reset": 2,
    "netbooting": 8,
    "agent up": 20,
    "burning": 25,
    "stored": 70,
    "ready": 72,
    "booting": 75,
    "awaiting validation": 88,
    "validated": 92,
    "in service": 100,
    "failed": 100,
}
_BURN_SPAN = 45


def burn_all(
    *,
    cards: Annotated[
        list[str] | None,
        typer.Option(help="Only these: slots (3, 2/3, 1-4, 2/*), board:NAME, a class; may be repeated."),
    ] = None,
    slot: Annotated[list[str] | None, typer.Option(help="Only this slot; may be given again.")] = None,
    renew_keys: Annotated[bool, typer.Option("--renew-keys", help="Let every card make a new key.")] = False,
    erase: Annotated[
        bool,
        typer.Option("--erase", help="Lay out anew flash that is another's, and wipe what processes keep."),
    ] = False,
    wait: Annotated[bool, typer.Option(help="Stay until it is over; the work goes on without us.")] = True,
    directory: Directory = DEFAULT_DIRECTORY,
    as_json: AsJson = False,
) -> None:
    """Provision all cards: netboot, burn, reset, validate, run."""
    client = master_client(directory)
    named = [*(cards or []), *(slot or [])]
    operation = client.post(
        "/v1/burn-all", {"cards": named or None, "renew_keys": renew_keys, "erase": erase}
    )
    if not as_json:
        warn(operation["check"]["discrepancies"], operation["check"]["count"])
    if wait:
        try:
            operation = watch(client, operation["id"], quiet=as_json)
        except KeyboardInterrupt:
            identifier = operation["id"]
            typer.echo(
                f"{identifier} goes on. Look: fwmgr operations {identifier}. Stop: add --cancel", err=True
            )
            raise
    if as_json:
        typer.echo(json.dumps(operation, indent=1))
    elif wait:
        print_operation(operation)
    else:
        typer.echo(f"{operation['id']} started; look at it with: fwmgr operations {operation['id']}")
    if wait and operation["state"] != "done":
        raise typer.Exit(1)


def watch(client: MasterClient, identifier: str, *, quiet: bool) -> dict[str, Any]:
    """Show the operation until it is over; return its last document."""
    columns = (
        TextColumn("slot {task.fields[slot]:>4}"),
        BarColumn(),
        TextColumn("{task.description}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, disable=quiet, console=Console(stderr=True)) as progress:
        bars: dict[str, TaskID] = {}
        while True:
            operation = _ask_patiently(client, f"/v1/operations/{identifier}")
            for slot, card in operation["cards"].items():
                if slot not in bars:
                    bars[slot] = progress.add_task("", total=100, slot=slot)
                progress.update(bars[slot], completed=_completed(card), description=_description(card))
            if operation["finished"]:
                return operation
            time.sleep(POLL_SECONDS)


def _ask_patiently(client: MasterClient, path: str) -> dict[str, Any]:
    """The master may be started anew while we watch: the work goes on, so we wait for it a while."""
    deadline = time.monotonic() + MASTER_SECONDS
    while True:
        try:
            document: dict[str, Any] = client.get(path)
            return document
        except PeerError:
            if time.monotonic() > deadline:
                raise
            time.sleep(POLL_SECONDS)


def _completed(card: dict[str, Any]) -> float:
    base = float(_STEPS.get(card["state"], 0))
    moving = card.get("progress") or {}
    if card["state"] == "burning" and moving.get("total"):
        share = moving["done"] / moving["total"]
        base += _BURN_SPAN * (share * 0.7 if moving["step"] == "boot image" else 0.7 + share * 0.3)
    return base


def _description(card: dict[str, Any]) -> str:
    moving = card.get("progress") or {}
    if card["state"] == "burning" and moving.get("total"):
        return f"burning {moving['step']} {moving['done'] / 1e6:.1f} of {moving['total'] / 1e6:.1f} MB"
    return plain(f"{card['state']}: {card['reason']}") if card["state"] == "failed" else str(card["state"])


def operations(
    identifier: Annotated[str | None, typer.Argument(metavar="ID", help="One operation, in full.")] = None,
    *,
    cancel: Annotated[bool, typer.Option("--cancel", help="Stop it; cards stay as they are.")] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Stay until it is over; exit 1 if not done.")] = False,
    directory: Directory = DEFAULT_DIRECTORY,
    as_json: AsJson = False,
) -> None:
    """Operations, the newest last; or one of them."""
    client = master_client(directory)
    if cancel and identifier is None:
        raise typer.BadParameter("name the operation to cancel: fwmgr operations ID --cancel")
    if wait and identifier is None:
        raise typer.BadParameter("name the operation to wait for: fwmgr operations ID --wait")
    if identifier is not None:
        operation = client.post(f"/v1/operations/{identifier}/cancel") if cancel else {}
        if wait:
            operation = watch(client, identifier, quiet=as_json)
        elif not cancel:
            operation = client.get(f"/v1/operations/{identifier}")
        if as_json:
            typer.echo(json.dumps(operation, indent=1))
        else:
            print_operation(operation)
        if wait and operation["state"] != "done":
            raise typer.Exit(1)
        return
    answer = client.get("/v1/operations")
    if as_json:
        typer.echo(json.dumps(answer, indent=1))
        return
    table = Table("operation", "state", "cards", "ready for use", "seconds")
    for operation in answer:
        table.add_row(
            operation["id"],
            operation["state"],
            str(len(operation["cards"])),
            "yes" if operation["ready_for_use"] else "no",
            _seconds(operation),
        )
    screen().print(table)


def print_operation(operation: dict[str, Any]) -> None:
    console = screen()
    seconds = _seconds(operation)
    console.print(
        f"{operation['id']}: {operation['state']} after {seconds} s, masters: {operation['masters']}"
    )
    for event in operation["events"]:
        console.print(f"  {event}")
    console.print(phases_table(operation))
    console.print(bytes_table(operation))
    keys = ", ".join(f"{slot} {card['key']}" for slot, card in operation["cards"].items() if card["key"])
    console.print(f"keys: slot {keys}" if keys else "no card has shown its key")
    for slot, card in operation["cards"].items():
        if card["reason"] and operation["finished"] and card["state"] != "in service":
            console.print(f"slot {slot}: {plain(card['reason'])}")


#: Up to so many cards have a column each; more are summed up.
_COLUMNS = 6


def phases_table(operation: dict[str, Any]) -> Table:
    """The seconds in each phase, in order; a phase that was entered again is added up."""
    rows: dict[str, dict[str, float]] = {}
    for slot, card in operation["cards"].items():
        for name, seconds in card["phases"]:
            if name != "in service":
                phase = rows.setdefault(name, {})
                phase[slot] = phase.get(slot, 0.0) + seconds
    sums = {slot: sum(row.get(slot, 0.0) for row in rows.values()) for slot in operation["cards"]}
    return _by_slot("seconds of each phase", {**rows, "sum": sums}, list(operation["cards"]), "{:.1f}")


def bytes_table(operation: dict[str, Any]) -> Table:
    cards = operation["cards"]
    rows = {
        "netboot, provisioning": {slot: card["provisioning"]["netboot"] for slot, card in cards.items()},
        "bulk, provisioning": {slot: card["provisioning"]["bulk"] for slot, card in cards.items()},
        "boot image written to flash": {slot: card["boot_written"] for slot, card in cards.items()},
        "packages written to flash": {slot: card["package_written"] for slot, card in cards.items()},
        "netboot, warm boot": {slot: card["warm_boot"]["netboot"] for slot, card in cards.items()},
        "bulk, warm boot": {slot: card["warm_boot"]["bulk"] for slot, card in cards.items()},
    }
    return _by_slot("bytes", rows, list(cards), "{:,}")


def _by_slot(title: str, rows: dict[str, dict[str, Any]], slots: list[str], form: str) -> Table:
    """A column for each slot; with many slots, the least, the middle and the most instead."""
    table = Table(title=title, title_justify="left")
    table.add_column("")
    few = len(slots) <= _COLUMNS
    for name in [f"slot {slot}" for slot in slots] if few else ["least", "median", "most", "sum"]:
        table.add_column(name, justify="right")
    for name, row in rows.items():
        if few:
            values = [row.get(slot) for slot in slots]
        else:
            present = sorted(row.values())
            values = [present[0], present[len(present) // 2], present[-1], sum(present)]
        table.add_row(name, *("" if value is None else form.format(value) for value in values))
    return table


def _seconds(operation: dict[str, Any]) -> str:
    end = float(operation["finished_at"] or time.time())
    return f"{end - float(operation['created_at']):.1f}"
