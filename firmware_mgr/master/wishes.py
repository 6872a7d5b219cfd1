"""What users say about software: classes, who is in them, and what single cards are to run.

Knows the roster and the documents of classes; what follows from them is `wanted`, which is pure. A change of
a user's mind is worked out at once, for all cards that it touches, and refused whole when it cannot be; the
cards are brought there when they next boot. What is newest is looked up again at a burn-all.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

from firmware_mgr.master.card_class import CLASSES, ClassRecord
from firmware_mgr.master.catalogue import Catalogue, Delete, Put
from firmware_mgr.master.configuration import Configuration, Origin
from firmware_mgr.master.root_offer import would_follow
from firmware_mgr.master.roster import Entry, Roster
from firmware_mgr.master.wanted import Place, Wanted, provisioning, wanted
from firmware_mgr.model.errors import FwmgrError, UsageError
from firmware_mgr.model.ids import SlotId
from firmware_mgr.model.pristine import Provisioning
from firmware_mgr.model.selection import Candidate, select
from firmware_mgr.package.root_chain import RootChain

#: Makes a card's own configuration another; gets it, and the board in the slot.
ChangeOwn = Callable[[Configuration, str], Configuration]


class Wishes:
    """`busy` names the operation that works on a slot, or gives None. `roots`: see Engine."""

    def __init__(
        self,
        roster: Roster,
        catalogue: Catalogue,
        clock: Callable[[], float],
        busy: Callable[[SlotId], str | None],
        roots: Callable[[], RootChain | None] = lambda: None,
    ) -> None:
        self._roster = roster
        self._catalogue = catalogue
        self._clock = clock
        self._busy = busy
        self._roots = roots
        self.classes: dict[str, ClassRecord] = {}

    async def load(self) -> None:
        for document in await self._catalogue.list(CLASSES):
            record = ClassRecord.from_document(document.value, document.key)
            self.classes[record.name] = record

    def select(self, terms: Sequence[str]) -> list[SlotId]:
        """The slots that a selector names (`model.selection`). Raises UsageError."""
        candidates = [
            Candidate(entry.slot, entry.record.board, entry.record.card_class) for entry in self._roster
        ]
        return select(terms, candidates, self.classes)

    # What follows from what users said.

    def wanted(self, entry: Entry, *, newest: bool) -> Wanted:
        """What the card should run; with `newest`, what nobody decided is looked up again."""
        record = entry.record
        return self._wanted(entry, record.own, self._class_of(record.card_class), newest=newest)

    def _wanted(
        self, entry: Entry, own: Configuration, card_class: ClassRecord | None, *, newest: bool
    ) -> Wanted:
        record = entry.record
        kept = None if newest else record.wanted
        place = Place(
            entry.slot,
            record.board or "",
            record.cpu,
            own,
            card_class,
            kept,
            record.wanted_from,
            record.held_packages,
            self.followed_by(entry),
        )
        return wanted(place, self._roster.images, self._roster.packages)

    def followed_by(self, entry: Entry) -> RootChain | None:
        """The site's chain of roots, where the card by its own word would follow it."""
        try:
            chain = self._roots()
        except FwmgrError:
            return None  # whoever needs it is told; what the card has is what it goes by
        said = None if entry.hello is None else entry.hello.root
        return chain if would_follow(chain, said) else None

    def provisioning(self, entry: Entry) -> tuple[Provisioning, Origin]:
        """In which order the card is provisioned, and who chose it."""
        card_class = self._class_of(entry.record.card_class)
        of_class = Configuration() if card_class is None else card_class.configuration
        return provisioning(entry.record.own, of_class, self._roster.board_provisioning(entry))

    def is_configured(self, entry: Entry) -> bool:
        """Whether a user said anything about the card's software, by itself or by its class."""
        return not entry.record.own.empty or self._class_of(entry.record.card_class) is not None

    def _class_of(self, name: str | None) -> ClassRecord | None:
        return None if name is None else self.classes.get(name)

    # One card's own.

    async def set_own(self, entries: Sequence[Entry], change: ChangeOwn) -> None:
        """All cards, or none and UsageError."""
        self._check_free(entries)
        changes: list[tuple[Entry, dict[str, Any]]] = []
        for entry in entries:
            record = entry.record
            own = change(record.own, record.board or "")
            fields: dict[str, Any] = {"own": own}
            if record.board is not None:
                settled = self._wanted(entry, own, self._class_of(record.card_class), newest=False)
                # Asking for an image again is asking for another trial of it.
                asked = settled.software.boot_image.digest
                rejected = tuple(digest for digest in record.rejected if digest != asked)
                fields |= {
                    "wanted": settled.software,
                    "wanted_from": settled.origin,
                    "rejected": rejected,
                }
            changes.append((entry, fields))
        await self._roster.write_all(changes, self._clock())

    # Classes.

    def get(self, name: str) -> ClassRecord:
        """Raises UsageError that lists the classes there are."""
        record = self.classes.get(name)
        if record is None:
            known = ", ".join(sorted(self.classes)) or "none"
            hint = f"make it with: fwmgr class create {name}"
            raise UsageError("no such class", expected=f"one of {known}", found=name, hint=hint)
        return record

    def members(self, name: str) -> list[Entry]:
        return [entry for entry in self._roster if entry.record.card_class == name]

    async def create(self, name: str, configuration: Configuration) -> ClassRecord:
        if name in self.classes:
            hint = f"to change it: fwmgr class set {name}"
            raise UsageError("there is such a class", found=name, hint=hint)
        record = ClassRecord(name, self._clock(), configuration)
        await self._write(record, self._settle(self.members(name), record))
        return record

    async def change(self, name: str, configuration: Configuration) -> ClassRecord:
        """Its cards are to run the new configuration from their next boot on. Raises UsageError."""
        record = replace(self.get(name), configuration=configuration)
        await self._write(record, self._settle(self.members(name), record))
        return record

    async def remove(self, name: str) -> None:
        """Raises UsageError while cards are in it."""
        record = self.get(name)
        members = ", ".join(str(entry.slot) for entry in self.members(name))
        if members:
            hint = f"take them out first: fwmgr class unassign {members.replace(',', '')}"
            raise UsageError(
                "cards are in the class", where=f"class {name}", found=f"slots {members}", hint=hint
            )
        await self._catalogue.transact([], [Delete(record.key)])
        del self.classes[name]

    async def assign(self, name: str | None, entries: Sequence[Entry]) -> None:
        """Put the cards into the class, or None: take them out of theirs. All, or none and UsageError."""
        record = None if name is None else self.get(name)
        settled = self._settle(entries, record)
        await self._roster.write_all(
            [(entry, {"card_class": name, **changes}) for entry, changes in settled], self._clock()
        )

    def _settle(
        self, entries: Iterable[Entry], card_class: ClassRecord | None
    ) -> list[tuple[Entry, dict[str, Any]]]:
        """What changes in the cards' records; nothing for a slot where no card was seen yet."""
        entries = list(entries)
        self._check_free(entries)
        settled: list[tuple[Entry, dict[str, Any]]] = []
        for entry in entries:
            changes: dict[str, Any] = {}
            if entry.record.board is not None:
                one = self._wanted(entry, entry.record.own, card_class, newest=False)
                changes = {"wanted": one.software, "wanted_from": one.origin}
            settled.append((entry, changes))
        return settled

    async def _write(self, record: ClassRecord, settled: list[tuple[Entry, dict[str, Any]]]) -> None:
        await self._roster.write_all(settled, self._clock(), [Put(record.key, record.to_document())])
        self.classes[record.name] = record

    def _check_free(self, entries: Iterable[Entry]) -> None:
        for entry in entries:
            busy = self._busy(entry.slot)
            if busy is not None:
                hint = f"wait for its end, or: fwmgr operations {busy} --cancel"
                raise UsageError("card is in an operation", where=f"slot {entry.slot}", found=busy, hint=hint)
