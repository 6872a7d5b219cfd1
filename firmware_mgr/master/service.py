"""The master, put together: engine, gate, conversation and burn-all, and what users ask of them.

Knows its parts and how they fit. The servers and the API are built around it.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from firmware_mgr.master import believed, plan
from firmware_mgr.master.arrivals import Software, check_here
from firmware_mgr.master.bindings import Bindings, Wish
from firmware_mgr.master.blobs import BlobStore
from firmware_mgr.master.burn_all_desk import BurnAllDesk
from firmware_mgr.master.card_life import CardEvent
from firmware_mgr.master.catalogue import Catalogue, Put
from firmware_mgr.master.check_desk import ChangeNote, CheckDesk
from firmware_mgr.master.collect import Collected, collect
from firmware_mgr.master.composite_desk import CompositeDesk, Entered
from firmware_mgr.master.composites import TakenComposite
from firmware_mgr.master.configuration import Configuration
from firmware_mgr.master.conversation import Conversation
from firmware_mgr.master.documents import ImageRecord, PackageRecord
from firmware_mgr.master.engine import Engine
from firmware_mgr.master.gate import Gate
from firmware_mgr.master.hands import Hands
from firmware_mgr.master.intake import TakenPackage
from firmware_mgr.master.kept_desk import KeptDesk
from firmware_mgr.master.operations import Operation
from firmware_mgr.master.package_tables import PackageTables
from firmware_mgr.master.record import BurnLog
from firmware_mgr.master.removal import check_unused, pick_packages, who_refers
from firmware_mgr.master.roster import Entry, Roster
from firmware_mgr.master.sealed import SealedFiles
from firmware_mgr.master.settings import BoardFacts, Settings
from firmware_mgr.master.settings_desk import Change, SettingsDesk
from firmware_mgr.master.site_settings import SettingsRecord
from firmware_mgr.master.strangers import Strangers
from firmware_mgr.master.trust import Authority
from firmware_mgr.master.wishes import ChangeOwn, Wishes
from firmware_mgr.model.errors import DeviceError, UsageError
from firmware_mgr.model.ids import Digest, MacAddress, SlotId
from firmware_mgr.model.lifecycle import CardState
from firmware_mgr.model.software import PackageRef
from firmware_mgr.netboot.events import DhcpDecided, NetbootEvent, TransferEnded, TransferStarted
from firmware_mgr.netboot.quarantine import Misfit
from firmware_mgr.package.keyring import Keyring
from firmware_mgr.package.root_chain import RootChain
from firmware_mgr.package.trust import Trust

log = logging.getLogger(__name__)

T = TypeVar("T")

#: Bytes that came later than this stay when something is removed: their document may still be on its way.
LONGEST_IMPORT_SECONDS = 3600.0
#: Different complaints about netboot clients that are written to the log.
MAX_SAID = 1000

#: A card in one of these that asks for files is on its way up (its agent's own DHCP is not netboot).
_COMING_UP = frozenset({CardState.RESET, CardState.BOOTING, CardState.LOST, CardState.FAILED, CardState.HELD})


class Master:
    """One master. `start` begins work; everything else is called by the servers and the API."""

    def __init__(
        self,
        *,
        catalogue: Catalogue,
        blobs: BlobStore,
        authority: Authority,
        burn_log: BurnLog,
        hands: Hands | None,
        boards: dict[str, BoardFacts],
        settings: Settings,
        sealed: SealedFiles | None = None,
        trust: Callable[[], Trust] = lambda: Keyring({}),
        roots: Callable[[], RootChain | None] = lambda: None,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.settings = settings
        self.trust = trust
        self.burn_log = burn_log
        self.roster = Roster(catalogue, blobs, boards, settings)
        self.engine = Engine(self.roster, settings, hands, clock, monotonic, roots=roots)
        self.strangers = Strangers(boards, clock)
        self.bindings = Bindings(
            self.roster, catalogue, settings, boards, clock=clock, guess_boards=self._guess_boards
        )
        self.gate = Gate(self.engine, authority, self.bindings)
        self._tables = PackageTables(blobs)
        self.checks = CheckDesk(self.roster, self._tables, self.engine.news.tell)
        self.wishes = Wishes(self.roster, catalogue, clock, self._busy, self._settled, roots=roots)
        self.roster.fallback_image = self.wishes.image_for
        self.desk = BurnAllDesk(self.engine, catalogue, self.wishes)
        self.engine.watcher = self.desk
        self.composites = CompositeDesk(
            self.roster, self.wishes, catalogue, settings, clock=clock, has=blobs.has
        )
        self.slot_settings = SettingsDesk(self.roster, catalogue, sealed, clock, self.wishes.class_name)
        self.kept = KeptDesk(self.roster)
        self.conversation = Conversation(
            self.engine,
            self.gate,
            self.desk,
            self.wishes,
            burn_log,
            settings=self.slot_settings,
            kept=self.kept,
        )
        self._blobs = blobs
        self._catalogue = catalogue
        self._said: set[str] = set()

    async def start(self) -> None:
        """Take up what an earlier master left, then work."""
        await self.roster.load(self.engine.clock())
        await self.wishes.load()
        await self.composites.load()
        await self.bindings.load()
        await self.desk.load()
        await self.slot_settings.load()
        self.checks.start()
        await self.engine.start()
        await self.engine.call(self.desk.take_up)

    async def stop(self) -> None:
        await self.checks.stop()
        await self.engine.stop()

    # Called by the servers.

    async def enrol(self, address: str, document: dict[str, Any]) -> str:
        """The certificate for a card that asks, as PEM. Raises PeerError with the reason."""
        certificate: str = await self.engine.call(lambda: self._enrol(address, document))
        return certificate

    async def _enrol(self, address: str, document: dict[str, Any]) -> str:
        certificate, slot, shown = await self.gate.enrol(address, document)
        await self.desk.key_shown(slot, shown)
        return certificate

    def find_blob(self, digest: Digest) -> Path | None:
        """The path of a blob that a card may fetch."""
        return self._blobs.path(digest) if self._blobs.has(digest) else None

    def bulk_served(self, address: str, count: int) -> None:
        """Bytes of a blob went out to this address."""
        entry = self.roster.by_address(address)
        if entry is not None:
            entry.traffic = entry.traffic.plus(bulk=count)

    def netbooted(self, event: NetbootEvent) -> None:
        """Something happened at the netboot servers."""
        log.debug("%s", event.document())
        if isinstance(event, DhcpDecided):
            self.strangers.met(event)
            self.engine.news.tell()
            if event.misfit is Misfit.UNKNOWN and event.mac is not None and self.settings.adopt is not None:
                self.engine.post(partial(self._adopt, event.mac))
        if isinstance(event, DhcpDecided) and event.decision in ("ignored", "unusable", "failed"):
            self._say_once(f"DHCP {event.message} of {event.mac} {event.decision}: {event.reason}")
        if isinstance(event, TransferStarted | TransferEnded) and event.slot is not None:
            self.engine.post(lambda: self._transferred(event))

    def _say_once(self, text: str) -> None:
        """The reason is kept, and a client that asks for ever does not fill the log."""
        if text not in self._said and len(self._said) < MAX_SAID:
            self._said.add(text)
            log.warning("%s", text)

    async def _transferred(self, event: TransferStarted | TransferEnded) -> None:
        if event.slot is None or event.slot not in self.roster:
            return
        entry = self.roster.get(event.slot)
        if isinstance(event, TransferEnded):
            entry.traffic = entry.traffic.plus(netboot=event.bytes_sent)
        if entry.life.state is CardState.NETBOOTING:
            self.engine.still_moving(entry)
        elif entry.life.state in _COMING_UP and entry.link is None:
            await self.engine.happened(entry, CardEvent.NETBOOT_SEEN, f"asks for {event.name}")

    # What users ask for; each runs in turn with everything else.

    async def burn_all(
        self,
        slots: list[SlotId] | None,
        renew_keys: bool,
        erase: bool = False,
        note: ChangeNote | None = None,
    ) -> Operation:
        """Provision these cards, or all that are present. Raises UsageError; nothing is touched then."""
        await self.checks.ready()
        work = (note or self.checks.note()).around(lambda: self.desk.begin(slots, renew_keys, erase))
        operation: Operation = await self.engine.call(work)
        return operation

    async def cancel(self, identifier: str) -> Operation:
        operation: Operation = await self.engine.call(lambda: self.desk.cancel(identifier))
        return operation

    async def change_settings(self, owner: str, change: Change) -> SettingsRecord:
        """Settings of a slot or class; linked cards are told at once. Raises UsageError."""
        record: SettingsRecord = await self.engine.call(lambda: self.slot_settings.change(owner, change))
        return record

    async def approve(self, slot: SlotId, key: str | None = None) -> Entry:
        entry: Entry = await self.engine.call(lambda: self.gate.approve(slot, key))
        return entry

    def _busy(self, slot: SlotId) -> str | None:
        operation = self.desk.of_slot(slot)
        return None if operation is None else operation.id

    def select(self, terms: Sequence[str]) -> list[SlotId]:
        """The slots that a selector names. Raises UsageError."""
        return self.composites.select(terms)

    async def want(
        self, slot: SlotId, image: str | None, packages: list[str] | None, note: ChangeNote | None = None
    ) -> Entry:
        """Change what a slot should run by itself; what is not named stays. It is taken at the next boot."""

        def change(own: Configuration, board: str) -> Configuration:
            images = own.images if image is None else {**own.images, board: image}
            named = own.packages if packages is None else tuple(packages)
            return replace(own, images=images, packages=named)

        (entry,) = await self.set_own([slot], change, note)
        return entry

    async def set_own(
        self, slots: Sequence[SlotId], change: ChangeOwn, note: ChangeNote | None = None
    ) -> list[Entry]:
        """Change cards' own configurations: all, or none and UsageError."""

        async def work() -> list[Entry]:
            entries = [self.roster.get(slot) for slot in slots]
            await self.wishes.set_own(entries, change)
            self._look_again(entries)
            return entries

        await self.checks.ready()
        entries: list[Entry] = await self.engine.call((note or self.checks.note()).around(work))
        return entries

    def _settled(self, refs: tuple[PackageRef, ...], board: str) -> tuple[PackageRef, ...]:
        """A list that nobody named, in the order that the packages themselves ask for."""
        return self._tables.now.settled(refs, board)

    def warnings(self, entries: Sequence[Entry]) -> list[str]:
        """What a user who chose these cards' software should know of it, by the site's trust of today."""
        sets = [entry.record.wanted for entry in entries]
        chosen = {ref for one in sets if one is not None for ref in one.packages}
        packages = [package for package in self.roster.packages if package.ref in chosen]
        said = believed.warnings_by(self.trust, packages)
        said += self._feature_warnings(entries)
        for entry in entries:
            said += self._running_warnings(entry)
        return said

    def _feature_warnings(self, entries: Sequence[Entry]) -> list[str]:
        """Features that are asked for, and that no package of the set has."""
        said = []
        for entry in entries:
            wanted = entry.record.wanted
            if wanted is None or not wanted.features:
                continue
            tables = self._tables.now
            offered = {
                name for ref in wanted.packages for one in tables.of(ref).modules for name in one.features
            }
            missing = [name for name in wanted.features if name not in offered]
            if missing and all(map(tables.has, wanted.packages)):
                said.append(f"slot {entry.slot}: no package has the features {', '.join(missing)}")
        return said

    def _running_warnings(self, entry: Entry) -> list[str]:
        wanted, hello = entry.record.wanted, entry.hello
        if wanted is None or hello is None:
            return []
        running = [
            image
            for image in self.roster.images
            if (image.board, image.version) == (hello.board, hello.boot_version)
        ]
        slot, held, chain = entry.slot, entry.record.held_packages, self.wishes.followed_by(entry)
        lists = (
            believed.running_warnings(slot, image, wanted, self.roster.packages, held, followed=chain)
            for image in running[-1:]
        )
        return [line for lines in lists for line in lines]

    def _guess_boards(self, mac: MacAddress) -> list[str]:
        """What a stranger could be: boards with a boot image first, for no other can be served to it."""
        fitting = self.strangers.boards_of(mac)
        served = {image.board for image in self.roster.images}
        return [board for board in fitting if board in served] or fitting

    async def _adopt(self, mac: MacAddress) -> None:
        """Give a loader that nobody knows the next free slot, when it can be only one board."""
        shelf, known = self.settings.adopt, self.bindings.of_mac(mac)
        if shelf is not None and known is None and len(self._guess_boards(mac)) == 1:
            await self.bindings.bind(self.bindings.free_slot(shelf), Wish(mac))

    async def bind(self, slot: SlotId, wish: Wish) -> Entry:
        """Bind a slot that no register tells of to a MAC, key or relay port. Raises UsageError."""

        async def work() -> Entry:
            self._check_free(slot)
            entry = await self.bindings.bind(slot, wish)
            entry.refusal = None
            return entry

        bound: Entry = await self.engine.call(work)
        return bound

    async def unbind(self, slot: SlotId) -> Entry:
        async def work() -> Entry:
            self._check_free(slot)
            entry = await self.bindings.unbind(slot)
            await self.engine.happened(entry, CardEvent.POWERED_OFF, "no card is bound to this slot")
            return entry

        unbound: Entry = await self.engine.call(work)
        return unbound

    def _check_free(self, slot: SlotId) -> None:
        if (busy := self._busy(slot)) is not None:
            hint = f"wait for its end, or: fwmgr operations {busy} --cancel"
            raise UsageError("card is in an operation", where=f"slot {slot}", found=busy, hint=hint)

    async def change_classes(self, work: Callable[[], Awaitable[T]], note: ChangeNote | None = None) -> T:
        """Have classes changed in turn with everything else; cards with nothing to run are judged anew."""

        async def then_look() -> T:
            result = await work()
            self._look_again(self.roster)
            self.slot_settings.tell(self.roster)
            return result

        await self.checks.ready()
        result: T = await self.engine.call((note or self.checks.note()).around(then_look))
        return result

    def _look_again(self, entries: Iterable[Entry]) -> None:
        """Cards that talk to us and were found to have nothing to run, or were given up, are judged anew."""
        for entry in entries:
            if entry.life.state in (CardState.HELD, CardState.FAILED):
                self.engine.drop_link(entry)

    async def enter_composite(self, taken: TakenComposite, note: ChangeNote | None = None) -> Entered:
        """A composite that was read comes into the catalogue, whole or not at all. Raises UsageError."""
        await self._tables.add(taken.new_packages)
        entered: Entered = await self.change_classes(lambda: self.composites.enter(taken), note)
        return entered

    async def enter_image(self, record: ImageRecord) -> None:
        """A boot image that was read. Raises UsageError when it was removed meanwhile."""
        await self.engine.call(lambda: self._enter([record], []))

    async def enter_package(self, taken: TakenPackage) -> None:
        """A package that was read. Raises UsageError when it, or the one that it is, is gone meanwhile."""
        new, known = ([taken.record], []) if taken.news.is_new else ([], [taken.record])
        await self.engine.call(lambda: self._enter(new, known))

    async def _enter(self, new: Sequence[Software], known: Sequence[Software]) -> None:
        check_here(new, known, [*self.roster.images, *self.roster.packages], self._blobs.has)
        await self._catalogue.transact([], [Put(record.key, record.to_document()) for record in new])
        await self._load_software()

    async def remove_image(self, board: str, version: str) -> ImageRecord:
        """Take a boot image out of the catalogue. Raises UsageError that says who refers to it."""

        async def work() -> ImageRecord:
            record = plan.pick_image(board, version, self.roster.images)
            await self._remove(f"boot image {record.board} {record.version}", [record])
            return record

        removed: ImageRecord = await self.engine.call(work)
        await self._collect()
        return removed

    async def remove_package(self, name: str, version: str) -> list[PackageRecord]:
        """All files of that version. Raises UsageError that says who refers to one."""

        async def work() -> list[PackageRecord]:
            records = pick_packages(name, version, self.roster.packages)
            await self._remove(f"package {name} {version}", records)
            return records

        removed: list[PackageRecord] = await self.engine.call(work)
        await self._collect()
        return removed

    async def collect_software(self, keep: int, *, dry_run: bool) -> Collected:
        """Remove all that nobody refers to but `keep` versions of each name, or nothing.

        `dry_run` only says what that is.
        """

        async def work() -> Collected:
            cards = [entry.record for entry in self.roster]
            found = collect(self.roster.images, self.roster.packages, cards, self.wishes.said, keep)
            if found.records and not dry_run:
                await self.roster.remove_software(found.records)
            return found

        collected: Collected = await self.engine.call(work)
        if not dry_run:
            await self._collect()
        return collected

    async def _remove(self, what: str, records: Sequence[ImageRecord | PackageRecord]) -> None:
        known: list[ImageRecord | PackageRecord] = [*self.roster.images, *self.roster.packages]
        left = [one for one in known if one not in records]
        cards = [entry.record for entry in self.roster]
        said = [line for record in records for line in who_refers(record, cards, self.wishes.said, left)]
        check_unused(what, list(dict.fromkeys(said)))
        await self.roster.remove_software(records)

    async def _collect(self) -> None:
        """Remove the bytes that nobody refers to, while cards go on; what cannot be removed stays."""
        before = self.engine.clock() - LONGEST_IMPORT_SECONDS
        keep = {package.digest for package in self.roster.packages}
        keep |= {digest for image in self.roster.images for digest in image.blobs}
        try:
            await asyncio.to_thread(self._blobs.collect, keep, added_before=before)
        except DeviceError as e:
            log.error("bytes of removed software stay until the next removal: %s", e)

    async def load_software(self) -> None:
        """Read images and packages anew: something was added."""
        await self.engine.call(self._load_software)

    async def _load_software(self) -> None:
        await self.roster.load_software()
        self._look_again(self.roster)
