"""Makes flash hold a software set: compares first, writes only what is not there, reads back, then says so.

Knows the order of writes that no power cut can hurt:
1. Read and verify the heads of all packages: an unsigned, foreign or wrong-CPU one ends it before any write.
2. Partition table, store and state area, where they are missing.
3. Control: the target boot partition is not to be started while it is being written.
4. Boot image pieces that differ, each run of them noted in the store before it is written; sync; the whole
   image read back.
5. Modules that are missing or bad, each piece verified before it is written;
   then one transaction with the records of set, packages and boot image.
6. Control: the target goes on trial.
Where the image is not to be saved, 3 and 4 are left out, and control says netboot.
A cut at any point leaves either the old way to boot, or netboot; the same order again goes on where it was.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Protocol

from firmware_mgr.card.areas import Areas, earlier_table, expected_table
from firmware_mgr.card.commit import NOTHING_COMMITTED, heal_control, needed_blobs
from firmware_mgr.card.data_keeper import MADE
from firmware_mgr.card.firmware import ReadsControl
from firmware_mgr.card.inspection import content_modules
from firmware_mgr.card.module_runs import Dealer, place, runs
from firmware_mgr.card.records import (
    STORED,
    VALIDATED,
    BootEntry,
    PackageEntry,
    boot_document,
    boot_name,
    package_document,
    pieces_in_doubt,
    read_records,
    set_document,
    writing_document,
    writing_name,
)
from firmware_mgr.flash.boot_partition import PIECE_SIZE, BootImageLayout
from firmware_mgr.flash.control import (
    begin_trial,
    fall_back,
    read_control,
)
from firmware_mgr.flash.control_layout import COPY_SIZE, Maker, Target
from firmware_mgr.flash.gpt import DATA, write_table
from firmware_mgr.flash.letter import Letter
from firmware_mgr.flash.store import Store
from firmware_mgr.link import messages as m
from firmware_mgr.model.errors import DeviceError, PeerError, UsageError
from firmware_mgr.model.ids import CpuArch, Digest
from firmware_mgr.model.software import PackageRef
from firmware_mgr.package.contents import Module, TableOfContents, select
from firmware_mgr.package.decoding import decode_module
from firmware_mgr.package.head import PackageHeader, parse_header, verify_contents
from firmware_mgr.package.layout import HEADER_SIZE
from firmware_mgr.package.trust import Trust

#: What is put into the store is made durable at least this often, so that a power cut costs no more.
CHECKPOINT_BYTES = 4 * 1024 * 1024
#: Pieces are fetched in runs of at most this many bytes.
_RUN_BYTES = 8 * PIECE_SIZE
#: Zeros over the start of what processes kept: no file system is found there any more.
_WIPED_BYTES = 1 << 20


class Blobs(Protocol):
    """Where bytes come from: the master's bulk server, or a twin."""

    def fetch(self, digest: Digest, start: int, length: int) -> Iterator[bytes]: ...


