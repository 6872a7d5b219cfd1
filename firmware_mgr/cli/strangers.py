"""The table of clients that fit no card, below that of the cards.

Knows the master's answer and words.
"""

from __future__ import annotations

from typing import Any

import typer
from rich.console import Console
from rich.table import Table

from firmware_mgr.cli.screen import ago, plain


def show_strangers(screen: Console, answer: dict[str, Any]) -> None:
    """Nothing at all when there are none."""
    if not answer["strangers"]:
        return
    screen.print(strangers_table(answer["strangers"]))
    for note in stranger_notes(answer):
        typer.echo(note)


def stranger_notes(answer: dict[str, Any]) -> list[str]:
    """Why each fits no card, and what to do."""
    notes = [
        f"{stranger['mac']}: {plain(stranger['reason'])}: {plain(stranger['next_step'])}"
        for stranger in answer["strangers"]
    ]
    if answer["overlooked"]:
        notes.append(f"{answer['overlooked']} more were not kept: too many ask at once")
    return notes


def strangers_table(strangers: list[dict[str, Any]]) -> Table:
    table = Table("MAC", "why", "slot", "says", "could be", "behind", "address lent", "asked", "last")
    table.title = "clients that fit no card"
    for stranger in strangers:
        numbers = ", ".join(map(str, stranger["architectures"]))
        says = stranger["vendor_class"] + (f" (93: {numbers})" if numbers else "")
        behind = f"{stranger['relay']} {stranger['port']}" if stranger["relay"] else ""
        table.add_row(
            stranger["mac"],
            stranger["misfit"],
            stranger["slot"] or "",
            plain(says or stranger["client"]),
            ", ".join(stranger["boards"]),
            plain(behind),
            stranger["has_address"] or "",
            str(stranger["asked"]),
            ago(stranger["last_seen"]),
        )
    return table
