"""A master's directory with a little of everything, made without a master: what exports are made of."""

from __future__ import annotations

import asyncio
import io
from pathlib import Path

from firmware_mgr.link.messages import BootPieces
from firmware_mgr.master.blobs import BlobStore
from firmware_mgr.master.catalogue import Put
from firmware_mgr.master.catalogue_sqlite import SqliteCatalogue
from firmware_mgr.master.documents import CardRecord, ImageRecord, PackageRecord, StoredFile
from firmware_mgr.master.export.gather import Gathered, copy_catalogue, gather
from firmware_mgr.master.export.seal import Cost
from firmware_mgr.master.site import MasterPaths, write_trust
from firmware_mgr.master.trust import open_record_key
from firmware_mgr.model.ids import Digest, SlotId

#: Cheap, so that tests may open a file some thousand times.
CHEAP = Cost(log_n=1, r=1)
PASSPHRASE = "correct horse battery"
MADE_AT = 1_700_000_000


def blob(store: BlobStore, data: bytes) -> Digest:
    digest = Digest.of(data)
    store.add(io.BytesIO(data), digest)
    return digest


def small_site(directory: Path) -> MasterPaths:
    paths = MasterPaths(directory)
    write_trust(paths)
    open_record_key(paths.authority)
    (paths.directory / "site.key").write_bytes(b"a secret that some other room has put here")
    (paths.directory / "site.key").chmod(0o600)
    asyncio.run(_fill(paths))
    return paths


async def _fill(paths: MasterPaths) -> None:
    store = BlobStore(paths.blobs)
    image, served, package = b"boot image" * 400 + bytes(3000), b"kernel" * 50, b"package" * 100
    digests = [blob(store, data) for data in (image, served, package)]
    catalogue = SqliteCatalogue(paths.catalogue, lambda: 0.0)
    pieces = BootPieces(1 << 20, (digests[0],))
    files = (StoredFile("boot.itb", digests[1], len(served)),)
    records = (
        ImageRecord("qemu-aarch64", "1", digests[0], len(image), pieces, files, 1.0),
        PackageRecord("web", "1.0", digests[2], len(package), ("aarch64",), 1.0),
        CardRecord(SlotId(1), 1.0),
    )
    for record in records:
        await catalogue.transact([], [Put(record.key, record.to_document())])
    catalogue.close()


def gathered(paths: MasterPaths, snapshot: Path) -> Gathered:
    copy_catalogue(paths.catalogue, snapshot)
    return gather(paths, snapshot, MADE_AT)


def tree(directory: Path) -> dict[str, bytes]:
    """All files but the catalogue's, whose bytes may differ when it says the same."""
    return {
        path.relative_to(directory).as_posix(): path.read_bytes()
        for path in sorted(directory.rglob("*"))
        if path.is_file() and not path.name.startswith("catalogue")
    }
