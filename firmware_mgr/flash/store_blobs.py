"""The bytes of one blob, to flash and back, hashed on both ways.

Knows an extent and a digest. Refuses to know the index, and how the extent was chosen.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from firmware_mgr.flash.errors import BlobDamaged
from firmware_mgr.flash.store_geometry import Extent, round_up
from firmware_mgr.model.errors import PeerError
from firmware_mgr.model.ids import Digest

if TYPE_CHECKING:
    from firmware_mgr.flash.device import FlashDevice

PIECE_SIZE = 1 << 20


def pieces(device: FlashDevice, extent: Extent) -> Iterator[bytes]:
    """The extent's bytes, up to PIECE_SIZE at a time. Raises DeviceError."""
    for at in range(0, extent.length, PIECE_SIZE):
        yield device.read(extent.offset + at, min(PIECE_SIZE, extent.length - at))


def hash_extent(device: FlashDevice, extent: Extent) -> Digest:
    """The digest of what flash holds there. Raises DeviceError."""
    hasher = hashlib.sha256()
    for piece in pieces(device, extent):
        hasher.update(piece)
    return Digest(hasher.hexdigest())


def write_blob(device: FlashDevice, extent: Extent, digest: Digest, chunks: Iterable[bytes]) -> None:
    """Write, sync, read back. Raises PeerError when `chunks` are not the blob, DeviceError from flash."""
    hasher = hashlib.sha256()
    written = arrived = 0
    buffer = bytearray()
    for chunk in chunks:
        arrived += len(chunk)
        if arrived > extent.length:
            break
        hasher.update(chunk)
        buffer += chunk
        while len(buffer) >= PIECE_SIZE:
            device.write(extent.offset + written, bytes(buffer[:PIECE_SIZE]))
            del buffer[:PIECE_SIZE]
            written += PIECE_SIZE
    if arrived != extent.length:
        raise PeerError(
            "blob has the wrong length", where=digest.short, expected=extent.length, found=arrived
        )
    if hasher.digest() != digest.to_bytes():
        raise PeerError("blob does not have its digest", expected=digest.short, found=hasher.hexdigest()[:12])
    if buffer:
        device.write(extent.offset + written, bytes(buffer).ljust(round_up(len(buffer)), b"\0"))
    device.sync()
    found = hash_extent(device, extent)
    if found != digest:
        raise BlobDamaged(
            "blob reads back differently",
            where=f"store, {extent.offset}",
            expected=digest.short,
            found=found.short,
        )
