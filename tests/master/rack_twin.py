"""A master in process with hands and cards in memory: the twin for tests of the service."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Any

from firmware_mgr.link import messages as m
from firmware_mgr.link.session import Session
from firmware_mgr.master.blobs import BlobStore
from firmware_mgr.master.card_life import Deadlines
from firmware_mgr.master.catalogue import Put
from firmware_mgr.master.catalogue_memory import MemoryCatalogue
from firmware_mgr.master.documents import ImageRecord, PackageRecord
from firmware_mgr.master.hands import SlotSight
from firmware_mgr.master.link_server import Link
from firmware_mgr.master.record import BurnLog
from firmware_mgr.master.sealed import SealedFiles
from firmware_mgr.master.service import Master
from firmware_mgr.master.settings import BoardFacts, Settings
from firmware_mgr.master.trust import open_authority, open_record_key
from firmware_mgr.model.ids import CpuArch, Digest, MacAddress, SlotId
from firmware_mgr.model.software import SoftwareSet
from firmware_mgr.package.root_chain import RootChain

BOARD = BoardFacts("qemu-aarch64", CpuArch.AARCH64, frozenset({11, 22}), "boot.scr.uimg")
ARM_BOARD = BoardFacts("qemu-armv7", CpuArch.ARMV7, frozenset({10, 21}), "boot.scr.uimg")
IMAGE = ImageRecord(
    "qemu-aarch64", "1", Digest.of(b"image 1"), 10, m.BootPieces(1 << 20, (Digest.of(b"image 1"),)), (), 1.0
)
NEW_IMAGE = ImageRecord(
    "qemu-aarch64", "2", Digest.of(b"image 2"), 10, m.BootPieces(1 << 20, (Digest.of(b"image 2"),)), (), 2.0
)
ARM_IMAGE = ImageRecord(
    "qemu-armv7", "1", Digest.of(b"arm 1"), 10, m.BootPieces(1 << 20, (Digest.of(b"arm 1"),)), (), 1.0
)
ARM_PACKAGE = PackageRecord("web", "1.0", Digest.of(b"web arm"), 20, ("armv7",), 1.5)
PACKAGE = PackageRecord("web", "1.0", Digest.of(b"web"), 20, ("aarch64",), 1.0)
SET = SoftwareSet(IMAGE.ref, (PACKAGE.ref,))
GOOD, EMPTY = m.AreaState.GOOD, m.AreaState.EMPTY
PATIENCE = 5.0


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class TwinHands:
    """Remembers what was asked of power; slots are always powered once cycled."""

    def __init__(self, slots: int) -> None:
        self.powered = dict.fromkeys(range(1, slots + 1), False)
        self.cycles: list[tuple[int, bool]] = []
        self.power_ons: dict[int, int] = dict.fromkeys(range(1, slots + 1), 0)
        self.boards: dict[int, str] = {}  # other than the usual one
        self.empty: set[int] = set()  # slots that their card was taken out of

    async def slots(self) -> list[SlotSight]:
        return [
            SlotSight(
                SlotId(n),
                MacAddress(f"52:54:00:f7:01:{n:02x}"),
                self.boards.get(n, BOARD.name),
                n not in self.empty,
                on and n not in self.empty,
                self.power_ons[n],
            )
            for n, on in self.powered.items()
        ]

    async def cycle(self, slot: SlotId, *, netboot: bool) -> None:
        self.powered[slot.number] = True
        self.power_ons[slot.number] += 1
        self.cycles.append((slot.number, netboot))


class TwinCard:
    """What a card says, and what it was told. `flash` is its report."""

    def __init__(self, rack: Rack, number: int, fingerprint: str = "") -> None:
        self.rack = rack
        self.slot = SlotId(number)
        self.address = str(rack.settings.card_address(self.slot))
        self.fingerprint = fingerprint or f"{number:064x}"
        self.protocol = m.PROTOCOL_VERSION
        self.settings: Digest | None = None
        self.source = m.BootSource.NETBOOT
        self.sets: tuple[SoftwareSet, ...] = ()
        self.flash = pristine()
        self.running: SoftwareSet | None = None
        self.boots = 0
        self.link: Link | None = None
        self.mac = ""
        self.version = "1"
        self.package_format = 2
        self.reads_features = True
        self.root: m.RootReport | None = None
        self.board, self.cpu = "qemu-aarch64", "aarch64"

    async def hello(self) -> list[m.FromMaster]:
        """Dial and say hello; what the master answers."""
        self.link = Link(
            self.address, self.slot, self.fingerprint, Session(f"slot {self.slot}"), _stream=NO_STREAM
        )
        ons = self.rack.hands.power_ons[self.slot.number]
        message = m.Hello(
            self.protocol, "0", self.slot, self.board, self.cpu, self.source, self.version,
            self.flash,
            self.sets[0] if self.sets else None, self.sets,
            None if self.running is None else self.running.digest, 5.0, f"boot {ons}",
            settings=self.settings,
            mac=self.mac,
            package_format=self.package_format,
            reads_features=self.reads_features,
            root=self.root,
        )  # fmt: skip
        self.link.session.card_said(message)
        await self.rack.master.conversation.greeted(self.link, message)
        return self.told()

    async def report(self, message: m.FromCard) -> list[m.FromMaster]:
        assert self.link is not None
        self.link.session.card_said(message)
        await self.rack.master.conversation.reported(self.link, message)
        await self.rack.settle()
        return self.told()

    def told(self) -> list[m.FromMaster]:
        assert self.link is not None
        messages = []
        while not self.link._out.empty():
            message = self.link._out.get_nowait()
            if message is not None:
                messages.append(message)
        return messages

    async def burn(self, software: SoftwareSet = SET, letter: str = "a") -> list[m.FromMaster]:
        """Do what a burn order asks, and say so."""
        self.sets = (software, *(known for known in self.sets if known != software))
        self.flash = burned(software, letter)
        reboot = self.source.value != letter
        return await self.report(m.Stored(software.digest, 10, 20, letter, reboot, 1.0, self.flash))

    async def run(self, software: SoftwareSet = SET) -> list[m.FromMaster]:
        self.running = software
        process = m.ProcessReport("web", 7, "ready")
        return await self.report(m.Running(software.digest, (process,), self.flash.control))

    async def lose(self) -> None:
        assert self.link is not None
        await self.rack.master.conversation.lost(self.link)


class Rack:
    """Use `async with`. `restart` is a kill of the master and a start of another over the same catalogue."""

    def __init__(self, folder: Path, slots: int = 2, **deadlines: float) -> None:
        self.clock = Clock()
        self.hands = TwinHands(slots)
        self.settings = Settings(
            IPv4Address("10.77.0.1"),
            IPv4Network("10.77.0.0/24"),
            Deadlines(**deadlines),
            poll_seconds=0.02,  # type: ignore[arg-type]
        )
        self.boards = {board.name: board for board in (BOARD, ARM_BOARD)}
        self.catalogue = MemoryCatalogue(self.clock)
        self.blobs = BlobStore(folder / "blobs")
        self.authority = open_authority(folder / "authority")
        self.roots: RootChain | None = None  # the site's
        self.sealed = SealedFiles(folder / "settings", folder / "authority")
        self.record_key = open_record_key(folder / "authority")
        self.master = self._make()

    def _make(self) -> Master:
        return Master(
            catalogue=self.catalogue,
            blobs=self.blobs,
            authority=self.authority,
            burn_log=BurnLog(self.catalogue, self.record_key),
            hands=self.hands,
            boards=self.boards,
            settings=self.settings,
            sealed=self.sealed,
            roots=lambda: self.roots,
            clock=self.clock,
            monotonic=self.clock,
        )

    async def __aenter__(self) -> Rack:
        for record in (IMAGE, NEW_IMAGE, PACKAGE):
            if record is not NEW_IMAGE:
                await self.catalogue.transact([], [Put(record.key, record.to_document())])
        await self.master.start()
        await self.wait(lambda: len(list(self.master.roster)) == len(self.hands.powered))
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.master.stop()

    async def restart(self) -> None:
        await self.master.stop()
        self.master = self._make()
        await self.master.start()
        await self.settle()

    async def add(self, record: ImageRecord | PackageRecord) -> None:
        await self.catalogue.transact([], [Put(record.key, record.to_document())])
        await self.master.load_software()

    async def settle(self) -> None:
        """Wait until everything that was posted has been done, and what that posted."""
        for _ in range(6):
            await self.master.engine.call(_nothing)

    async def wait(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE):
            while not condition():
                await asyncio.sleep(0.005)

    def state(self, number: int) -> str:
        return self.master.roster.get(SlotId(number)).life.state.value

    def reason(self, number: int) -> str:
        return self.master.roster.get(SlotId(number)).life.reason


async def _nothing() -> None:
    pass


NO_STREAM: Any = None


def pristine() -> m.FlashReport:
    nothing = m.BootPartitionReport(EMPTY)
    return m.FlashReport(EMPTY, m.ControlReport(EMPTY, EMPTY), nothing, nothing, EMPTY)


def burned(software: SoftwareSet, letter: str, **control: Any) -> m.FlashReport:
    """The report of a card whose flash holds this set whole, its image in that partition."""
    image = m.BootPartitionReport(GOOD, software.boot_image.digest, software.boot_image.version)
    nothing = m.BootPartitionReport(EMPTY)
    packages = tuple(m.PackageReport(p.name, p.version, p.digest, 3, 0) for p in software.packages)
    return m.FlashReport(
        GOOD,
        m.ControlReport(GOOD, GOOD, letter, **control),
        image if letter == "a" else nothing,
        image if letter == "b" else nothing,
        GOOD,
        packages,
    )
