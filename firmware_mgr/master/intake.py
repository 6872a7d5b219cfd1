"""Adds boot images and packages to the catalogue: checked whole first, blobs next, the record last.

Knows how a thing becomes findable in one step: a blob without a record is nothing but bytes to collect.
Reading a boot image's folder is handed in.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from firmware_mgr.link.messages import BootPieces
from firmware_mgr.master.believed import signed_package, warnings_by
from firmware_mgr.master.blobs import BlobStore
from firmware_mgr.master.catalogue import Catalogue, Put
from firmware_mgr.master.documents import ImageRecord, PackageRecord, StoredFile
from firmware_mgr.model.errors import UsageError
from firmware_mgr.model.ids import NEUTRAL_CPU, Digest
from firmware_mgr.model.software import BootImageRef
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

    async def add_image(self, folder: Path) -> ImageRecord:
        """Raises UsageError or PeerError with what is wrong with the folder; nothing is added then."""
        read = await asyncio.to_thread(self._read_folder, folder)
        self._check_site(read, folder)
        await asyncio.to_thread(self._blobs.add, read.partition, read.ref.digest)
        for path, digest, _ in read.files.values():
            await asyncio.to_thread(self._blobs.add, path, digest)
        ref = read.ref
        files = tuple(
            StoredFile(name, digest, length) for name, (_, digest, length) in sorted(read.files.items())
        )
        record = ImageRecord(
            ref.board,
            ref.version,
            ref.digest,
            ref.length,
            read.pieces,
            files,
            self._clock(),
            read.authority,
            read.keys,
            None if read.root is None else read.root.document(),
            read.takes_test,
        )
        await self._catalogue.transact([], [Put(record.key, record.to_document())])
        return record

    def _check_site(self, read: ReadImage, folder: Path) -> None:
        if read.authority not in (None, self._site.authority):
            raise UsageError(
                "boot image was built for another site: its cards would believe another master",
                where=f"{folder}, boot image {read.ref.version}",
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

    async def add_package(self, file: Path) -> PackageRecord:
        """Raises UsageError, PackageFormatError or PackageRefused; nothing is added then."""
        trust = self._trust()
        record = await asyncio.to_thread(self._check_package, file, trust)
        known = await self._catalogue.get(record.key)
        if known is None:  # it comes from outside
            trust.check_package(signed_package(record), record.signed_by, str(file))
        await asyncio.to_thread(self._blobs.add, file, record.digest)
        if known is not None:
            return PackageRecord.from_document(known.value, known.key)
        await self._catalogue.transact([], [Put(record.key, record.to_document())])
        return record

    def _check_package(self, file: Path, trust: Trust) -> PackageRecord:
        with PackageFile.open(file, trust.held()) as package:
            package.check_content()
            ref = package.reference()
            toc, version = package.toc, package.header.version
            signed_by = sorted(signature.key for signature in package.signatures)
            cpus = sorted({module.cpu.value for module in toc.modules if module.cpu is not None}) or [
                NEUTRAL_CPU
            ]
        said = signed_contents(package.header, toc)
        role = trust.held().check_package(said, signed_by, str(file))
        contents = {
            "modules": len(toc.modules),
            "processes": [process.name for process in toc.processes],
            "build_date": toc.build_date,
            "signed_at": said.signed_at,
            "signed_by": signed_by,
            "role": role.value,
        }
        return PackageRecord(
            ref.name, ref.version, ref.digest, ref.length, tuple(cpus), self._clock(), contents, version
        )


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
