"""What users say about software: classes, who is in them, and what single cards are to run.

Knows the roster and the documents of classes; what follows from them is `wanted`, which is pure. A change of
a user's mind is worked out at once, for all cards that it touches, and refused whole when it cannot be; the
cards are brought there when they next boot. What is newest is looked up again at a burn-all.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from firmware_mgr.master.board_wish import BOARDS, PREFERRED, BoardRecord, Preferred
from firmware_mgr.master.card_class import CLASSES, ClassRecord
from firmware_mgr.master.catalogue import Catalogue, Delete, Put
from firmware_mgr.master.configuration import Configuration, Origin
from firmware_mgr.master.documents import CardRecord, ImageRecord, PackageRecord
from firmware_mgr.master.plan import newest_image, pick_image
from firmware_mgr.master.removal import pick_packages
from firmware_mgr.master.root_offer import would_follow
from firmware_mgr.master.roster import Entry, Roster
from firmware_mgr.master.said import Said
from firmware_mgr.master.wanted import InOrder, Wanted, as_added, provisioning
from firmware_mgr.model.errors import FwmgrError, UsageError
from firmware_mgr.model.ids import SlotId, check_name
from firmware_mgr.model.pristine import Provisioning
from firmware_mgr.model.selection import Candidate, select
from firmware_mgr.package.root_chain import RootChain

#: Makes a card's own configuration another; gets it, and the board in the slot.
ChangeOwn = Callable[[Configuration, str], Configuration]
#: Boot images and packages of a catalogue.
Software = tuple[Sequence[ImageRecord], Sequence[PackageRecord]]

T = TypeVar("T")


class Wishes:
    """`busy` names the operation that works on a slot, or gives None; `in_order` is `wanted`'s.

    `roots`: see Engine.
    """

    def __init__(
        self,
        roster: Roster,
        catalogue: Catalogue,
        clock: Callable[[], float],
        busy: Callable[[SlotId], str | None],
        in_order: InOrder = as_added,
        *,
        roots: Callable[[], RootChain | None] = lambda: None,
    ) -> None:
        self.in_order = in_order
        self._roster = roster
        self._catalogue = catalogue
        self._clock = clock
        self._busy = busy
        self._roots = roots
        self.said = Said()

    @property
    def classes(self) -> Mapping[str, ClassRecord]:
        return self.said.classes

    async def load(self) -> None:
        classes = [
            ClassRecord.from_document(found.value, found.key) for found in await self._catalogue.list(CLASSES)
        ]
        boards = [
            BoardRecord.from_document(found.value, found.key) for found in await self._catalogue.list(BOARDS)
        ]
        preferred = await self._catalogue.get(PREFERRED)
        self.said = Said(
            {record.name: record for record in classes},
            {record.board: record for record in boards},
            Preferred() if preferred is None else Preferred.from_document(preferred.value),
        )

    def candidates(self) -> list[Candidate]:
        """The slots as selectors see them."""
        return [
            Candidate(entry.slot, entry.record.board, self.said.class_name(entry.record))
            for entry in self._roster
        ]

    def select(
        self, terms: Sequence[str], sets: Mapping[str, Collection[SlotId]] | None = None
    ) -> list[SlotId]:
        """The slots that a selector names (`model.selection`); `sets` are others that have a name. Raises
        UsageError.
        """
        return select(terms, self.candidates(), self.classes, sets)

    # What follows from what users said.

    def wanted(self, entry: Entry, *, newest: bool) -> Wanted:
        """What the card should run; with `newest`, what nobody decided is looked up again."""
        return self._wanted(entry, entry.record, self.said, newest=newest)

    def _wanted(
        self,
        entry: Entry,
        card: CardRecord,
        said: Said,
        software: Software | None = None,
        *,
        newest: bool = False,
    ) -> Wanted:
        """`card` is the entry's record as it is to become."""
        images, packages = software or (self._roster.images, self._roster.packages)
        followed = self.followed_by(entry)
        return said.wanted(card, images, packages, self.in_order, followed, newest=newest)

    def image_for(self, card: CardRecord) -> ImageRecord | None:
        """The boot image that it would be given: what is said or preferred, else the newest there is."""
        return self.said.image_for(card, self._roster.images) or newest_image(
            card.board or "", self._roster.images
        )

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
        card, card_class = entry.record, self.said.class_of(entry.record)
        of_class = Configuration() if card_class is None else card_class.configuration
        by_board = self.said.by_board(card)
        return provisioning(card.own, of_class, by_board, self._roster.board_provisioning(entry))

    def class_name(self, card: CardRecord) -> str | None:
        """The class that the card is in, by itself or by its board."""
        return self.said.class_name(card)

    def is_configured(self, entry: Entry) -> bool:
        """Whether a user said anything about the card's software, by itself, its class or its board."""
        return self.said.is_about(entry.record)

    # One card's own.

    async def set_own(self, entries: Sequence[Entry], change: ChangeOwn) -> None:
        """All cards, or none and UsageError."""
        self.check_free(entries)
        changes: list[tuple[Entry, dict[str, Any]]] = []
        for entry in entries:
            record = entry.record
            own = change(record.own, record.board or "")
            fields: dict[str, Any] = {"own": own}
            if record.board is not None:
                settled = self._wanted(entry, replace(record, own=own), self.said)
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
        return [entry for entry in self._roster if self.said.class_name(entry.record) == name]

    async def create(self, name: str, configuration: Configuration) -> ClassRecord:
        if name in self.classes:
            hint = f"to change it: fwmgr class set {name}"
            raise UsageError("there is such a class", found=name, hint=hint)
        record = ClassRecord(name, self._clock(), configuration)
        await self._write(record)
        return record

    async def change(self, name: str, configuration: Configuration) -> ClassRecord:
        """Its cards are to run the new configuration from their next boot on. Raises UsageError."""
        record = replace(self.get(name), configuration=configuration)
        await self._write(record)
        return record

    async def remove(self, name: str) -> None:
        """Raises UsageError while cards are in it."""
        record = self.get(name)
        boards = [board.board for board in self.said.boards.values() if board.card_class == name]
        if boards:
            hint = f"say another class first: fwmgr board set {boards[0]} --class NAME"
            raise UsageError("cards of a board are in the class", found=", ".join(boards), hint=hint)
        members = ", ".join(str(entry.slot) for entry in self.members(name))
        if members:
            hint = f"take them out first: fwmgr class unassign {members.replace(',', '')}"
            raise UsageError(
                "cards are in the class", where=f"class {name}", found=f"slots {members}", hint=hint
            )
        await self._catalogue.transact([], [Delete(record.key)])
        self.said = replace(self.said, classes=without(self.classes, name))

    async def assign(self, name: str | None, entries: Sequence[Entry]) -> None:
        """Put the cards into the class, or None: take them out of theirs. All, or none and UsageError."""
        if name is not None:
            self.get(name)
        await self._roster.write_all(
            self.settled(entries, self.said, {entry.slot: {"card_class": name} for entry in entries}),
            self._clock(),
        )

    # Boards and preferences.

    def of_board(self, board: str) -> BoardRecord:
        """What is said of the board; nothing when nobody said anything."""
        return self.said.boards.get(check_name(board, "board"), BoardRecord(board))

    async def say_of_board(self, record: BoardRecord) -> None:
        """Cards of that board are to run it from their next boot on. Raises UsageError."""
        if record.card_class is not None:
            self.get(record.card_class)
        rest = without(self.said.boards, record.board)
        boards = rest if record.empty else {**rest, record.board: record}
        said = replace(self.said, boards=boards)
        entries = [entry for entry in self._roster if entry.record.board == record.board]
        change = Delete(record.key) if record.empty else Put(record.key, record.to_document())
        await self._roster.write_all(self.settled(entries, said), self._clock(), [change])
        self.said = said

    async def prefer(self, preferred: Preferred) -> None:
        """What is newest from now on; cards' sets stay until that is looked up again. Raises UsageError."""
        check_known(preferred, self._roster.images, self._roster.packages)
        change = Put(PREFERRED, preferred.to_document())
        await self._catalogue.transact([], [change])
        self.said = replace(self.said, preferred=preferred)

    def settled(
        self,
        entries: Iterable[Entry],
        said: Said,
        changes: Mapping[SlotId, dict[str, Any]] | None = None,
        software: Software | None = None,
    ) -> list[tuple[Entry, dict[str, Any]]]:
        """What changes in the cards' records; of a slot where no card was seen yet, no wanted set.

        `changes` are made in the records before, `software` is what there will be. Raises UsageError.
        """
        entries = list(entries)
        self.check_free(entries)
        settled: list[tuple[Entry, dict[str, Any]]] = []
        for entry in entries:
            fields = dict((changes or {}).get(entry.slot, {}))
            if entry.record.board is not None:
                one = self._wanted(entry, replace(entry.record, **fields), said, software)
                fields |= {"wanted": one.software, "wanted_from": one.origin}
            settled.append((entry, fields))
        return settled

    async def _write(self, record: ClassRecord) -> None:
        said = replace(self.said, classes={**self.classes, record.name: record})
        entries = [entry for entry in self._roster if said.class_name(entry.record) == record.name]
        put = Put(record.key, record.to_document())
        await self._roster.write_all(self.settled(entries, said), self._clock(), [put])
        self.said = said

    def check_free(self, entries: Iterable[Entry]) -> None:
        for entry in entries:
            busy = self._busy(entry.slot)
            if busy is not None:
                hint = f"wait for its end, or: fwmgr operations {busy} --cancel"
                raise UsageError("card is in an operation", where=f"slot {entry.slot}", found=busy, hint=hint)


def without(records: Mapping[str, T], name: str) -> dict[str, T]:
    return {key: record for key, record in records.items() if key != name}


def check_known(
    preferred: Preferred, images: Sequence[ImageRecord], packages: Sequence[PackageRecord]
) -> None:
    """Raises UsageError for a preferred version that the catalogue does not have."""
    for board, version in preferred.images.items():
        pick_image(board, version, images)
    for name, version in preferred.packages.items():
        pick_packages(name, version, packages)
