"""What a card finds when it reads back its flash: the report of its hello. Reads everything, writes nothing.

Knows how to judge each area by its own records and signatures; what follows from it is the master's verdict.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from firmware_mgr.card.areas import Areas
from firmware_mgr.card.records import EMPTY, PackageEntry, Records, read_records
from firmware_mgr.card.stand_ins import Tables, as_stored, read_stand_ins, standing
from firmware_mgr.flash.control import ControlState, read_control
from firmware_mgr.flash.letter import Letter
from firmware_mgr.flash.store import Store
from firmware_mgr.link.messages import (
    RECORD_ALONE,
    AreaState,
    BootPartitionReport,
    ControlReport,
    FlashReport,
    PackageReport,
)
from firmware_mgr.model.errors import FwmgrError
from firmware_mgr.model.ids import CpuArch, Digest
from firmware_mgr.model.software import SoftwareSet
from firmware_mgr.package.contents import WITHOUT_CONTENT, Module, TableOfContents, processes_of, select
from firmware_mgr.package.head import parse_header, verify_contents
from firmware_mgr.package.layout import HEADER_SIZE
from firmware_mgr.package.process import ProcessSpec
from firmware_mgr.package.trust import Trust

#: Called with what is being read back.
Step = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class StoredPackage:
    """A stored package with its table, signed by a key we trust; `bad` modules are missing or damaged.

    `modules` and `processes` are those that this card gets, by the features of the first kept set that has
    the package: the stored one before the validated one. A module for which other content stands in has the
    hash and the length of that; `standing` has all such, by the exact hash of what is wanted.
    """

    entry: PackageEntry
    toc: TableOfContents
    modules: tuple[Module, ...]
    bad: tuple[Module, ...]
    processes: tuple[ProcessSpec, ...]
    features: tuple[str, ...] | None = None
    bad_blobs: frozenset[Digest] = frozenset()  # of the whole store
    standing: Mapping[Digest, Module] = field(default_factory=dict)

    def of_set(self, software: SoftwareSet, store: Store, cpu: CpuArch) -> StoredPackage:
        """The same package as that set has it."""
        if software.features == self.features:
            return self
        modules = as_stored(select(self.toc, cpu, features=software.features), self.standing)
        bad = _bad(modules, self.bad_blobs, store)
        processes = processes_of(self.toc, modules, cpu)
        return replace(self, modules=modules, bad=bad, processes=processes, features=software.features)


@dataclass(frozen=True, slots=True)
class Inspection:
    report: FlashReport
    records: Records
    packages: dict[Digest, StoredPackage]
    control: ControlState | None

    def believes(self, areas: Areas) -> SoftwareSet | None:
        """The recorded set that goes with the boot image that runs; the stored one when we were netbooted."""
        records = self.records
        candidates = [records.sets[d] for d in (records.stored, records.validated) if d is not None]
        in_use = areas.in_use
        if in_use is not None and in_use in records.boot:
            running = records.boot[in_use].ref.digest
            candidates = [known for known in candidates if known.boot_image.digest == running]
        return candidates[0] if candidates else None


def content_modules(modules: tuple[Module, ...]) -> tuple[Module, ...]:
    """Those that have bytes of their own in the store."""
    return tuple(module for module in modules if module.kind not in WITHOUT_CONTENT)


def inspect(areas: Areas, trust: Trust, cpu: CpuArch, step: Step = lambda _: None) -> Inspection:
    """Read back control, both boot partitions, and every module of the store."""
    if areas.partitions is None:
        unknown = BootPartitionReport(AreaState.EMPTY)
        control = ControlReport(AreaState.EMPTY, AreaState.EMPTY, why=areas.words.why)
        report = FlashReport(areas.table, control, unknown, unknown, AreaState.EMPTY)
        return Inspection(report, EMPTY, {}, None)
    store = areas.store
    records = read_records(store.documents()) if store is not None else EMPTY
    step("control")
    control_state = read_control(areas.window("control"))
    step("boot partitions")
    boot_a, boot_b = (_boot_report(areas, records, letter) for letter in Letter)
    step("store")
    packages = _packages(areas, records, trust.held(), cpu)
    space, kept = None if store is None else store.space(), records.kept_packages
    report = FlashReport(
        areas.table,
        control_report(areas),
        boot_a,
        boot_b,
        areas.store_state,
        tuple(
            _package_report(entry, packages.get(digest), kept=digest in kept)
            for digest, entry in sorted(records.packages.items())
        ),
        0 if space is None else space.total,
        0 if space is None else space.free,
    )
    return Inspection(report, records, packages, control_state)


def control_report(areas: Areas) -> ControlReport:
    """Control as it stands now."""
    state = read_control(areas.window("control"))
    copies = [AreaState.BAD if copy.record is None else AreaState.GOOD for copy in state.copies]
    record = state.effective
    return ControlReport(
        copies[0],
        copies[1],
        record.boot.value,
        "-" if record.trial is None else record.trial.value,
        record.left_a,
        record.left_b,
        areas.words.why,
        areas.words.failed,
    )


def _boot_report(areas: Areas, records: Records, letter: Letter) -> BootPartitionReport:
    entry = records.boot.get(letter)
    if entry is None:
        return BootPartitionReport(AreaState.EMPTY)
    try:
        bad = len(areas.boot.missing_pieces(letter, entry.layout))
    except FwmgrError:
        bad = len(entry.layout.pieces)
    state = AreaState.BAD if bad else AreaState.GOOD
    return BootPartitionReport(state, entry.ref.digest, entry.ref.version, bad)


def _packages(areas: Areas, records: Records, trust: Trust, cpu: CpuArch) -> dict[Digest, StoredPackage]:
    store = areas.store
    if store is None:
        return {}
    bad_blobs = frozenset(store.bad_blobs())
    documents, tables = store.documents(), Tables(store, trust)
    found: dict[Digest, StoredPackage] = {}
    for digest, entry in records.kept_packages.items():
        features = _features(digest, records)
        try:
            head = store.read(entry.head)
            toc = verify_contents(
                parse_header(head[:HEADER_SIZE]), head, trust, f"stored package {entry.ref.name}"
            )
            chosen = select(toc, cpu, features=features)
        except FwmgrError:
            continue
        recorded = read_stand_ins(documents, digest)
        stand = standing(toc, recorded, tables, lambda one: store.has(one) and one not in bad_blobs)
        modules = as_stored(chosen, stand)
        bad, processes = _bad(modules, bad_blobs, store), processes_of(toc, modules, cpu)
        found[digest] = StoredPackage(entry, toc, modules, bad, processes, features, bad_blobs, stand)
    return found


def _bad(modules: tuple[Module, ...], bad_blobs: frozenset[Digest], store: Store) -> tuple[Module, ...]:
    return tuple(
        module
        for module in content_modules(modules)
        if module.sha256 in bad_blobs or not store.has(module.sha256)
    )


def _features(package: Digest, records: Records) -> tuple[str, ...] | None:
    for software in records.kept_sets.values():
        if any(ref.digest == package for ref in software.packages):
            return software.features
    return None


def _package_report(entry: PackageEntry, stored: StoredPackage | None, *, kept: bool) -> PackageReport:
    ref = entry.ref
    if not kept:
        return PackageReport(ref.name, ref.version, ref.digest, *RECORD_ALONE)
    if stored is None:
        return PackageReport(ref.name, ref.version, ref.digest, 1, 1)
    return PackageReport(
        ref.name, ref.version, ref.digest, len(content_modules(stored.modules)), len(stored.bad)
    )