@dataclass(frozen=True, slots=True)
class _Package:
    ref: PackageRef
    header: PackageHeader
    head: bytes
    toc: TableOfContents
    modules: tuple[Module, ...]


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
    _boot_written: int = field(default=0, init=False)
    _package_written: int = field(default=0, init=False)
    _rewritten: set[int] = field(default_factory=set, init=False)

    @property
    def written(self) -> tuple[int, int]:
        """Bytes of boot image and of packages written so far, also when the burn has failed."""
        return self._boot_written, self._package_written

    def burn(self, order: m.Burn) -> Burned:
        """Raises PeerError for what must not be burned, DeviceError for flash that cannot take it."""
        started = self.clock()
        layout = self._check_image(order)
        packages = [self._fetch_head(ref, order.wanted.features) for ref in order.wanted.packages]
        self._prepare_flash(order.erase, save_image=order.save_image)
        target = self._burn_boot(order, layout) if order.save_image else None
        self._burn_packages(order, packages, target, layout)
        reboot = target is not None and target is not self.areas.in_use
        if target is None:
            self._leave_to_network()
        elif reboot:
            self._put_on_trial(target, order.trial_tries)
        return Burned(
            order.wanted.digest,
            self._boot_written,
            self._package_written,
            target,
            reboot,
            self.clock() - started,
        )

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

    def _fetch_head(self, ref: PackageRef, features: tuple[str, ...] | None) -> _Package:
        where = f"package {ref.name} {ref.version}"
        start = self._whole(ref.digest, 0, HEADER_SIZE)
        header = parse_header(start, where)
        if header.total_length != ref.length:
            raise PeerError(
                "package has another length", where=where, expected=ref.length, found=header.total_length
            )
        head = start + self._whole(ref.digest, HEADER_SIZE, header.head_length - HEADER_SIZE)
        trust = self.trust.held() if self._holds(ref.digest) else self.trust
        toc = verify_contents(header, head, trust, where)
        if (toc.name, toc.version) != (ref.name, ref.version):
            found = f"{toc.name} {toc.version}"
            raise PeerError(
                "package is another one", where=where, expected=f"{ref.name} {ref.version}", found=found
            )
        return _Package(ref, header, head, toc, select(toc, self.cpu, features=features))

    def _holds(self, digest: Digest) -> bool:
        """Whether our own records know the package: then it does not come from outside (SPEC-trust §6)."""
        store = self.areas.store
        return store is not None and digest in read_records(store.documents()).packages

    def _whole(self, digest: Digest, start: int, length: int) -> bytes:
        return b"".join(self.blobs.fetch(digest, start, length))

    # 2. The areas.

    def _prepare_flash(self, erase: bool, *, save_image: bool) -> None:
        areas = self.areas
        expected = expected_table(areas.device, areas.layout)
        anew = erase and areas.in_use is None
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
        write_table(areas.device, expected)
        areas.partitions, areas.table, areas.foreign = expected, m.AreaState.GOOD, False
        areas.open_stores()
        if areas.store is None:
            areas.store = Store.format(areas.window("store"), store_id=os.urandom(16))
            areas.store_state = m.AreaState.GOOD
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

    # 3. and 4. The boot image.

    def _burn_boot(self, order: m.Burn, layout: BootImageLayout) -> Letter:
        target, missing = self._choose(layout)
        if missing:
            self._take_out_of_use(target)
            self._write_pieces(target, layout, missing)
        self.areas.boot.sync(target)
        found = self.areas.boot.verify(target, layout)
        if found != layout.digest:
            raise DeviceError(
                "boot image reads back differently",
                where=target.partition,
                expected=layout.digest.short,
                found=found.short,
            )
        return target

    def _choose(self, layout: BootImageLayout) -> tuple[Letter, list[int]]:
        """The partition to hold the image, and which of its pieces are missing there."""
        areas, boot = self.areas, self.areas.boot
        lacks = {letter: self._lacking(letter, layout) for letter in Letter}
        if areas.in_use is not None:
            target = areas.in_use if not lacks[areas.in_use] else areas.in_use.other
            return target, lacks[target]
        recorded = read_records(self._store.documents()).boot
        control = read_control(areas.window("control")).record

        def preference(letter: Letter) -> tuple[bool, bool, bool, int]:
            """Least first: holds it already; is no way back to another image; uncommitted; lacks little."""
            other = letter in recorded and recorded[letter].ref.digest != layout.digest
            way_back = other and not boot.missing_pieces(letter, recorded[letter].layout)
            committed = control is not None and control.boot is Target.of(letter)
            return bool(lacks[letter]), way_back, way_back and committed, len(lacks[letter])

        target = min(Letter, key=preference)
        return target, lacks[target]

    def _lacking(self, letter: Letter, layout: BootImageLayout) -> list[int]:
        """The pieces that flash does not hold, or whose write was cut: these may read right just once."""
        doubtful = pieces_in_doubt(self._store.documents(), letter)
        missing = {*self.areas.boot.missing_pieces(letter, layout), *doubtful}
        return sorted(missing & set(range(len(layout.pieces))))

    def _take_out_of_use(self, target: Letter) -> None:
        """No loader shall start the partition, and no record shall vouch for it, while it is written."""
        window = self.areas.window("control")
        state = read_control(window)
        self.areas.set_control(fall_back(state.record or NOTHING_COMMITTED, target))
        self._store.commit({boot_name(target): None})

    def _write_pieces(self, target: Letter, layout: BootImageLayout, missing: list[int]) -> None:
        boot, total = self.areas.boot, sum(layout.span(index)[1] for index in missing)
        done = 0
        local = self._local_pieces(target, layout)
        for run in _runs(missing, local):
            if run[0] in local:
                source = b"".join(self._read_piece(target.other, layout, index) for index in run)
            else:
                start, _ = layout.span(run[0])
                end = sum(layout.span(run[-1]))
                source = self._whole(layout.digest, start, end - start)
            base, _ = layout.span(run[0])
            self._note_writing(target, run)
            for index in run:
                offset, length = layout.span(index)
                boot.write_piece(target, layout, index, source[offset - base : offset - base + length])
                self._boot_written += length
                done += length
            boot.sync(target)
            self.report("boot image", done, total, self._boot_written)

    def _note_writing(self, target: Letter, run: list[int]) -> None:
        """Of earlier ones that were cut, those that are still to be written stay noted."""
        earlier = pieces_in_doubt(self._store.documents(), target)
        name, value = writing_document(target, {*run, *(earlier - self._rewritten)})
        self._store.commit({name: value})
        self._rewritten.update(run)

    def _local_pieces(self, target: Letter, layout: BootImageLayout) -> set[int]:
        """Pieces that the other partition holds: these need not travel."""
        bad = set(self._lacking(target.other, layout))
        return {index for index in range(len(layout.pieces)) if index not in bad}

    def _read_piece(self, letter: Letter, layout: BootImageLayout, index: int) -> bytes:
        offset, length = layout.span(index)
        return self.areas.window(letter.partition).read(offset, length)

    # 5. Packages and records.

    def _burn_packages(
        self, order: m.Burn, packages: list[_Package], target: Letter | None, layout: BootImageLayout
    ) -> None:
        store = self._store
        bad = store.bad_blobs()
        store.forget(bad)
        wanted = [(package, module) for package in packages for module in content_modules(package.modules)]
        # One content may stand under several paths, and in several packages: it is fetched once.
        lacking = {
            module.sha256: (package, module)
            for package, module in reversed(wanted)
            if not store.has(module.sha256)
        }
        self._check_room(packages, list(lacking.values()))
        total = sum(module.length for _, module in lacking.values())
        done = since_checkpoint = 0
        for package in packages:
            for module in self._put_modules(
                package, [module for owner, module in lacking.values() if owner is package]
            ):
                self._package_written += module.length
                since_checkpoint += module.length
                done += module.length
                if since_checkpoint >= CHECKPOINT_BYTES:
                    store.checkpoint()
                    since_checkpoint = 0
                self.report("packages", done, total, self._boot_written + self._package_written)
        documents: dict[str, bytes | None] = {}
        for package in packages:
            head = Digest.of(package.head)
            if not store.has(head):
                store.put(head, len(package.head), [package.head])
                self._package_written += len(package.head)
            name, value = package_document(PackageEntry(package.ref, head))
            documents[name] = value
        self._commit(order, documents, target, layout)

    def _put_modules(self, package: _Package, modules: list[Module]) -> Iterator[Module]:
        """Store them, and say each that is stored. Neighbours travel together."""
        where = f"package {package.ref.name} {package.ref.version}"
        start = package.header.content_offset
        for run in runs(modules):
            span = place(run)
            fetched: Iterator[bytes] = iter(())
            if span:
                fetched = self.blobs.fetch(package.ref.digest, start + span.start, len(span))
            dealer = Dealer(fetched)
            for module in run:
                content = decode_module(module, dealer.deal(module.stored_length), where)
                if module.streamed:
                    # Format 1 has one hash for the whole: nothing that does not have it reaches flash.
                    content = iter([b"".join(content)])
                self._store.put(module.sha256, module.length, content)
                yield module

    def _check_room(self, packages: list[_Package], lacking: list[tuple[_Package, Module]]) -> None:
        unique = {module.sha256: module.length for _, module in lacking}
        needed = sum(-(-length // 4096) * 4096 for length in unique.values())
        needed += sum(-(-len(package.head) // 4096) * 4096 for package in packages)
        self._drop_unneeded(packages, needed)
        free = self._store.space().free
        if needed > free:
            raise DeviceError(
                "the set does not fit in the store",
                where="store",
                expected=f"{needed} bytes free",
                found=f"{free} bytes free",
                hint="a smaller set, or a larger store in the board file",
            )

    def _drop_unneeded(self, packages: list[_Package], needed: int) -> None:
        """Only when room is short: what neither the wanted nor the validated set needs."""
        if needed <= self._store.space().largest:
            return
        keep = self._needed_blobs(packages)
        self._store.commit({}, keep=[digest for digest in keep if self._store.has(digest)])

    def _needed_blobs(self, packages: list[_Package]) -> set[Digest]:
        keep = {Digest.of(package.head) for package in packages}
        keep |= {module.sha256 for package in packages for module in content_modules(package.modules)}
        return keep | (needed_blobs(self._store, self.trust, self.cpu) or set(self._store.blobs()))

    def _commit(
        self,
        order: m.Burn,
        documents: dict[str, bytes | None],
        target: Letter | None,
        layout: BootImageLayout,
    ) -> None:
        name, value = set_document(order.wanted)
        documents[name] = value
        documents[STORED] = order.wanted.digest.hex.encode()
        if target is not None:
            name, value = boot_document(target, BootEntry(order.wanted.boot_image, layout))
            documents[name] = value
            documents[writing_name(target)] = None
        kept = {STORED, VALIDATED, *documents}
        records = read_records(self._store.documents())
        wanted_packages = {ref.digest for ref in order.wanted.packages}
        validated = records.sets.get(records.validated) if records.validated else None
        if validated is not None:
            kept.add(set_document(validated)[0])
            wanted_packages |= {ref.digest for ref in validated.packages}
        for digest, entry in records.packages.items():
            if digest in wanted_packages:
                kept.add(package_document(entry)[0])
        for old in self._store.documents():
            if old.startswith(("set/", "package/")) and old not in kept:
                documents[old] = None
        self._store.commit(documents)

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


def _runs(indices: list[int], local: set[int]) -> Iterator[list[int]]:
    """Neighbouring pieces of one kind, local or not, up to _RUN_BYTES: one request each."""
    run: list[int] = []
    for index in indices:
        broken = run and (index != run[-1] + 1 or (index in local) is not (run[0] in local))
        if broken or len(run) * PIECE_SIZE >= _RUN_BYTES:
            yield run
            run = []
        run.append(index)
    if run:
        yield run
