"""The packages of a burn: heads judged before anything is written, then the modules that flash does not hold.

Knows how little has to travel and be written. The documents that make them a set are for `burn` to commit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from firmware_mgr.card.areas import Areas
from firmware_mgr.card.blobs import Blobs, whole
from firmware_mgr.card.commit import needed_blobs
from firmware_mgr.card.inspection import content_modules
from firmware_mgr.card.module_runs import Dealer, place, runs
from firmware_mgr.card.records import PackageEntry, package_document, read_records
from firmware_mgr.flash.store import Store
from firmware_mgr.model.errors import DeviceError, PeerError
from firmware_mgr.model.ids import CpuArch, Digest
from firmware_mgr.model.software import PackageRef
from firmware_mgr.package.contents import Module, TableOfContents, select
from firmware_mgr.package.decoding import decode_module
from firmware_mgr.package.head import PackageHeader, parse_header, verify_contents
from firmware_mgr.package.layout import HEADER_SIZE
from firmware_mgr.package.trust import Trust

#: What is put into the store is made durable at least this often, so that a power cut costs no more.
CHECKPOINT_BYTES = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Package:
    """An ordered package whose head was judged; `modules` are those that this card gets."""

    ref: PackageRef
    header: PackageHeader
    head: bytes
    toc: TableOfContents
    modules: tuple[Module, ...]


@dataclass
class PackageBurner:
    """`report` is called with bytes done and in all; `written` counts bytes that went into flash."""

    areas: Areas
    blobs: Blobs
    trust: Trust
    cpu: CpuArch
    report: Callable[[str, int, int], None]
    written: int = field(default=0, init=False)

    @property
    def store(self) -> Store:
        assert self.areas.store is not None
        return self.areas.store

    def fetch_head(self, ref: PackageRef, features: tuple[str, ...] | None) -> Package:
        """The package as its signed head describes it. Raises PeerError when it must not be burned."""
        where = f"package {ref.name} {ref.version}"
        start = whole(self.blobs, ref.digest, 0, HEADER_SIZE)
        header = parse_header(start, where)
        if header.total_length != ref.length:
            raise PeerError(
                "package has another length", where=where, expected=ref.length, found=header.total_length
            )
        head = start + whole(self.blobs, ref.digest, HEADER_SIZE, header.head_length - HEADER_SIZE)
        trust = self.trust.held() if self._holds(ref.digest, head) else self.trust
        toc = verify_contents(header, head, trust, where)
        if (toc.name, toc.version) != (ref.name, ref.version):
            found = f"{toc.name} {toc.version}"
            raise PeerError(
                "package is another one", where=where, expected=f"{ref.name} {ref.version}", found=found
            )
        return Package(ref, header, head, toc, select(toc, self.cpu, features=features))

    def _holds(self, digest: Digest, head: bytes) -> bool:
        """Whether our own records know this very head: then it does not come from outside (SPEC-trust §6).

        The digest alone is the master's word: what it sends for it need not be what was stored under it.
        """
        store = self.areas.store
        if store is None:
            return False
        entry = read_records(store.documents()).packages.get(digest)
        return entry is not None and entry.head == Digest.of(head)

    def write(self, packages: list[Package]) -> dict[str, bytes | None]:
        """Store what is lacking; the documents to record the packages by."""
        store = self.store
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
                self.written += module.length
                since_checkpoint += module.length
                done += module.length
                if since_checkpoint >= CHECKPOINT_BYTES:
                    store.checkpoint()
                    since_checkpoint = 0
                self.report("packages", done, total)
        documents: dict[str, bytes | None] = {}
        for package in packages:
            head = Digest.of(package.head)
            if not store.has(head):
                store.put(head, len(package.head), [package.head])
                self.written += len(package.head)
            name, value = package_document(PackageEntry(package.ref, head))
            documents[name] = value
        return documents

    def _put_modules(self, package: Package, modules: list[Module]) -> Iterator[Module]:
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
                self.store.put(module.sha256, module.length, content)
                yield module

    def _check_room(self, packages: list[Package], lacking: list[tuple[Package, Module]]) -> None:
        unique = {module.sha256: module.length for _, module in lacking}
        needed = sum(-(-length // 4096) * 4096 for length in unique.values())
        needed += sum(-(-len(package.head) // 4096) * 4096 for package in packages)
        self._drop_unneeded(packages, needed)
        free = self.store.space().free
        if needed > free:
            raise DeviceError(
                "the set does not fit in the store",
                where="store",
                expected=f"{needed} bytes free",
                found=f"{free} bytes free",
                hint="a smaller set, or a larger store in the board file",
            )

    def _drop_unneeded(self, packages: list[Package], needed: int) -> None:
        """Only when room is short: what neither the wanted nor the validated set needs."""
        if needed <= self.store.space().largest:
            return
        keep = self._needed_blobs(packages)
        self.store.commit({}, keep=[digest for digest in keep if self.store.has(digest)])

    def _needed_blobs(self, packages: list[Package]) -> set[Digest]:
        keep = {Digest.of(package.head) for package in packages}
        keep |= {module.sha256 for package in packages for module in content_modules(package.modules)}
        return keep | (needed_blobs(self.store, self.trust, self.cpu) or set(self.store.blobs()))
