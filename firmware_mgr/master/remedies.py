"""What a user types to put a discrepancy right: the list that a card or its class would have to name.

Pure: works on the cards of one check. Which version would help is the check's to say, and where it goes in a
list the algebra's (SOFTWARE-SETS L4 to L7); here it becomes a command. Refuses to choose between remedies.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from firmware_mgr.master.check_desk import Checked, Placed
from firmware_mgr.model.discrepancies import Remedy, Way
from firmware_mgr.model.errors import UsageError
from firmware_mgr.model.ids import SlotId
from firmware_mgr.model.package_facts import PackageFacts
from firmware_mgr.model.package_list import PackageList, activate, settle


@dataclass(frozen=True, slots=True)
class NamedBy:
    """Who names a card's packages, as a command has it (`card set 3`), and in which words so far."""

    command: str
    wishes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Commands:
    """`named_by` is asked for the slots of `checked`."""

    checked: Checked
    named_by: Mapping[SlotId, NamedBy]
    _made: dict[tuple[str, tuple[PackageFacts, ...], str, str], str] = field(default_factory=dict)

    def of(self, remedy: Remedy, slot: SlotId) -> str:
        """Empty when no command does it: a card must come back, or the list cannot take the package."""
        if remedy.way is not Way.ACTIVATE:
            return ""
        card, package = self._where(remedy, slot)
        if card is None or package is None:
            return ""
        named, there = self.named_by[card.slot], self._list_of(card)
        key = (named.command, there.packages, package.name, package.version)
        if key not in self._made:
            self._made[key] = command(named, there, package)
        return self._made[key]

    def in_order(self, slot: SlotId) -> str:
        """What names the slot's list in the nearest order that is right; empty when there is none (L10)."""
        card = next((card for card in self.checked.situation if card.slot == slot), None)
        if card is None or slot not in self.named_by:
            return ""
        named, there = self.named_by[slot], self._list_of(card)
        key = (named.command, there.packages, "", "")
        if key not in self._made:
            self._made[key] = command(named, there)
        return self._made[key]

    def _list_of(self, card: Placed) -> PackageList:
        return PackageList(tuple(map(self.checked.tables.of, card.packages)), card.board)

    def _where(self, remedy: Remedy, slot: SlotId) -> tuple[Placed | None, PackageFacts | None]:
        """The first card that it may be on, present ones before others, and the file for its CPU."""
        cards = [
            card
            for card in self.checked.situation
            if card.slot in self.named_by
            and (card.slot in remedy.slots if remedy.slots else card.slot != slot)
        ]
        versions = self.checked.tables.known.versions(remedy.package)
        for card in sorted(cards, key=lambda one: not one.present):
            for package in versions:
                if package.version == remedy.version and package.fits(card.cpu):
                    return card, package
        return None, None


def command(named: NamedBy, current: PackageList, package: PackageFacts | None = None) -> str:
    """What names the current list in a right order, with this package in it, in the words used so far where
    they still hold. Empty when there is no such list.
    """
    try:
        change = settle(current) if package is None else activate(current, package)
    except UsageError:
        return ""
    words = {wish.partition("=")[0]: wish for wish in named.wishes}
    if package is not None:
        words[package.name] = f"{package.name}={package.version}"
    wishes = [words.get(one.name, f"{one.name}={one.version}") for one in change.packages.packages]
    return " ".join(["fwmgr", named.command, *(f"--package {wish}" for wish in wishes)])
