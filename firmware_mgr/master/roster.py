"""The cards as the master holds them in memory, each change written through to the catalogue first.

Knows records, lives and links of cards; answers netboot's question who asks. Decides nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address
from typing import Any

from firmware_mgr.link.messages import Hello
from firmware_mgr.master.batch import Batches
from firmware_mgr.master.binding import BindingRecord
from firmware_mgr.master.blobs import BlobStore
from firmware_mgr.master.card_life import NO_NEEDS, CardLife
from firmware_mgr.master.catalogue import Catalogue, Delete, Put
from firmware_mgr.master.documents import (
    CARDS,
    IMAGES,
    PACKAGES,
    CardRecord,
    ImageRecord,
    PackageRecord,
)
from firmware_mgr.master.hands import SlotSight
from firmware_mgr.master.link_server import Link
from firmware_mgr.master.operations import Traffic
from firmware_mgr.master.plan import newest_image
from firmware_mgr.master.settings import BoardFacts, Settings
from firmware_mgr.model.errors import UsageError
from firmware_mgr.model.ids import CpuArch, Digest, MacAddress, SlotId
from firmware_mgr.model.lifecycle import CardState
from firmware_mgr.model.pristine import STORE_FIRST, Provisioning
from firmware_mgr.model.software import BootImageRef, SoftwareSet
from firmware_mgr.netboot.relay import RelayPort
from firmware_mgr.netboot.served import Blob, ServedCard

log = logging.getLogger(__name__)

#: Power cycles by the master without a word from the card, as many as come before the lever by default.
SILENT_CYCLES = 4


@dataclass(slots=True)
class Entry:
    """One slot. `record` and `life` are durable; the rest is what this master has seen since it started."""

    record: CardRecord
    life: CardLife
    link: Link | None = None
    hello: Hello | None = None
    target: SoftwareSet | None = None  # what the last verdict told the card to burn or run
    saves_image: bool = True  # whether that burn includes the boot image
    final: bool = True  # whether nothing is lacking after it
    bound: BindingRecord | None = None  # no slot register tells of this slot
    runs_as_it_is: bool = False  # it has stored, and needs no restart to run that
    progress: tuple[str, int, int, int] = ("", 0, 0, 0)
    processes: list[dict[str, Any]] = field(default_factory=list)
    traffic: Traffic = field(default_factory=Traffic)
    powered: bool | None = None  # None: not seen yet
    power_ons: int | None = None
    moved: float = 0.0  # on the monotonic clock: when the state was entered, or progress seen
    ended_boot: str = ""  # the boot that our last power cycle ended
    cycling: bool = False
    cycled: int = 0  # which of the master's power cycles was this card's last
    refusal: dict[str, str] | None = None
    misfit: str | None = None  # why the linked card does not belong into this slot
    settings_kept: Digest | None = None  # what the card's flash has, by its own word
    settings_sent: Digest | None = None  # on this link
    settings_note: str = ""

    @property
    def slot(self) -> SlotId:
        return self.record.slot

    @property
    def vacant(self) -> bool:
        """Nothing but what users said of the slot is known: no register, binding or card told of it."""
        record = self.record
        seen = (record.mac, record.board, record.key_fingerprint, self.bound, self.powered)
        return all(one is None for one in seen) and not record.present


class Roster:
    """Slots by number, MAC and address. Also netboot's Directory."""

    def __init__(
        self, catalogue: Catalogue, blobs: BlobStore, boards: dict[str, BoardFacts], settings: Settings
    ) -> None:
        self._catalogue = catalogue
        self._batches = Batches(catalogue)
        self._blobs = blobs
        self._boards = boards
        self._settings = settings
        self._entries: dict[SlotId, Entry] = {}
        self.images: list[ImageRecord] = []
        self.packages: list[PackageRecord] = []
        #: What a card is served of which nothing was decided yet.
        self.fallback_image: Callable[[CardRecord], ImageRecord | None] = lambda record: newest_image(
            record.board or "", self.images
        )
        self.ports: dict[RelayPort, SlotId] = {}  # relay ports that slots are bound to
        #: Called when what cards should run, which of them are there, or what software there is has changed.
        self.software_changed: Callable[[], None] = lambda: None

    def __iter__(self) -> Iterator[Entry]:
        return iter([entry for _, entry in sorted(self._entries.items())])

    def __contains__(self, slot: SlotId) -> bool:
        return slot in self._entries

    def get(self, slot: SlotId) -> Entry:
        """Raises UsageError that lists the slots there are."""
        entry = self._entries.get(slot)
        if entry is None:
            known = ", ".join(str(known) for known in sorted(self._entries)) or "none"
            raise UsageError("no such slot", expected=f"one of {known}", found=slot)
        return entry

    async def load(self, now: float) -> None:
        """Read cards, images and packages. Cards keep their states; their deadlines run anew from `now`.

        What an earlier master had begun to write and had decided on is carried through before.
        """
        await self._batches.take_up()
        for document in await self._catalogue.list(CARDS):
            record = CardRecord.from_document(document.value, document.key)
            life = CardLife(record.state, now, record.tries, record.reason)
            self._entries[record.slot] = Entry(record, life)
        await self.load_software()

    async def load_software(self) -> None:
        images = await self._catalogue.list(IMAGES)
        packages = await self._catalogue.list(PACKAGES)
        self.images = [ImageRecord.from_document(document.value, document.key) for document in images]
        self.packages = [PackageRecord.from_document(document.value, document.key) for document in packages]
        self.software_changed()

    async def write(self, entry: Entry, now: float, **changes: Any) -> None:
        """Change the record, durably, then in memory. The life is written with it."""
        await self.write_all([(entry, changes)], now)

    async def write_all(
        self, changes: Sequence[tuple[Entry, dict[str, Any]]], now: float, others: Sequence[Put | Delete] = ()
    ) -> None:
        """The same for several cards, with other documents: all, or none."""
        records = []
        for entry, fields in changes:
            life = entry.life
            renewed = replace(
                entry.record, **fields, state=life.state, reason=life.reason, tries=life.tries, updated_at=now
            )
            records.append((entry, renewed))
        puts: list[Put | Delete] = [
            *(Put(record.key, record.to_document()) for _, record in records),
            *others,
        ]
        await self._batches.apply(puts)
        changed = any(_software(entry.record) != _software(record) for entry, record in records)
        for entry, record in records:
            entry.record = record
        if changed:
            self.software_changed()

    async def remove_software(self, records: Sequence[ImageRecord | PackageRecord]) -> None:
        """Take these out of the catalogue, all or none."""
        await self._batches.apply([Delete(record.key) for record in records])
        await self.load_software()

    def make(self, slot: SlotId, now: float) -> Entry:
        """A slot that nothing was known of; it is not written yet."""
        entry = self.blank(slot, now)
        self.register(entry)
        return entry

    def blank(self, slot: SlotId, now: float) -> Entry:
        """An entry that is not the roster's yet."""
        return Entry(CardRecord(slot, now), CardLife(CardState.ABSENT, now))

    def register(self, entry: Entry) -> None:
        self._entries[entry.slot] = entry

    async def seen(self, sight: SlotSight, now: float) -> Entry:
        """The entry of a slot that the slot register names; made when it is new.

        Raises UsageError for a slot that has no address on the network.
        """
        entry = self._entries.get(sight.slot)
        board = self._boards.get(sight.board)
        if entry is None:
            self._settings.card_address(sight.slot)
            entry = self.make(sight.slot, now)
        known = entry.record
        if (known.mac, known.board, known.present) != (sight.mac, sight.board, sight.present):
            cpu = None if board is None else board.cpu
            await self.write(entry, now, mac=sight.mac, board=sight.board, cpu=cpu, present=sight.present)
        return entry

    @property
    def cpus(self) -> dict[str, CpuArch]:
        """Of each board that this master knows."""
        return {name: board.cpu for name, board in self._boards.items()}

    def board_provisioning(self, entry: Entry) -> Provisioning:
        """What the card's board file says."""
        board = self._boards.get(entry.record.board or "")
        return STORE_FIRST if board is None else board.provisioning

    def allowed(self, entry: Entry) -> float | None:
        """The seconds that this card may stay in its state; None: any."""
        board = self._boards.get(entry.record.board or "")
        needs = NO_NEEDS if board is None else board.needs
        return self._settings.deadlines.of(entry.life.state, needs)

    def by_address(self, address: str) -> Entry | None:
        for entry in self._entries.values():
            if str(self._address(entry)) == address:
                return entry
        return None

    def _address(self, entry: Entry) -> IPv4Address:
        return self._settings.card_address(entry.slot)

    # Netboot's Directory.

    def card_by_mac(self, mac: MacAddress) -> ServedCard | None:
        return self._served(lambda entry: entry.record.mac == mac)

    def card_by_address(self, address: IPv4Address) -> ServedCard | None:
        return self._served(lambda entry: self._address(entry) == address)

    def card_by_port(self, remote_id: bytes, circuit_id: bytes) -> ServedCard | None:
        slot = self.ports.get(RelayPort(remote_id, circuit_id))
        return None if slot is None else self._served(lambda entry: entry.slot == slot)

    def _served(self, fits: Callable[[Entry], bool]) -> ServedCard | None:
        entry = next((entry for entry in self._entries.values() if fits(entry)), None)
        if entry is None or entry.record.board is None:
            return None
        board = self._boards.get(entry.record.board)
        if board is None:
            return None
        image = self.netboot_image(entry)
        files = {} if image is None else self._files(image)
        return ServedCard(
            slot=entry.slot,
            mac=entry.record.mac,
            board=board.name,
            arch=board.cpu,
            address=self._address(entry),
            hostname=hostname(entry.slot),
            boot_file=board.boot_file,
            files=files,
            client_architectures=board.client_architectures,
            boot_files=board.boot_files,
            refused_tftp_options=board.refused_tftp_options,
            max_tftp_blocks=board.max_tftp_blocks,
        )

    def netboot_image(self, entry: Entry) -> ImageRecord | None:
        """What the slot is served: its wanted boot image, unless that failed here; else what last worked.

        A card of which nothing was heard for many power cycles is served what last worked: it may be the
        wanted image that keeps it silent, and then nobody tells us.
        """
        record = entry.record
        preferred = (record.wanted, record.last_good)
        if entry.life.tries >= SILENT_CYCLES:
            preferred = (record.last_good, record.wanted)
        for software in preferred:
            if software is None or software.boot_image.board != record.board:
                continue  # the slot's set was for a card that sat here before
            if software.boot_image.digest not in record.rejected:
                image = self.image(software.boot_image)
                if image is not None:
                    return image
        return self.fallback_image(record)

    def has(self, software: SoftwareSet) -> bool:
        """Whether all of it is in the catalogue."""
        there = {image.digest for image in self.images} | {package.digest for package in self.packages}
        return there.issuperset(software.digests)

    def image(self, ref: BootImageRef) -> ImageRecord | None:
        return next(
            (image for image in self.images if image.digest == ref.digest and image.board == ref.board), None
        )

    def _files(self, image: ImageRecord) -> dict[str, Blob]:
        return {
            file.name: Blob(file.digest, file.length, self._blobs.path(file.digest)) for file in image.files
        }


def _software(record: CardRecord) -> tuple[object, ...]:
    """What dependencies between cards go by."""
    return (record.wanted, record.present, record.board, record.cpu)


def hostname(slot: SlotId) -> str:
    return f"card-{str(slot).replace('/', '-')}"
