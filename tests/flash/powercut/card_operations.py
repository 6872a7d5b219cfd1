"""A card's whole life between two validated sets: the loader, the agent's burn, the trial, the commit.

`act` begins at power-on, wherever the flash then leads, and goes on until the wanted set is validated. At any
moment the loader ends at a whole image or at netboot, and every set that may be run is whole in the store.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from firmware_mgr.link import messages as m
from firmware_mgr.model.errors import DeviceError
from firmware_mgr.model.ids import CpuArch, Digest
from firmware_mgr.model.software import BootImageRef, PackageRef, SoftwareSet
from firmware_mgr.packaging.build import PackageHead, build_package
from tests.flash.powercut import loader
from tests.flash.powercut.control_operations import view_of
from tests.flash.powercut.house import House
from tests.flash.powercut.medium import Medium, Powered
from tests.flash.powercut.operation import RASH, Broken, Operation
from tests.package.elf_bytes import build_id, elf, text
from tests.package.samples import HEAD, KEY, KEYRING, SOURCES

MIB = 1 << 20
SIZE = 10 * MIB
BOARD, CPU = "qemu-aarch64", CpuArch.AARCH64
PIECE = 1 << 12
#: Starts of a trial (`Settings.trial_tries`), which two cuts use up.
TRIES = 2
OLD_IMAGE = random.Random(1).randbytes(9000)
NEW_IMAGE = OLD_IMAGE[:4096] + random.Random(2).randbytes(5500)
OLDER_IMAGE = random.Random(3).randbytes(7000)
#: By name, to tell what a partition holds.
IMAGES = (("older", OLDER_IMAGE), ("old", OLD_IMAGE), ("new", NEW_IMAGE))
NO_TABLE = "no table"


class Master:
    """Gives blobs by digest."""

    def __init__(self) -> None:
        self.blobs: dict[Digest, bytes] = {}

    def add(self, data: bytes) -> Digest:
        digest = Digest.of(data)
        self.blobs[digest] = data
        return digest

    def fetch(self, digest: Digest, start: int, length: int) -> Iterator[bytes]:
        yield self.blobs[digest][start : start + length]


#: By version: two builds of one library, and another one.
_LIBRARY = {
    "1": elf(build_id(b"1" * 20), text()),
    "2": elf(build_id(b"1" * 20), text(b"another " * 64)),
    "built again": elf(build_id(b"2" * 20), text()),
}


def _package(version: str) -> bytes:
    """The sample with the library of that version."""
    data = _LIBRARY.get(version, _LIBRARY["1"])
    sources = [replace(source, data=data) if "libx.so.1.0" in source.path else source for source in SOURCES]
    head = PackageHead("sample", version.replace(" ", "-"), HEAD.build_date, processes=HEAD.processes)
    return build_package(head, sources, [KEY])


@dataclass(frozen=True)
class Cards:
    house: House

    @cached_property
    def master(self) -> Master:
        return Master()

    @cached_property
    def orders(self) -> dict[str, m.Burn]:
        return {
            "older": self._order("0", OLDER_IMAGE),
            "old": self._order("1", OLD_IMAGE),
            "new": self._order("2", NEW_IMAGE),
            "again": self._order("built again", OLD_IMAGE),
        }

    @property
    def flash_layout(self) -> Any:
        return self.house.flash("gpt").FlashLayout(MIB, MIB, 2 * MIB, 2 * MIB)

    def _order(self, version: str, image: bytes) -> m.Burn:
        layout = self.house.flash("boot_partition").BootImageLayout.of(image)
        package = _package(version)
        self.master.add(image)
        version = version.replace(" ", "-")
        ref = PackageRef("sample", version, self.master.add(package), len(package))
        software = SoftwareSet(BootImageRef(BOARD, version, layout.digest, layout.length), (ref,))
        return m.Burn(software, m.BootPieces(PIECE, layout.pieces), trial_tries=TRIES)

    def opened(self, device: Powered, source: m.BootSource = m.BootSource.NETBOOT) -> Any:
        words = self.house.card("loader").LoaderWords(source, "boot")
        return self.house.card("areas").open_areas(device, self.flash_layout, words)

    # What is seen

    def images(self, areas: Any) -> dict[str, str]:
        """Which image each boot partition holds whole, going by its bytes."""
        found: dict[str, str] = {}
        for name in "ab":
            for image, data in IMAGES:
                try:
                    if areas.window(f"boot-{name}").read(0, len(data)) == data:
                        found[name] = image
                except DeviceError:
                    pass
        return found

    def look(self, device: Powered) -> Hashable:
        """Where the loader ends, and which sets are stored and validated; these are whole."""
        areas = self.opened(device)
        if areas.partitions is None:
            return NO_TABLE
        images = self.images(areas)
        control = view_of(self.house, areas.window("control"), "".join(images))
        rash = [text for text in control if RASH in text]
        boots = images.get(control[-1], "netboot")
        if areas.store is None:
            return boots, *rash, "-", "-"
        found = self.house.card("inspection").inspect(areas, KEYRING, CPU)
        for software in found.records.kept_sets.values():
            for ref in software.packages:
                stored = found.packages.get(ref.digest)
                if stored is None or stored.bad:
                    raise Broken(f"a mix: set {self._name(software.digest)} may run and is not whole")
        records = found.records
        return boots, *rash, self._name(records.stored), self._name(records.validated)

    def _name(self, digest: Digest | None) -> str:
        names = {order.wanted.digest: name for name, order in self.orders.items()}
        return "-" if digest is None else names.get(digest, digest.short)

    def beyond(self, _seen: Hashable) -> bool:
        """Two control copies cannot outlive an unstable one and a second cut; the loader's default goes to
        whatever whole image there is, or to the network."""
        return True

    # What is done

    def start(self, device: Powered) -> m.BootSource:
        """The loader's start; without a table it finds no control."""
        areas = self.opened(device)
        if areas.partitions is None:
            return m.BootSource.NETBOOT
        letters = [self.house.flash("letter").Letter(name) for name in self.images(areas)]
        decision = loader.start(self.house, areas.window("control"), letters)
        return m.BootSource(decision.target.value) if decision.target.letter else m.BootSource.NETBOOT

    def burn(self, device: Powered, order: m.Burn, source: m.BootSource) -> Any:
        documents: dict[str, bytes | None] = {"identity/key": b"key", "identity/certificate": None}
        burner = self.house.card("burn").Burner(
            self.opened(device, source),
            self.master,
            KEYRING,
            CPU,
            BOARD,
            lambda: documents,
            lambda *_: None,
            lambda: 0.0,
        )
        return burner.burn(order)

    def live(self, order: m.Burn) -> Callable[[Powered], None]:
        """Power-on, burn, trial, validated; or, when the image is not to be saved, run from the network."""

        def act(device: Powered) -> None:
            commit = self.house.card("commit")
            for _ in range(4):
                source = self.start(device)
                areas = self.opened(device, source)
                commit.restore_tries_of_running(areas)
                burned = self.burn(device, order, source)
                if burned.boot_partition is None or not burned.reboot_needed:
                    areas = self.opened(device, source)
                    commit.commit_boot(areas, order.wanted.digest, KEYRING, CPU)
                    return
            raise DeviceError("never comes up from what was burned")

        return act

    # Media to start from

    def pristine(self) -> Medium:
        return Medium(bytes(SIZE))

    @cached_property
    def _validated(self) -> Medium:
        device = Powered(self.pristine(), sites=False)
        self.live(self.orders["old"])(device)
        return Medium(device.medium.contents())

    def validated(self) -> Medium:
        """A card that runs the old set from a."""
        return self._validated

    def with_way_back(self) -> Medium:
        """A card that runs the old set from b; in a is the one before, with starts."""
        device = Powered(self.pristine(), sites=False)
        self.live(self.orders["older"])(device)
        self.live(self.orders["old"])(device)
        return Medium(device.medium.contents())

    def damaged(self) -> Medium:
        """… one byte of its image and one of a module are wrong."""
        medium = self._validated
        areas = self.opened(Powered(medium))
        contents = bytearray(medium.contents())
        contents[areas.window("boot-a").offset + 5000] ^= 1
        blobs = sorted(areas.store.blobs().items(), key=lambda item: item[1].length)
        contents[areas.window("store").offset + blobs[-1][1].offset + 3] ^= 1
        return Medium(bytes(contents))


def card_operations(house: House) -> list[Operation]:
    c = Cards(house)

    def operation(name: str, start: Callable[[], Medium], order: m.Burn, look: Any = c.look) -> Operation:
        return Operation(
            f"card.{name}", start, c.live(order), look, steady=False, beyond=c.beyond, weight=0.02
        )

    new = c.orders["new"]

    def look_damaged(device: Powered) -> Hashable:
        """The old set was damaged beforehand: only where the loader ends is compared."""
        areas = c.opened(device)
        images = c.images(areas)
        return images.get(view_of(house, areas.window("control"), "".join(images))[-1], "netboot")

    return [
        operation("burn a pristine card", c.pristine, new),
        operation("update", c.validated, new),
        operation("update over a way back", c.with_way_back, new),
        operation("update to what was built again", c.validated, c.orders["again"]),
        operation("burn what is damaged", c.damaged, c.orders["old"], look_damaged),
        operation("burn without the image", c.pristine, replace(new, save_image=False)),
        operation("update without the image", c.validated, replace(new, save_image=False)),
    ]
