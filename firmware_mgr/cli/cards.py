"""`fwmgr cards` and `fwmgr card`: inventory, state, what a slot should run, admission.

Knows tables and words. Asks the master for everything.
"""

from __future__ import annotations

import json
from functools import partial
from typing import Annotated, Any

import typer
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text
from typer.core import TyperGroup

from firmware_mgr.cli import card_class
from firmware_mgr.cli.binding import show_waiting
from firmware_mgr.cli.check_words import cards_note, help_lines, sentence, tell_change
from firmware_mgr.cli.master import DEFAULT_DIRECTORY, AsJson, Directory, master_client
from firmware_mgr.cli.screen import ago, plain, screen
from firmware_mgr.cli.strangers import show_strangers, stranger_notes, strangers_table
from firmware_mgr.cli.watch import watch_json, watch_screen
from firmware_mgr.link.messages import RECORD_ALONE
from firmware_mgr.model.ids import SlotId


class _ShowFirst(TyperGroup):
    """`fwmgr card 3` shows slot 3: what is no command is a slot."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and args[0] not in self.commands and not args[0].startswith("-"):
            args = ["show", *args]
        return list(super().parse_args(ctx, args))


card_app = typer.Typer(
    help="One card: `fwmgr card SLOT` shows it; say what it should run, let it in.",
    no_args_is_help=True,
    cls=_ShowFirst,
)


def _slot_text(text: str) -> str:
    """What is no slot is wrong usage, whether a master answers or not."""
    return str(SlotId.parse(text))


Slot = Annotated[
    str, typer.Argument(metavar="SLOT", help="A slot: 3, or 2/3 on shelf 2.", callback=_slot_text)
]

#: States whose reason is worth a line.
_WITH_REASON = ("failed", "held", "lost", "in service", "reset")
#: Who decided, in words.
_ORIGINS = {
    "card": "the card's own",
    "class": "from its class",
    "board": "from the board file",
    "default": "the preferred or newest that fits, as of the last burn-all",
}
_STYLES = {"in service": "green", "failed": "red", "absent": "dim", "lost": "yellow", "held": "yellow"}


def cards(
    *,
    strangers: Annotated[
        bool, typer.Option("--strangers", help="Only the clients that fit no card, and why.")
    ] = False,
    watch: Annotated[
        bool, typer.Option("--watch", help="Stay and follow changes until Ctrl-C; with --json a line each.")
    ] = False,
    directory: Directory = DEFAULT_DIRECTORY,
    as_json: AsJson = False,
) -> None:
    """All cards: what they are, what they run, in which state they are; then clients that fit no card."""
    client = master_client(directory)
    if watch:
        client.get("/v1/status")  # that there is a master at all is asked once
        if as_json:
            watch_json(client)
        else:
            watch_screen(client, partial(_situation, only_strangers=strangers))
        return
    if strangers:
        unknown = client.get("/v1/strangers")
        if as_json:
            typer.echo(json.dumps(unknown, indent=1))
        else:
            show_strangers(screen(), unknown)
        return
    answer = client.get("/v1/cards")
    if as_json:
        typer.echo(json.dumps(answer, indent=1))
        return
    screen().print(cards_table(answer))
    for note in card_notes(answer):
        screen().print(note)
    show_waiting(screen(), client.get("/v1/waiting"))
    show_strangers(screen(), client.get("/v1/strangers"))
    if note := cards_note(answer):
        screen().print(note)


def _situation(answer: dict[str, Any], *, only_strangers: bool) -> list[RenderableType]:
    """What is shown of a situation while it is watched."""
    parts: list[RenderableType] = []
    if not only_strangers:
        parts += [cards_table(answer["cards"]), *map(Text, _all_notes(answer["cards"]))]
    if answer["strangers"]["strangers"] or only_strangers:
        parts.append(strangers_table(answer["strangers"]["strangers"]))
        parts += map(Text, stranger_notes(answer["strangers"]))
    return parts


def card_notes(answer: list[dict[str, Any]]) -> list[str]:
    """What is to be said of each card beside its row: the reason of its state, and what to do next."""
    notes = []
    for card in answer:
        refusal = card.get("refusal")
        said = ""
        if refusal:
            said = f"slot {card['slot']}: refused: {error_text(refusal)}"
        elif card["state"] in _WITH_REASON and card["reason"]:
            said = f"slot {card['slot']}: {plain(card['reason'])}"
        if said:
            notes.append(said)
            step = plain(card["next_step"])
            if step and step not in said:
                notes.append(f"  next: {step}")
    return notes


def _all_notes(answer: list[dict[str, Any]]) -> list[str]:
    return [note for note in [*card_notes(answer), cards_note(answer)] if note]


def cards_table(answer: list[dict[str, Any]]) -> Table:
    """Narrow enough for 80 columns: what is long stands below the other, not beside it."""
    table = Table("slot", "board", "class", "state", "runs", "wanted", show_lines=len(answer) > 1)
    for card in answer:
        state = Text(card["state"], style=_STYLES.get(card["state"], ""))
        state.append(f"\n{ago(card['since'])}", style="dim")
        board = _lines([card["board"] or "", card["cpu"] or ""])
        table.add_row(card["slot"], board, plain(card["class"] or ""), state, _runs(card), _wanted(card))
    return table


def _runs(card: dict[str, Any]) -> str:
    booted = [f"image {card['boot_version']} from {card['booted_from']}"] if card["booted_from"] else []
    processes = [f"{p['name']}: {p['state']}" for p in card["processes"]] if card["linked"] else []
    moving, burning = card["progress"], []
    if card["state"] == "burning" and moving["total"]:
        burning = [f"{moving['step']} {moving['done'] / 1e6:.1f} of {moving['total'] / 1e6:.1f} MB"]
    return _lines([*booted, *burning, *processes])


def _wanted(card: dict[str, Any]) -> str:
    if card["wanted_image"] is None:
        return ""
    tests = card["test_packages"]
    packages = [f"{package} TEST" if package in tests else package for package in card["packages"]]
    return _lines([f"image {card['wanted_image']}", *packages])


def _lines(lines: list[str]) -> str:
    return "\n".join(plain(line) for line in lines if line)


@card_app.command()
def show(slot: Slot, directory: Directory = DEFAULT_DIRECTORY, as_json: AsJson = False) -> None:
    """Everything that is known of one card."""
    card = master_client(directory).get("/v1/card", slot=slot)
    if as_json:
        typer.echo(json.dumps(card, indent=1))
        return
    screen().print(card_table(card))


def _stored_text(package: dict[str, Any]) -> str:
    title = f"{package['name']} {package['version']}"
    if (package["modules"], package["bad_modules"]) == RECORD_ALONE:
        return f"{title}, a record alone: it was held before"
    bad = f", {package['bad_modules']} bad" if package["bad_modules"] else ""
    return f"{title}, {package['modules']} modules{bad}"


def card_table(card: dict[str, Any]) -> Table:
    record = card["record"]
    flash = record["actual"] or {}
    table = Table(title=f"slot {card['slot']}", show_header=False)
    rows: list[tuple[str, str]] = [
        ("card", f"{card['board'] or 'empty'}, {card['cpu'] or ''}, {record['mac'] or ''}"),
        (
            "state",
            f"{card['state']} {ago(card['since'])}" + (f": {card['reason']}" if card["reason"] else ""),
        ),
        ("admission", f"{card['admission']}, key {(record['key_fingerprint'] or 'none')[:16]}"),
        ("class", _class_text(card)),
        *([("location", card["location"])] if card["location"] else []),
        *_wanted_rows(record, card["test_packages"], card["class"]),
        ("root of trust", _trust_text(card["trust"])),
        ("pristine order", _order_text(card["pristine"])),
        ("last good", _set_text(record["last_good"])),
    ]
    if card["booted_from"]:
        rows.append(
            ("booted", f"{card['boot_version']} from {card['booted_from']} in {card['boot_seconds']:.1f} s")
        )
    if record["rejected"]:
        rows.append(("failed trials", ", ".join(digest[:12] for digest in record["rejected"])))
    if flash:
        control = flash["control"]
        rows.append(("partition table", flash["table"]))
        rows.append(
            (
                "control",
                f"{control['copy_0']}/{control['copy_1']}, boots {control['boot']}, trial {control['trial']}",
            )
        )
        for letter in ("a", "b"):
            part = flash[f"boot_{letter}"]
            bad = f", {part['bad_pieces']} bad pieces" if part["bad_pieces"] else ""
            rows.append((f"boot partition {letter}", f"{part['state']} {part['version']}{bad}"))
        free = f", {flash['free'] >> 20} of {flash['size'] >> 20} MiB free" if flash["size"] else ""
        rows.append(("store", f"{flash['store']}{free}"))
        kept = flash.get("data")
        if kept:
            room = f", {kept['free'] >> 20} of {kept['size'] >> 20} MiB free" if kept["size"] else ""
            rows.append(("state of processes", f"{kept['state']}{room} {kept['detail']}"))
        for package in flash["packages"]:
            rows.append(("stored", _stored_text(package)))
    given = card["settings"]
    if given["state"] != "none":
        rows.append(("settings", ": ".join(text for text in (given["state"], given["note"]) if text)))
    for process in card["processes"]:
        rows.append(
            ("process", f"{process['name']} {process['state']}, pid {process['pid']} {process['detail']}")
        )
    if card["refusal"]:
        rows.append(("refused", error_text(card["refusal"])))
    for one in card["discrepancies"]:
        rows += [("lacks", sentence(one)), *((f"  {word}", text) for word, text in help_lines(one))]
    for name, value in rows:
        table.add_row(name, plain(value))
    return table


def _trust_text(trust: dict[str, Any]) -> str:
    root = "a flat keyring" if trust["root"] is None else f"version {trust['root']}"
    text = f"{root} in the wanted image" + (", takes TEST packages" if trust["takes_test"] else "")
    if trust.get("card_trouble"):
        return f"{text}; THE CARD TRUSTS NOBODY: {trust['card_trouble']}"
    return text + (f"; the card judges by version {trust['card_root']}" if trust["card_root"] else "")


def _wanted_rows(
    record: dict[str, Any], tests: list[str], card_class_name: str | None
) -> list[tuple[str, str]]:
    """The wanted set, and who decided each part of it."""
    wanted, origin = record["wanted"], record["wanted_from"]
    if wanted is None:
        return [("wanted", "nothing")]
    names = [f"{p['name']} {p['version']}" for p in wanted["packages"]]
    packages = ", ".join(f"{name} TEST" if name in tests else name for name in names) or "no packages"
    board = f"said of board {wanted['boot_image']['board']}"
    by = {**_ORIGINS, "class": f"from class {card_class_name}", "board": board}
    rows = [
        ("wanted image", f"{wanted['boot_image']['version']} ({by[origin['boot_image']]})"),
        ("wanted packages", f"{packages} ({by[origin['packages']]})"),
    ]
    features = wanted.get("features")
    if features is not None:
        rows.append(("features", f"{', '.join(features) or 'none'} ({by[origin['features']]})"))
    return rows


def _class_text(card: dict[str, Any]) -> str:
    name = card["class"]
    if name is None:
        return "none"
    return str(name) if card["record"]["card_class"] else f"{name} (said of board {card['board']})"


def _order_text(pristine: dict[str, Any]) -> str:
    saved = ", image not saved" if pristine["order"] == "from-ram" and not pristine["save_image"] else ""
    return f"{pristine['order']}{saved} ({_ORIGINS[pristine['from']]})"


Image = Annotated[
    list[str] | None, typer.Option("--image", help="Boot image VERSION, or BOARD=VERSION; may be repeated.")
]


@card_app.command("set")
def set_own(
    cards: card_class.Cards,
    *,
    image: Image = None,
    package: card_class.Packages = None,
    feature: card_class.Features = None,
    order: card_class.Order = None,
    save_image: card_class.SaveImage = None,
    clear: card_class.Clear = None,
    directory: Directory = DEFAULT_DIRECTORY,
    as_json: AsJson = False,
) -> None:
    """Say what a card should run by itself, whatever its class says. What is not named stays."""
    body = {**card_class.wishes(package, image, order, save_image, feature), "cards": cards, "clear": clear}
    _print_wanted(master_client(directory).post("/v1/card/set", body), as_json)


card_app.command("want", hidden=True)(set_own)  # the word of the first release


@card_app.command("clear")
def clear_own(
    cards: card_class.Cards, directory: Directory = DEFAULT_DIRECTORY, as_json: AsJson = False
) -> None:
    """A card has no software of its own any more: its class decides, or what is newest."""
    _print_wanted(master_client(directory).post("/v1/card/clear", {"cards": cards}), as_json)


def _print_wanted(answer: list[dict[str, Any]], as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(answer, indent=1))
        return
    for card in answer:
        for warning in card["warnings"]:
            typer.echo(f"warning: {warning}", err=True)
        tell_change(card["check"])
        typer.echo(f"slot {card['slot']} should run {_set_text(card['wanted'])}")
        typer.echo(f"at once with: fwmgr power cycle {card['slot']}")


@card_app.command()
def approve(
    slot: Slot,
    *,
    key: Annotated[str | None, typer.Option(help="Only if the waiting key begins like this.")] = None,
    directory: Directory = DEFAULT_DIRECTORY,
) -> None:
    """Let in the card that was refused in this slot: its key is the slot's from now on."""
    card = master_client(directory).post("/v1/card/approve", {"slot": slot, "key": key})
    typer.echo(f"slot {slot}: key {card['record']['key_fingerprint'][:16]} is let in")


def error_text(error: dict[str, str]) -> str:
    where = f"{error['where']}: " if "where" in error else ""
    sides = ", ".join(f"{side} {error[side]}" for side in ("expected", "found") if side in error)
    hint = f" ({error['hint']})" if "hint" in error else ""
    return plain(f"{where}{error['what']}" + (f": {sides}" if sides else "") + hint)


def _set_text(software: dict[str, Any] | None) -> str:
    if software is None:
        return "nothing"
    packages = ", ".join(f"{p['name']} {p['version']}" for p in software["packages"]) or "no packages"
    return f"boot image {software['boot_image']['version']}; {packages}"
