"""Adds boot images and packages to the catalogue: checked whole first, blobs next, the record last.

Knows how a thing becomes findable in one step: a blob without a record is nothing but bytes to collect.
Reading a boot image's folder is handed in.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from firmware_mgr.link.messages import BootPieces
from firmware_mgr.master.blobs import BlobStore
from firmware_mgr.master.catalogue import Catalogue, Put
from firmware_mgr.master.documents import ImageRecord, PackageRecord, StoredFile
from firmware_mgr.model.ids import NEUTRAL_CPU, Digest
from firmware_mgr.model.software import BootImageRef
from firmware_mgr.package.keyring import Keyring
from firmware_mgr.package.reader import PackageFile


@dataclass(frozen=True, slots=True)
class ReadImage:
    """A boot image as read from its folder; `files` maps what netboot serves to path, digest, length."""

    ref: BootImageRef
    partition: Path
    pieces: BootPieces
    files: Mapping[str, tuple[Path, Digest, int]]


ReadFolder = Callable[[Path], ReadImage]


class Intake:
    def __init__(
        self,
        catalogue: Catalogue,
        blobs: BlobStore,
        keyring: Callable[[], Keyring],
        read_folder: ReadFolder,
        clock: Callable[[], float],
    ) -> None:
        self._catalogue = catalogue
        self._blobs = blobs
        self._keyring = keyring
        self._read_folder = read_folder
        self._clock = clock

    async def add_image(self, folder: Path) -> ImageRecord:
        """Raises UsageError or PeerError with what is wrong with the folder; nothing is added then."""
        read = await asyncio.to_thread(self._read_folder, folder)
        await asyncio.to_thread(self._blobs.add, read.partition, read.ref.digest)
        for path, digest, _ in read.files.values():
            await asyncio.to_thread(self._blobs.add, path, digest)
        ref = read.ref
        files = tuple(
            StoredFile(name, digest, length) for name, (_, digest, length) in sorted(read.files.items())
        )
        record = ImageRecord(
            ref.board, ref.version, ref.digest, ref.length, read.pieces, files, self._clock()
        )
        await self._catalogue.transact([], [Put(record.key, record.to_document())])
        return record

    async def add_package(self, file: Path) -> PackageRecord:
        """Raises UsageError, PackageFormatError or PackageRefused; nothing is added then."""
        record = await asyncio.to_thread(self._check_package, file)
        await asyncio.to_thread(self._blobs.add, file, record.digest)
        known = await self._catalogue.get(record.key)
        if known is not None:
            return PackageRecord.from_document(known.value, known.key)
        await self._catalogue.transact([], [Put(record.key, record.to_document())])
        return record

    def _check_package(self, file: Path) -> PackageRecord:
        with PackageFile.open(file, self._keyring()) as package:
            package.check_content()
            ref = package.reference()
            toc = package.toc
            cpus = sorted({module.cpu.value for module in toc.modules if module.cpu is not None}) or [
                NEUTRAL_CPU
            ]
        contents = {
            "modules": len(toc.modules),
            "processes": [process.name for process in toc.processes],
            "build_date": toc.build_date,
        }
        return PackageRecord(
            ref.name, ref.version, ref.digest, ref.length, tuple(cpus), self._clock(), contents
        )
