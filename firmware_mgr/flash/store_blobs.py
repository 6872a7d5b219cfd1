"""The bytes of one blob, to flash and back, hashed on both ways.

Knows an extent and a digest. Refuses to know the index, and how the extent was chosen.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING

from firmware_mgr.flash.errors import BlobDamaged
from firmware_mgr.flash.store_geometry import Extent, padded
from firmware_mgr.model.errors import DeviceError, PeerError
from firmware_mgr.model.ids import Digest

if TYPE_CHECKING:
    from firmware_mgr.flash.device import FlashDevice

PIECE_SIZE = 1 << 20  # a multiple of every unit

#: Called with an extent that the device refused to write, and why: another one of the same length, or raises.
Move = Callable[[Extent, DeviceError], Extent]


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


def write_blob(
    device: FlashDevice, extent: Extent, digest: Digest, chunks: Iterable[bytes], move: Move
) -> Extent:
    """Write, sync, read back; return where it lies, which is elsewhere when the device refused a place.

    Raises PeerError when `chunks` are not the blob, DeviceError from flash.
    """
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
            extent = _write_piece(device, extent, written, bytes(buffer[:PIECE_SIZE]), move)
            del buffer[:PIECE_SIZE]
            written += PIECE_SIZE
    if arrived != extent.length:
        raise PeerError(
            "blob has the wrong length", where=digest.short, expected=extent.length, found=arrived
        )
    if hasher.digest() != digest.to_bytes():
        raise PeerError("blob does not have its digest", expected=digest.short, found=hasher.hexdigest()[:12])
    if buffer:
        extent = _write_piece(device, extent, written, padded(bytes(buffer), extent.unit), move)
    device.sync()
    found = hash_extent(device, extent)
    if found != digest:
        raise BlobDamaged(
            "blob reads back differently",
            where=f"store, {extent.offset}",
            expected=digest.short,
            found=found.short,
        )
    return extent


def _write_piece(device: FlashDevice, extent: Extent, at: int, data: bytes, move: Move) -> Extent:
    """Write a piece behind the `at` bytes that are there; where flash refuses, elsewhere with all before it.

    What was written is copied, since its sender is past it; the whole is hashed at the end.
    """
    place = extent
    while True:
        try:
            if place is not extent:
                device.sync()  # what is copied comes from flash
                for done in range(0, at, PIECE_SIZE):
                    piece = device.read(extent.offset + done, min(PIECE_SIZE, at - done))
                    device.write(place.offset + done, piece)
            device.write(place.offset + at, data)
            return place
        except DeviceError as e:
            place = move(place, e)
