"""What the packages of the catalogue say of themselves, for the algebra of lists and dependencies.

Reads signed tables of contents out of blobs, each once, in a thread, and keeps them in memory by digest: a
blob was verified when it was added, and bears its digest as its name. A file that cannot be read is said in
the log once, and stands for a package of which nothing but name and version is known.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from firmware_mgr.master.blobs import BlobStore
from firmware_mgr.master.documents import PackageRecord
from firmware_mgr.model.dependency_check import Checker
from firmware_mgr.model.errors import FwmgrError, UsageError
from firmware_mgr.model.ids import Digest
from firmware_mgr.model.known_packages import KnownPackages
from firmware_mgr.model.package_facts import Dependency, ModuleFacts, PackageFacts, PackageRange
from firmware_mgr.model.package_list import PackageList, settle
from firmware_mgr.model.software import PackageRef
from firmware_mgr.model.versions import Constraint
from firmware_mgr.package import dependency, module
from firmware_mgr.package.contents import TableOfContents
from firmware_mgr.package.reader import PackageFile

log = logging.getLogger(__name__)

#: Stands among a module's features when a card that asks for none gets it: one of its groups is wanted
#: without being asked for (SPEC-package §4.2). No group has this name.
UNASKED = ""


@dataclass(frozen=True, slots=True)
class Tables:
    """The packages of the catalogue at one moment. `unreadable` says why, by digest."""

    packages: Mapping[Digest, PackageFacts] = field(default_factory=dict)
    unreadable: Mapping[Digest, str] = field(default_factory=dict)
    known: KnownPackages = field(default_factory=KnownPackages)
    checker: Checker = field(default_factory=lambda: Checker(KnownPackages()))

    def of(self, ref: PackageRef) -> PackageFacts:
        """Name and version alone when its file is not here, or cannot be read."""
        return self.packages.get(ref.digest) or PackageFacts(ref.name, ref.version, ref.digest)

    def has(self, ref: PackageRef) -> bool:
        return ref.digest in self.packages

    def settled(self, refs: tuple[PackageRef, ...], board: str) -> tuple[PackageRef, ...]:
        """In the nearest order that is right (SOFTWARE-SETS L6); as it is when there is none (L10)."""
        by_digest = {ref.digest: ref for ref in refs}
        try:
            change = settle(PackageList(tuple(map(self.of, refs)), board))
        except UsageError as e:
            log.warning("packages of board %s stay in the order in which they were added: %s", board, e)
            return refs
        return tuple(by_digest[package.digest] for package in change.packages.packages)


class PackageTables:
    """`now` is what was read last; `read` brings it up to a list of records."""

    def __init__(self, blobs: BlobStore) -> None:
        self._blobs = blobs
        self._reading = asyncio.Lock()
        self._records: Sequence[PackageRecord] | None = None
        self._said: set[Digest] = set()
        self.now = Tables()

    async def read(self, records: Sequence[PackageRecord]) -> Tables:
        """The tables of these and no other packages. Never raises: what cannot be read is in `unreadable`."""
        async with self._reading:
            if records is self._records:
                return self.now
            before, unreadable = self.now.packages, dict[Digest, str]()
            packages = {one.digest: before[one.digest] for one in records if one.digest in before}
            for record in records:
                if record.digest in packages:
                    continue
                found = await asyncio.to_thread(self._facts, record)
                if isinstance(found, PackageFacts):
                    packages[record.digest] = found
                    self._said.discard(record.digest)
                else:
                    unreadable[record.digest] = found
                    self._say(record, found)
            known = KnownPackages(packages.values())
            self.now = Tables(packages, unreadable, known, Checker(known))
            self._records = records
            return self.now

    async def add(self, records: Sequence[PackageRecord]) -> None:
        """Read these besides: their bytes are here, and the catalogue is to have them next."""
        await self.read([*(self._records or ()), *records])

    def _facts(self, record: PackageRecord) -> PackageFacts | str:
        """Or why not."""
        try:
            with PackageFile.open_to_show(self._blobs.path(record.digest)) as package:
                return facts_of(package.toc, record.digest)
        except (FwmgrError, OSError) as e:
            return str(e)

    def _say(self, record: PackageRecord, why: str) -> None:
        if record.digest not in self._said:
            self._said.add(record.digest)
            log.error("package %s %s cannot be read: %s", record.name, record.version, why)


def facts_of(toc: TableOfContents, digest: Digest) -> PackageFacts:
    """A package's table of contents, of either format, as the algebra takes it."""
    wanted = {group.name for group in toc.groups if group.wanted}
    return PackageFacts(
        toc.name,
        toc.version,
        digest,
        tuple(map(_dependency, toc.local_dependencies)),
        tuple(map(_dependency, toc.remote_dependencies)),
        tuple(map(_range, toc.upgrades)),
        tuple(_module(one, wanted) for one in toc.modules),
    )


def _range(one: dependency.Dependency) -> PackageRange:
    return PackageRange(one.name, Constraint(one.constraint))


def _dependency(one: dependency.Dependency) -> Dependency:
    return Dependency(_range(one), frozenset(one.boards))


def _module(one: module.Module, wanted: set[str]) -> ModuleFacts:
    unasked = {UNASKED} if not wanted.isdisjoint(one.groups) else set()
    return ModuleFacts(
        one.path,
        one.cpu,
        one.kind.value,
        one.mode,
        one.sha256,
        one.substantive,
        one.function,
        frozenset({*one.groups, *unasked}),
        one.provides,
        one.consumes,
    )
