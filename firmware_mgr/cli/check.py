"""`fwmgr check`: what is missing on cards, and what would satisfy it. Knows the options and the table."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer
from rich.table import Table

from firmware_mgr.cli.check_words import instead, needs, remedies
from firmware_mgr.cli.master import DEFAULT_DIRECTORY, AsJson, Directory, master_client
from firmware_mgr.cli.screen import plain, screen

MISSING = 1


def check(
    *,
    cards: Annotated[
        list[str] | None,
        typer.Option(help="Only these: slots (3, 2/3, 1-4, 2/*), board:NAME, a class; may be repeated."),
    ] = None,
    directory: Directory = DEFAULT_DIRECTORY,
    as_json: AsJson = False,
) -> None:
    """Whether what every card should run is complete. Ends with 1 when something is missing."""
    client = master_client(directory)
    query = {"cards": ",".join(cards)} if cards else {}
    answer = client.get("/v1/check", **query)
    if as_json:
        typer.echo(json.dumps(answer, indent=1))
    else:
        _show(answer)
    if answer["discrepancies"]:
        raise typer.Exit(MISSING)


def _show(answer: dict[str, Any]) -> None:
    found = answer["discrepancies"]
    if not found:
        typer.echo(f"{answer['cards']} cards looked at: nothing is missing")
        return
    screen().print(check_table(found))
    for line in commands(found):
        typer.echo(line)
    typer.echo(f"{answer['lacking']} of {answer['cards']} cards lack something")


def check_table(found: list[dict[str, Any]]) -> Table:
    """Commands stand below it, where a terminal does not break them."""
    table = Table("card", "package", "what is missing", "there instead", "what would do", show_lines=True)
    for one in found:
        card = one["slot"] if one["present"] else f"{one['slot']}\nabsent"
        package = plain(f"{one['package']} {one['version']}")
        table.add_row(card, package, needs(one), instead(one), "\n".join(remedies(one)))
    return table


def commands(found: list[dict[str, Any]]) -> list[str]:
    """What to type for each; equal lines once."""
    lines = [f"slot {one['slot']}, {one['package']}: {one['command']}" for one in found if one["command"]]
    return [plain(line) for line in dict.fromkeys(lines)]
