"""Reads boot images and packages that are to come into the catalogue: checked whole first, then kept.

The record is written by whoever asked, in turn with everything else (`arrivals`): a blob without a record is
nothing but bytes to collect. Reading a boot image's folder is handed in.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from firmware_mgr.link.messages import BootPieces
from firmware_mgr.master.believed import signed_package, warnings_by
from firmware_mgr.master.blobs import BlobStore
from firmware_mgr.master.catalogue import Catalogue
from firmware_mgr.master.documents import PACKAGES, ImageRecord, PackageRecord, StoredFile
from firmware_mgr.master.likeness import is_alike
from firmware_mgr.master.plan import age
from firmware_mgr.model.errors import FwmgrError, UsageError
from firmware_mgr.model.ids import NEUTRAL_CPU, Digest
from firmware_mgr.model.software import BootImageRef
from firmware_mgr.package.contents import TableOfContents
from firmware_mgr.package.head import signed_contents
from firmware_mgr.package.keyring import Keyring
from firmware_mgr.package.reader import PackageFile
from firmware_mgr.package.root import Root
from firmware_mgr.package.root_trust import RootTrust
from firmware_mgr.package.trust import Trust


@dataclass(frozen=True, slots=True)
class ReadImage:
    """A boot image as read from its folder; `files` maps what netboot serves to path, digest, length."""

    ref: BootImageRef
    partition: Path
    pieces: BootPieces
    files: Mapping[str, tuple[Path, Digest, int]]
    authority: Digest | None = None
    keys: tuple[Digest, ...] | None = None
    root: Root | None = None
    takes_test: bool = False


@dataclass(frozen=True, slots=True)
class Site:
    """Whose images belong here: the authority's fingerprint, and the folder with what images are to carry."""

    authority: Digest
    trust: Path


ReadFolder = Callable[[Path], ReadImage]


class News(Enum):
    """What became of something that came (docs/COMPOSITES.md, "Equal signatures")."""

    ADDED = "added"
    KNOWN = "there already"
    BUILT_AGAIN = "built again"  # the stored one stays the current one
    SAME_FILES = "same files"  # as another version

    @property
    def is_new(self) -> bool:
        return self in (News.ADDED, News.SAME_FILES)


@dataclass(frozen=True, slots=True)
class TakenPackage:
    """`record` is the stored one when nothing is new; `same_as` the version that has the same files."""

    record: PackageRecord
    news: News
    same_as: str = ""


