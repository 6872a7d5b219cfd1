"""Makes flash hold a software set: compares first, writes only what is not there, reads back, then says so.

Knows the order of writes that no power cut can hurt:
1. Read and verify the heads of all packages: an unsigned, foreign or wrong-CPU one ends it before any write.
2. The image's length, and room in a store that is still to be made, are compared with what is to come. Then
   partition table and store, where they are missing. Room in a store that was there is compared; what no set
   needs makes room. Then the state area; what processes kept goes where that was asked.
3. Control: the target boot partition is not to be started while it is being written.
4. Boot image pieces that differ, each run of them noted in the store before it is written; sync; the whole
   image read back (`burn_image`).
5. Modules that are missing or bad, unless substantively equal ones are there; each piece is verified before
   it is written (`burn_packages`);
   then one transaction with the records of set, packages and boot image.
6. Control: the target goes on trial.
Where the image is not to be saved, 3 and 4 are left out, and control says netboot.
A cut at any point leaves either the old way to boot, or netboot; the same order again goes on where it was.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from firmware_mgr.card.areas import Areas, earlier_table, expected_table
from firmware_mgr.card.blobs import Blobs
from firmware_mgr.card.burn_image import ImageBurner
from firmware_mgr.card.burn_packages import Package, PackageBurner, Work, all_of, check_new_store
from firmware_mgr.card.commit import NOTHING_COMMITTED, heal_control
from firmware_mgr.card.data_keeper import MADE
from firmware_mgr.card.firmware import ReadsControl
from firmware_mgr.card.records import (
    STORED,
    VALIDATED,
    BootEntry,
    boot_document,
    read_records,
    set_document,
    unneeded,
    writing_document,
    writing_name,
)
from firmware_mgr.flash.boot_partition import PIECE_SIZE, BootImageLayout, check_fits
from firmware_mgr.flash.control import begin_trial, read_control
from firmware_mgr.flash.control_layout import COPY_SIZE, Maker, Target
from firmware_mgr.flash.device import FlashDevice
from firmware_mgr.flash.gpt import DATA, STORE, Partition, find, write_table
from firmware_mgr.flash.letter import Letter
from firmware_mgr.flash.store import Store
from firmware_mgr.link import messages as m
from firmware_mgr.model.errors import DeviceError, PeerError, UsageError
from firmware_mgr.model.ids import CpuArch, Digest
from firmware_mgr.package.trust import Trust

#: Zeros over the start of what processes kept: no file system is found there any more.
_WIPED_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Burned:
    """What a burn did: bytes written to flash, and where the boot image is. All of it was read back."""

    set_digest: Digest
    boot_bytes_written: int
    package_bytes_written: int
    boot_partition: Letter | None  # None: the boot image was not to be saved
    reboot_needed: bool
    seconds: float


@dataclass
class Burner:
    """One burn. `report` is called with step, bytes done and in all, and bytes written to flash so far."""

    areas: Areas
    blobs: Blobs
    trust: Trust
    cpu: CpuArch
    board: str
    state_documents: Callable[[], dict[str, bytes | None]]
    report: Callable[[str, int, int, int], None]
    clock: Callable[[], float] = time.monotonic
    _image: ImageBurner = field(init=False)
    _packages: PackageBurner = field(init=False)

    def __post_init__(self) -> None:
        self._image = ImageBurner(self.areas, self.blobs, self._report)
        self._packages = PackageBurner(self.areas, self.blobs, self.trust, self.cpu, self._report)

    def _report(self, step: str, done: int, total: int) -> None:
        self.report(step, done, total, sum(self.written))

    @property
    def written(self) -> tuple[int, int]:
        """Bytes of boot image and of packages written so far, also when the burn has failed."""
        return self._image.written, self._packages.written

    def burn(self, order: m.Burn) -> Burned:
        """Raises PeerError for what must not be burned, DeviceError or UsageError for what does not fit."""
        started = self.clock()
        anew = order.erase and self.areas.in_use is None  # not under the feet of what runs
        layout = self._check_image(order)
        packages = [self._packages.fetch_head(ref, order.wanted.features) for ref in order.wanted.packages]
        expected = self._expected_table(order.erase, anew, save_image=order.save_image)
        self._check_places(order, expected, anew, packages, layout)
        self._lay_out(expected, anew)
        target, missing = self._image.choose(layout) if order.save_image else (None, [])
        work = self._packages.plan(packages)
        self._packages.make_room(work, *self._commits(order, work, target, layout, self._store.documents()))
        self._prepare_state(anew)
        if target is not None:
            self._image.write(target, layout, missing)
        self._packages.write(work)
        self._store.commit(self._documents(order, work, target, layout, self._store.documents()))
        reboot = target is not None and target is not self.areas.in_use
        if target is None:
            self._leave_to_network()
        elif reboot:
            self._put_on_trial(target, order.trial_tries)
        return Burned(order.wanted.digest, *self.written, target, reboot, self.clock() - started)

    # 1. What is ordered.

    def _check_image(self, order: m.Burn) -> BootImageLayout:
        ref = order.wanted.boot_image
        if ref.board != self.board:
            raise PeerError(
                "boot image is for another board",
                where=f"boot image {ref.version}",
                expected=self.board,
                found=ref.board,
            )
        if order.boot_pieces.piece_size != PIECE_SIZE:
            found = order.boot_pieces.piece_size
            raise PeerError("boot image has pieces of another size", expected=PIECE_SIZE, found=found)
        try:
            return BootImageLayout(ref.length, ref.digest, order.boot_pieces.pieces)
        except UsageError as e:
            raise PeerError(
                e.what, where=f"boot image {ref.version}", expected=e.expected, found=e.found
            ) from e

    # 2. The areas.

    def _expected_table(self, erase: bool, anew: bool, *, save_image: bool) -> tuple[Partition, ...]:
        """The partitions that this burn works with. Raises DeviceError for flash that it must not lay out."""
        areas = self.areas
        expected = expected_table(areas.device, areas.layout)
        if not anew and areas.partitions == earlier_table(areas.device, areas.layout):
            # An earlier version's layout goes on: what is in flash is worth more than the sixth partition.
            expected = areas.partitions
        if save_image and areas.device.block_size != COPY_SIZE and isinstance(areas.firmware, ReadsControl):
            raise DeviceError(
                "this board's loader cannot find the second copy of control on such flash",
                where="flash",
                expected=f"blocks of {COPY_SIZE} bytes",
                found=f"blocks of {areas.device.block_size} bytes",
                hint="flash with blocks of 512 bytes; a loader that counts in bytes; or save no image",
            )
        if areas.foreign and not erase:
            raise DeviceError(
                "flash carries another system's partition table",
                where="partition table",
                expected="ours, or none",
                found="another one",
                hint="to lay the flash out anew, losing everything on it: fwmgr burn-all --erase",
            )
        if areas.partitions is not None and areas.partitions != expected and not anew:
            raise DeviceError(
                "flash is laid out otherwise than the board file says",
                where="partition table",
                expected=", ".join(f"{p.name} {p.size >> 20} MiB" for p in expected),
                found=", ".join(f"{p.name} {p.size >> 20} MiB" for p in areas.partitions),
                hint="to lay the flash out anew, losing everything on it: fwmgr burn-all --erase",
            )
        if areas.partitions is None and areas.in_use is not None:
            raise DeviceError("partition table vanished while the card runs from flash", where="flash")
        return expected

    def _check_places(
        self,
        order: m.Burn,
        expected: tuple[Partition, ...],
        anew: bool,
        packages: list[Package],
        layout: BootImageLayout,
    ) -> None:
        """Before anything is made or goes: that image and packages will fit into what is still to be made."""
        device, target = self.areas.device, Letter.A if order.save_image else None  # both are of one size
        if target is not None:
            check_fits(find(expected, target.partition).window(device), layout)
        store = find(expected, STORE).window(device)
        if not self._holds_store(store, anew):
            work = all_of(packages)
            check_new_store(store, work, *self._commits(order, work, target, layout, {}))

    def _holds_store(self, window: FlashDevice, anew: bool) -> bool:
        """Whether the place has a store that goes on: not one of another size when all is laid out anew."""
        try:
            store = Store.open(window)
        except DeviceError:
            return False
        return not anew or store.fills_its_device

    def _lay_out(self, expected: tuple[Partition, ...], anew: bool) -> None:
        """Partition table and store, where they are missing."""
        areas = self.areas
        write_table(areas.device, expected)
        areas.partitions, areas.table, areas.foreign = expected, m.AreaState.GOOD, False
        areas.open_stores()
        if areas.store is None or (anew and not areas.store.fills_its_device):
            areas.store = Store.format(areas.window(STORE), store_id=os.urandom(16))
            areas.store_state = m.AreaState.GOOD

    def _prepare_state(self, anew: bool) -> None:
        areas = self.areas
        if areas.state is None:
            areas.state = Store.format(areas.window("state"), store_id=os.urandom(16))
        documents = dict(self.state_documents())
        if anew and areas.has(DATA):
            # Its magic goes first: a cut between the two leaves a file system that is found missing.
            areas.window(DATA).write(0, bytes(_WIPED_BYTES))
            areas.device.sync()
            documents[MADE] = None
        areas.state.commit(documents)

    @property
    def _store(self) -> Store:
        assert self.areas.store is not None
        return self.areas.store

    # 5. Packages and records.

    def _commits(
        self,
        order: m.Burn,
        work: Work,
        target: Letter | None,
        layout: BootImageLayout,
        held: Mapping[str, bytes],
    ) -> list[Mapping[str, bytes | None]]:
        """What is to come in the store's documents: pieces in doubt, this burn, and its validation."""
        noted = () if target is None else (writing_document(target, range(len(layout.pieces))),)
        validated = {VALIDATED: order.wanted.digest.hex.encode()}
        return [dict(noted), self._documents(order, work, target, layout, held), validated]

    def _documents(
        self,
        order: m.Burn,
        work: Work,
        target: Letter | None,
        layout: BootImageLayout,
        held: Mapping[str, bytes],
    ) -> dict[str, bytes | None]:
        """The records of set, packages and boot image; of those `held`, what no set needs any more goes."""
        documents = work.documents()
        name, value = set_document(order.wanted)
        documents[name] = value
        documents[STORED] = order.wanted.digest.hex.encode()
        if target is not None:
            name, value = boot_document(target, BootEntry(order.wanted.boot_image, layout))
            documents[name] = value
            documents[writing_name(target)] = None
        records = read_records(held)
        validated = records.sets.get(records.validated) if records.validated else None
        sets = [order.wanted] if validated is None else [order.wanted, validated]
        return {**documents, **dict.fromkeys(unneeded(held, sets))}

    # 6. Control.

    def _leave_to_network(self) -> None:
        """From now on the loader goes to the network, whatever the boot partitions hold of earlier days."""
        if self.areas.in_use is not None:
            return  # what runs is the wanted image
        window = self.areas.window("control")
        record = read_control(window).record
        if record is None or record.boot is not Target.NETBOOT or record.trial is not None:
            wanted = replace(record or NOTHING_COMMITTED, boot=Target.NETBOOT, trial=None)
            self.areas.set_control(replace(wanted, made=Maker.AGENT))
        heal_control(self.areas)

    def _put_on_trial(self, target: Letter, tries: int) -> None:
        window = self.areas.window("control")
        state = read_control(window)
        self.areas.set_control(begin_trial(state.record or NOTHING_COMMITTED, target, tries))
        heal_control(self.areas)
