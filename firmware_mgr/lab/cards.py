"""The cards of a virtual chassis as things that can be taken out and put into another slot.

A card is a board with a MAC address, its flash and, where it has some, its firmware's variables. Knows where
these lie: in the slot's directory, or in the drawer. Refuses to know power and machines. What
makes a card of its files is its description, which is moved last.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from firmware_mgr.lab.plan import ChassisPaths, label, mac_of
from firmware_mgr.model.errors import UsageError
from firmware_mgr.model.ids import MacAddress, SlotId

#: What is the card's own in a slot's directory, its description last: it is what makes a card of the rest.
CARD_FILES = ("flash.img", "vars.fd", "card.json")
#: In a folder that a card is on its way into: the folder that it comes from, as the chassis directory has it.
MOVING = ".moving"
#: The MAC addresses of cards that came later, which no slot comes with: 52:54:00:f8, then a number.
LATER_PREFIX = bytes.fromhex("525400f8")
_NAME = re.compile(r"[a-z0-9][a-z0-9.-]{0,31}")


@dataclass(frozen=True, slots=True)
class Card:
    """What sits in a slot. `name` is for people, and for finding it in the drawer."""

    name: str
    board: str
    mac: MacAddress

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise UsageError(
                "not a name for a card",
                expected="lower-case letters, digits, . - (32 at most)",
                found=self.name,
            )

    def document(self) -> dict[str, str]:
        return {"name": self.name, "board": self.board, "mac": str(self.mac)}


class Cards:
    """The cards of one chassis directory."""

    def __init__(self, paths: ChassisPaths) -> None:
        self._paths = paths
        for folder in (*_folders(paths.directory), *_folders(paths.drawer)):
            if (folder / MOVING).exists():
                self._finish_move(folder)

    def in_slot(self, slot: SlotId) -> Card | None:
        """The card in the slot; None when it is empty."""
        return _read(self._paths.slot(slot).directory)

    def in_drawer(self) -> dict[str, Card]:
        """The cards that were taken out, by name."""
        found = (_read(folder) for folder in _folders(self._paths.drawer))
        return {card.name: card for card in found if card is not None}

    def first(self, slot: SlotId, board: str, *, pristine: bool) -> Card:
        """The card that the slot comes with when the chassis comes up: the one that is in it, or a new one.

        `pristine` takes a new one in any case. Raises UsageError when one of another board is in the slot.
        """
        there = None if pristine else self.in_slot(slot)
        if there is None:
            # Flash of a chassis from before cards had descriptions is taken for the slot's first card.
            card = Card(f"card-{label(slot)}", board, mac_of(slot))
            mine = self.in_slot(slot)
            if any(
                card.name == known.name or card.mac == known.mac for known in self._all() if known != mine
            ):
                card = self._later(board)  # that one is in the drawer, or in another slot
            self._lay(slot, card, keep=not pristine)
            return card
        if there.board != board:
            raise UsageError(
                "another card is in the slot",
                where=f"slot {slot}: {there.name}",
                expected=board,
                found=there.board,
                hint="name the boards as they are, or begin anew with --pristine",
            )
        return there

    def new(self, slot: SlotId, board: str, mac: MacAddress | None = None) -> Card:
        """Put a new card, with empty flash, into the empty slot."""
        self._check_empty(slot)
        card = self._later(board, mac)
        self._check_address(slot, card)
        self._lay(slot, card, keep=False)
        return card

    def _later(self, board: str, mac: MacAddress | None = None) -> Card:
        """A card that no slot comes with; its name is no other's, and its address unless it is given."""
        number = 1 + max((_number(card) for card in self._all()), default=0)
        own = MacAddress.from_bytes(LATER_PREFIX + number.to_bytes(2, "big"))
        return Card(f"new-{number}", board, mac or own)

    def put_in(self, slot: SlotId, name: str, mac: MacAddress | None = None) -> Card:
        """Put a card from the drawer into the empty slot; with `mac`, with another network interface."""
        self._check_empty(slot)
        known = self.in_drawer()
        if name not in known:
            raise UsageError(
                "no such card in the drawer", expected=", ".join(sorted(known)) or "none is there", found=name
            )
        card = known[name] if mac is None else replace(known[name], mac=mac)
        self._check_address(slot, card)
        self._move(self._paths.drawer / name, self._paths.slot(slot).directory)
        shutil.rmtree(self._paths.drawer / name)
        if mac is not None:
            self._lay(slot, card, keep=True)
        return card

    def take_out(self, slot: SlotId) -> Card:
        """Take the card out of the slot, into the drawer."""
        card = self.in_slot(slot)
        if card is None:
            raise UsageError("the slot is empty", where=f"slot {slot}")
        place = self._paths.drawer / card.name
        if (place / CARD_FILES[-1]).exists():
            raise UsageError(
                "a card of this name lies in the drawer",
                where=f"slot {slot}",
                expected=f"no {place / CARD_FILES[-1]}",
                found=card.name,
                hint=f"put that one into an empty slot first: fwmgr chassis insert SLOT {card.name}",
            )
        place.mkdir(parents=True, exist_ok=True)
        self._move(self._paths.slot(slot).directory, place)
        return card

    def _check_empty(self, slot: SlotId) -> None:
        card = self.in_slot(slot)
        if card is not None:
            raise UsageError(
                "a card is in the slot",
                where=f"slot {slot}",
                found=card.name,
                hint=f"take it out first: fwmgr chassis remove {slot}",
            )

    def _check_address(self, slot: SlotId, card: Card) -> None:
        if any(known.mac == card.mac for known in self._all() if known.name != card.name):
            raise UsageError("another card has this MAC address", where=f"slot {slot}", found=card.mac)

    def _move(self, source: Path, target: Path) -> None:
        """Move a card whole. The next `Cards` makes a death in between good: it finds where it came from.

        By a name within the chassis directory, which may be moved or copied before that.
        """
        draft = target / ".moving.new"
        with draft.open("w") as file:
            file.write(str(source.relative_to(self._paths.directory)))
            file.flush()
            os.fsync(file.fileno())
        draft.replace(target / MOVING)
        _sync(target)
        _carry(source, target)

    def _finish_move(self, folder: Path) -> None:
        """Carry over what a move left behind. Raises UsageError when what is there is not one card."""
        name = (folder / MOVING).read_text(errors="replace")
        known = (*_folders(self._paths.directory), *_folders(self._paths.drawer))
        source = next((one for one in known if str(one.relative_to(self._paths.directory)) == name), None)
        waits = source is not None and (source / CARD_FILES[-1]).exists()
        if waits == (folder / CARD_FILES[-1]).exists():
            raise UsageError(
                "a card's move was cut short, and its other half cannot be told",
                where=str(folder / MOVING),
                expected=f"a folder of {self._paths.directory}, and {CARD_FILES[-1]} in one of the two",
                found=f"{name!r}, {CARD_FILES[-1]} in {'both' if waits else 'neither'}",
                hint=f"bring the card's {', '.join(CARD_FILES)} together in one folder, then remove {MOVING}",
            )
        if source is not None and waits:
            _carry(source, folder)
        else:
            (folder / MOVING).unlink()

    def _lay(self, slot: SlotId, card: Card, *, keep: bool) -> None:
        folder = self._paths.slot(slot).directory
        folder.mkdir(parents=True, exist_ok=True)
        if not keep:
            for name in CARD_FILES:
                (folder / name).unlink(missing_ok=True)
        draft = folder / ".card.json"
        draft.write_text(json.dumps(card.document()))
        draft.replace(folder / CARD_FILES[-1])

    def _all(self) -> Iterator[Card]:
        for folder in (*_folders(self._paths.directory), *_folders(self._paths.drawer)):
            card = _read(folder)
            if card is not None:
                yield card


def _read(folder: Path) -> Card | None:
    path = folder / CARD_FILES[-1]
    try:
        document = json.loads(path.read_text())
        return Card(str(document["name"]), str(document["board"]), MacAddress(str(document["mac"])))
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as e:
        raise UsageError("not the description of a card", where=str(path), found=repr(e)) from e


def _carry(source: Path, target: Path) -> None:
    for name in CARD_FILES[:-1]:
        if (source / name).exists():
            shutil.move(source / name, target / name)
    _sync(target)
    # The description goes last: until then the card is where it was.
    os.replace(source / CARD_FILES[-1], target / CARD_FILES[-1])
    _sync(target)
    (target / MOVING).unlink()


def _sync(folder: Path) -> None:
    """The names in it survive the host's end from here on."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _folders(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []


def _number(card: Card) -> int:
    """The number of a later card, by its address or its name: either may have been given by hand."""
    raw = card.mac.to_bytes()
    by_name = card.name.removeprefix("new-")
    return max(
        int.from_bytes(raw[4:], "big") if raw[:4] == LATER_PREFIX else 0,
        int(by_name) if by_name != card.name and by_name.isdecimal() else 0,
    )
