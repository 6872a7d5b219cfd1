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
#: In a folder that a card is on its way into: the folder that it comes from.
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
                _move(Path((folder / MOVING).read_text()), folder)

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
            if any(known.mac == card.mac and known != mine for known in self._all()):
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
        if any(known.mac == card.mac for known in self._all()):
            raise UsageError("another card has this MAC address", where=f"slot {slot}", found=card.mac)
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
        _move(self._paths.drawer / name, self._paths.slot(slot).directory)
        shutil.rmtree(self._paths.drawer / name)
        card = known[name]
        if mac is not None:
            card = replace(card, mac=mac)
            self._lay(slot, card, keep=True)
        return card

    def take_out(self, slot: SlotId) -> Card:
        """Take the card out of the slot, into the drawer."""
        card = self.in_slot(slot)
        if card is None:
            raise UsageError("the slot is empty", where=f"slot {slot}")
        place = self._paths.drawer / card.name
        place.mkdir(parents=True, exist_ok=True)
        _move(self._paths.slot(slot).directory, place)
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


def _move(source: Path, target: Path) -> None:
    """Move a card whole. The next `Cards` makes a death in between good: it finds where it came from."""
    draft = target / ".moving.new"
    draft.write_text(str(source))
    draft.replace(target / MOVING)
    for name in CARD_FILES[:-1]:
        if (source / name).exists():
            shutil.move(source / name, target / name)
    # The description goes last: until then the card is where it was.
    if (source / CARD_FILES[-1]).exists():
        os.replace(source / CARD_FILES[-1], target / CARD_FILES[-1])
    (target / MOVING).unlink()


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
