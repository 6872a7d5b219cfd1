"""What is missing on cards, in plain words: sentences and table cells of the API's discrepancies.

Knows words. Refuses to ask a master; whatever cards and packages say of themselves is shown as plain text.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import typer

from firmware_mgr.cli.screen import plain

#: Discrepancies that follow a command's answer; `fwmgr check` shows all.
SHOWN: Final = 10

Discrepancy = dict[str, Any]


def package_range(one: Discrepancy) -> str:
    return f"{one['needs']} ({one['constraint']})" if one["constraint"] else str(one["needs"])


#: By what it lacks: what is said behind the package.
_NEEDS: Final[dict[str, Callable[[Discrepancy], str]]] = {
    "local dependency": lambda one: f"needs {package_range(one)}",
    "remote dependency": lambda one: f"needs {package_range(one)} on another card",
    "library": lambda one: f"needs library {one['needs'].removeprefix('so:')} (for {one['path']})",
    "orphaned upgrade": lambda one: f"upgrades {package_range(one)}",
    "order": lambda one: f"must stand before {one['needs']}",
    "clash": lambda one: f"has {one['needs']}",
    "unreadable package": lambda one: f"needs its {one['needs']}",
}
_CIRCLE: Final = "dependencies run in a circle: leave one of these out, or build it without that dependency"
#: What helps where the check names no version.
_ADVICE: Final[dict[str, Callable[[Discrepancy], str]]] = {
    "local dependency": lambda one: f"add a package {package_range(one)}: fwmgr package add FILE",
    "remote dependency": lambda one: f"add a package {package_range(one)}: fwmgr package add FILE",
    "library": lambda one: f"add a package with {one['needs'].removeprefix('so:')}: fwmgr package add FILE",
    "orphaned upgrade": lambda one: f"leave {one['package']} out, or add {package_range(one)}",
    # No order is right when there is no command for one.
    "order": lambda one: f"name {one['package']} before {one['needs']}" if one["command"] else _CIRCLE,
    "clash": lambda one: f"leave out {one['package']}, or what is there instead",
    "unreadable package": lambda _: "add its file again: fwmgr package add FILE",
}


def needs(one: Discrepancy) -> str:
    return plain(_NEEDS[one["lack"]](one))


def instead(one: Discrepancy) -> str:
    """What is there; on which cards, where these are others."""
    if one["lack"] == "unreadable package":
        return "no file that can be read"
    if one["lack"] == "order":
        return plain(f"it stands behind {one['needs']}")
    if one["lack"] == "clash":
        return plain(", ".join(f"{one['path']} of {other['package']}" for other in one["instead"]))
    remote = one["lack"] == "remote dependency"
    said = [
        f"{other['package']} {other['version']}" + (f" on slot {slots(other)}" if remote else "")
        for other in one["instead"]
    ]
    return plain(", ".join(said) or "nothing")


def remedies(one: Discrepancy) -> list[str]:
    """What would satisfy it, each in a line."""
    lines = [_remedy(remedy, one) for remedy in one["remedies"]] or [_ADVICE[one["lack"]](one)]
    return [plain(line) for line in lines]


def _remedy(remedy: dict[str, Any], one: Discrepancy) -> str:
    what = f"{remedy['package']} {remedy['version']}"
    if remedy["way"] == "return":
        return f"{what}, when the card of slot {slots(remedy)} is back"
    if one["lack"] != "remote dependency":
        return what
    return f"{what} on slot {slots(remedy)}" if remedy["slots"] else f"{what} on any other card"


def slots(where: dict[str, Any]) -> str:
    more = where["cards"] - len(where["slots"])
    return ", ".join(where["slots"]) + (f" and {more} more" if more else "")


def subject(one: Discrepancy) -> str:
    absent = "" if one["present"] else ", absent"
    return plain(f"slot {one['slot']}{absent}: {one['package']} {one['version']}")


def sentence(one: Discrepancy) -> str:
    """What is missing, and what is there instead."""
    joint = ", and" if one["lack"] == "order" else "; there is"
    return f"{subject(one)} {needs(one)}{joint} {instead(one)}"


def help_lines(one: Discrepancy) -> list[tuple[str, str]]:
    """What is said below it: a word, and what would do, or the command to type next."""
    command = [("next", plain(one["command"]))] if one["command"] else []
    return [*(("would do", line) for line in remedies(one)), *command]


def warn(found: Sequence[Discrepancy], count: int) -> None:
    """On standard error, what is missing."""
    for one in found[:SHOWN]:
        typer.echo(f"warning: {sentence(one)}", err=True)
        for word, text in help_lines(one):
            typer.echo(f"  {word}: {text}", err=True)
    if count > SHOWN:
        typer.echo(f"warning: {count - SHOWN} more: fwmgr check", err=True)


def tell_change(check: dict[str, Any] | None) -> None:
    """What a change made worse, as warnings; what it put right in a line each."""
    if check is None:
        return
    counts = check["counts"]
    warn(check["worse"], counts["worse"])
    for one in check["better"][:SHOWN]:
        typer.echo(f"put right: {subject(one)} {needs(one)}", err=True)
    if counts["better"] > SHOWN:
        typer.echo(f"put right: {counts['better'] - SHOWN} more", err=True)


def cards_note(cards: Sequence[dict[str, Any]]) -> str:
    """The line below all cards; empty when nothing is missing."""
    count = sum(card["lacks"] > 0 for card in cards)
    if not count:
        return ""
    return (
        "1 card lacks something: fwmgr check" if count == 1 else f"{count} cards lack something: fwmgr check"
    )
