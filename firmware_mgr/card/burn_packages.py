"""The packages of a burn: heads judged before anything is written, then the modules that flash does not hold.

Knows how little has to travel and be written, and whether the store has room for it. The documents that make
them a set are for `burn` to commit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from firmware_mgr.card.areas import Areas
from firmware_mgr.card.blobs import Blobs, whole
from firmware_mgr.card.commit import needed_blobs
from firmware_mgr.card.inspection import content_modules
from firmware_mgr.card.module_runs import Dealer, place, runs
from firmware_mgr.card.records import PackageEntry, package_document, read_records
from firmware_mgr.card.stand_ins import (
    StandIns,
    Tables,
    all_stand_ins,
    find,
    read_stand_ins,
    stand_in_document,
    stand_in_name,
)
from firmware_mgr.flash.device import FlashDevice
from firmware_mgr.flash.errors import NoSpace
from firmware_mgr.flash.store import Store
from firmware_mgr.model.errors import DeviceError, PeerError
from firmware_mgr.model.ids import CpuArch, Digest
from firmware_mgr.model.software import PackageRef
from firmware_mgr.package.contents import Module, TableOfContents, select
from firmware_mgr.package.decoding import decode_module
from firmware_mgr.package.head import PackageHeader, parse_header, verify_contents
from firmware_mgr.package.layout import FORMAT_VERSION, HEADER_SIZE
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


@dataclass(frozen=True, slots=True)
class Work:
    """By package the modules that flash lacks, in the order of storing, and in runs that travel together.

    `stand_ins` are for modules that it lacks too, and that need not come, by package.
    """

    lacking: tuple[tuple[Package, tuple[tuple[Module, ...], ...]], ...]
    stand_ins: Mapping[Digest, StandIns]

    @property
    def packages(self) -> list[Package]:
        return [package for package, _ in self.lacking]

    @property
    def modules(self) -> list[Module]:
        return [module for _, of_package in self.lacking for run in of_package for module in run]

    def documents(self) -> dict[str, bytes | None]:
        """The records of the packages."""
        entries = [PackageEntry(package.ref, Digest.of(package.head)) for package in self.packages]
        stay = {stand_in_name(package): stand_in_document(of) for package, of in self.stand_ins.items()}
        return {**dict(package_document(entry) for entry in entries), **stay}


def all_of(packages: list[Package]) -> Work:
    """What a store that holds nothing lacks."""
    return _work(packages, lambda _: False, {package.ref.digest: {} for package in packages})


def check_new_store(device: FlashDevice, work: Work, *commits: Mapping[str, bytes | None]) -> None:
    """Raise DeviceError unless a store made there anew can take the work and these commits after it."""
    with _refused():
        Store.check_room_when_new(device, _lengths(work, lambda _: False), *commits)


def _work(
    packages: list[Package], has: Callable[[Digest], bool], stand_ins: Mapping[Digest, StandIns]
) -> Work:
    wanted = [(package, module) for package in packages for module in content_modules(package.modules)]
    # One content may stand under several paths, and in several packages: it is fetched once.
    lacking = {
        module.sha256: (package, module)
        for package, module in reversed(wanted)
        if not has(module.sha256) and module.sha256 not in stand_ins[package.ref.digest]
    }
    found = []
    for package in packages:
        modules = runs(module for owner, module in lacking.values() if owner is package)
        found.append((package, tuple(tuple(run) for run in modules)))
    return Work(tuple(found), stand_ins)


def _lengths(work: Work, has: Callable[[Digest], bool]) -> list[int]:
    """Of the blobs to come, in their order."""
    heads = [package.head for package in work.packages if not has(Digest.of(package.head))]
    return [*(module.length for module in work.modules), *map(len, heads)]


@contextmanager
def _refused() -> Iterator[None]:
    try:
        yield
    except NoSpace as e:
        raise DeviceError(
            "the set does not fit in the store",
            where="store",
            expected=f"{e.needed} bytes free",
            found=f"{e.what}: {e.found}",
            hint="a smaller set, fewer modules, or a larger store in the board file",
        ) from e


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

    def plan(self, packages: list[Package]) -> Work:
        """What of the packages flash does not hold. Reads all of the store, and forgets what is bad there."""
        store = self.store
        store.forget(store.bad_blobs())
        return _work(
            packages, store.has, {package.ref.digest: self._stand_ins(package) for package in packages}
        )

    def _stand_ins(self, package: Package) -> StandIns:
        """For modules of the package that the store lacks; what it holds is right.

        What is recorded of modules that this order does not ask for stays: another set may.
        """
        store, documents = self.store, self.store.documents()
        recorded = read_stand_ins(documents, package.ref.digest)
        asked = {module.sha256: module for module in content_modules(package.modules)}
        others = {
            wanted: one
            for wanted, one in recorded.items()
            if wanted not in asked and store.has(one.content) and store.has(one.table)
        }
        lacking = [module for digest, module in asked.items() if not store.has(digest)]
        if package.toc.format != FORMAT_VERSION or not lacking:
            return others
        heads = [entry.head for entry in read_records(documents).packages.values()]
        heads += [one.table for of in all_stand_ins(documents) for one in of.values()]
        tables = Tables(store, self.trust.held())
        return {**others, **find(lacking, list(dict.fromkeys(heads)), tables, store.has)}

    def make_room(self, work: Work, *commits: Mapping[str, bytes | None]) -> None:
        """Raise DeviceError unless the store can take the work and these commits after it.

        What neither the wanted set nor one that may be run needs leaves the store, only when room is short.
        """
        lengths = _lengths(work, self.store.has)
        try:
            self.store.check_room(lengths, *commits)
            return
        except NoSpace:
            keep = self._needed_blobs(work.packages, work.stand_ins.values())
            self.store.commit({}, keep=[digest for digest in keep if self.store.has(digest)])
        with _refused():
            self.store.check_room(lengths, *commits)

    def write(self, work: Work) -> None:
        """Store what is lacking."""
        store = self.store
        total = sum(module.length for module in work.modules)
        done = since_checkpoint = 0
        for package, modules in work.lacking:
            for module in self._put_modules(package, modules):
                self.written += module.length
                since_checkpoint += module.length
                done += module.length
                if since_checkpoint >= CHECKPOINT_BYTES:
                    store.checkpoint()
                    since_checkpoint = 0
                self.report("packages", done, total)
        for package in work.packages:
            head = Digest.of(package.head)
            if not store.has(head):
                store.put(head, len(package.head), [package.head])
                self.written += len(package.head)

    def _put_modules(self, package: Package, lacking: Sequence[Sequence[Module]]) -> Iterator[Module]:
        """Store them, and say each that is stored. Neighbours travel together."""
        where = f"package {package.ref.name} {package.ref.version}"
        start = package.header.content_offset
        for run in lacking:
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

    def _needed_blobs(self, packages: Sequence[Package], stand_ins: Iterable[StandIns]) -> set[Digest]:
        keep = {Digest.of(package.head) for package in packages}
        keep |= {module.sha256 for package in packages for module in content_modules(package.modules)}
        keep |= {digest for of in stand_ins for one in of.values() for digest in (one.content, one.table)}
        of_sets = needed_blobs(self.store, self.trust, self.cpu)
        return keep | (set(self.store.blobs()) if of_sets is None else of_sets)