class Intake:
    def __init__(
        self,
        catalogue: Catalogue,
        blobs: BlobStore,
        trust: Callable[[], Trust],
        read_folder: ReadFolder,
        clock: Callable[[], float],
        *,
        site: Site,
    ) -> None:
        self._site = site
        self._catalogue = catalogue
        self._blobs = blobs
        self._trust = trust
        self._read_folder = read_folder
        self._clock = clock

    async def read_image(self, folder: Path) -> ImageRecord:
        """The record, still to be written. Raises UsageError or PeerError with what is wrong."""
        return await asyncio.to_thread(self.take_image, folder, str(folder), self._clock())

    def take_image(self, folder: Path, where: str, now: float) -> ImageRecord:
        """Check a boot image's folder and keep its bytes. `where` is what users call it. Blocks."""
        read = self._read_folder(folder)
        self._check_site(read, where)
        self._blobs.add(read.partition, read.ref.digest)
        for path, digest, _ in read.files.values():
            self._blobs.add(path, digest)
        ref = read.ref
        files = tuple(
            StoredFile(name, digest, length) for name, (_, digest, length) in sorted(read.files.items())
        )
        return ImageRecord(
            ref.board,
            ref.version,
            ref.digest,
            ref.length,
            read.pieces,
            files,
            now,
            read.authority,
            read.keys,
            None if read.root is None else read.root.document(),
            read.takes_test,
        )

    def _check_site(self, read: ReadImage, where: str) -> None:
        if read.authority not in (None, self._site.authority):
            raise UsageError(
                "boot image was built for another site: its cards would believe another master",
                where=f"{where}, boot image {read.ref.version}",
                expected=f"authority {self._site.authority.short}",
                found=f"authority {read.authority.short}" if read.authority else None,
                hint=self._build_again(read.ref.board),
            )

    def _build_again(self, board: str) -> str:
        return f"build it again: fwmgr image build --board {board} --trust {self._site.trust} --out DIR"

    def warnings(self, image: ImageRecord) -> list[str]:
        """What a user should know of an image that was added."""
        name, again = f"boot image {image.version}", self._build_again(image.board)
        if image.keys is None:
            return [f"{name} does not say for which site it was built: an older fwmgr made it; {again}"]
        trust = self._trust()
        if isinstance(trust, RootTrust):
            return _older_root(image, trust.root, name, again)
        believed = {key.hex for key in image.keys}
        missing = sorted(key for key in _flat_keys(trust) if key not in believed)
        names = ", ".join(key[:12] for key in missing)
        return [f"{name} does not trust key {names}, which this master does; {again}"] if missing else []

    def package_warnings(self, packages: Sequence[PackageRecord]) -> list[list[str]]:
        """What a user should know of each package, by the site's trust of today."""
        return [warnings_by(self._trust, [package]) for package in packages]

    async def read_package(self, file: Path) -> TakenPackage:
        """Raises UsageError, PackageFormatError or PackageRefused. A new record is still to be written."""
        stored = await self.stored_packages()
        return await asyncio.to_thread(self.take_package, file, str(file), stored, self._clock())

    async def stored_packages(self) -> list[PackageRecord]:
        """All that the catalogue has."""
        listing = await self._catalogue.list(PACKAGES)
        return [PackageRecord.from_document(document.value, document.key) for document in listing]

    def take_package(
        self, file: Path, where: str, stored: Sequence[PackageRecord], now: float
    ) -> TakenPackage:
        """Check a package and keep its bytes when it is new. `where` is what users call it. Blocks."""
        trust = self._trust()
        record, table = self._check_package(file, where, trust, now)
        known = next((one for one in stored if one.key == record.key), None)
        if known is not None:
            self._blobs.add(file, record.digest)  # which mends damaged bytes
            return TakenPackage(known, News.KNOWN)
        trust.check_package(signed_package(record), record.signed_by, where)  # it comes from outside
        named = sorted((one for one in stored if one.name == record.name), key=age, reverse=True)
        same = [one for one in named if one.version == record.version]
        for one in same:
            if self._is_alike(one, record, table, trust):
                return TakenPackage(one, News.BUILT_AGAIN)
        self._blobs.add(file, record.digest)
        if not same and named and self._is_alike(named[0], record, table, trust):
            return TakenPackage(record, News.SAME_FILES, named[0].version)
        return TakenPackage(record, News.ADDED)

    def _is_alike(
        self, stored: PackageRecord, record: PackageRecord, table: TableOfContents, trust: Trust
    ) -> bool:
        """Whether the new one is nothing else than a stored one that may stay as it is."""
        if (stored.cpus, stored.format) != (record.cpus, record.format):
            return False
        if (stored.is_test, stored.signed_by) != (record.is_test, record.signed_by):
            return False  # who signs anew has a reason, such as a key that is to be revoked
        try:
            trust.held().check_package(signed_package(stored), stored.signed_by, stored.name)
            with PackageFile.open_to_show(self._blobs.path(stored.digest)) as package:
                return is_alike(package.toc, table)
        except FwmgrError:
            return False  # it is not accepted any more, or its bytes are damaged

    def _check_package(
        self, file: Path, where: str, trust: Trust, now: float
    ) -> tuple[PackageRecord, TableOfContents]:
        with PackageFile.open(file, trust.held()) as package:
            package.check_content()
            ref = package.reference()
            toc, version = package.toc, package.header.version
            signed_by = sorted(signature.key for signature in package.signatures)
            cpus = sorted({module.cpu.value for module in toc.modules if module.cpu is not None}) or [
                NEUTRAL_CPU
            ]
        said = signed_contents(package.header, toc)
        role = trust.held().check_package(said, signed_by, where)
        contents = {
            "modules": len(toc.modules),
            "processes": [process.name for process in toc.processes],
            "build_date": toc.build_date,
            "signed_at": said.signed_at,
            "signed_by": signed_by,
            "role": role.value,
        }
        record = PackageRecord(
            ref.name, ref.version, ref.digest, ref.length, tuple(cpus), now, contents, version
        )
        return record, toc


def _flat_keys(trust: Trust) -> list[str]:
    return sorted(trust.keys) if isinstance(trust, Keyring) else []


def _older_root(image: ImageRecord, site: Root, name: str, again: str) -> list[str]:
    if image.root is None:
        return [f"{name} carries no root of trust, this site's is version {site.version}; {again}"]
    version = Root.from_document(image.root, name).version
    if version < site.version:
        said = f"{name} carries root of trust version {version}, this site's is version {site.version}"
        return [f"{said}: what was revoked since is still believed by its cards; {again}"]
    return []
