"""The bytes of the store's roots and snapshots, format version 1: docs/SPEC-store.md.

Knows fields, checksums and bounds. Refuses to know devices, and which root counts.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Self

import crcmod.predefined
from construct import (
    Array,
    Bytes,
    Check,
    Const,
    ConstructError,
    Default,
    GreedyBytes,
    Int8ul,
    Int16ul,
    Int32ul,
    Int64ul,
    Padding,
    Prefixed,
    Struct,
    Terminated,
    this,
)

from firmware_mgr.flash.errors import FlashFormatError
from firmware_mgr.flash.store_geometry import RING_UNITS, UNIT, Extent, Geometry, padded, round_up
from firmware_mgr.model.errors import UsageError
from firmware_mgr.model.ids import Digest

#: What is read of a slot. A slot takes a unit.
SLOT_SIZE = UNIT
SLOTS = RING_UNITS // 2  # each has a twin
ROOT_MAGIC = b"FWSTORE\x01"
SNAPSHOT_MAGIC = b"FWSNAP\x00\x01"
FORMAT_VERSION = 1
ROOT_SIZE = 164
SEQUENCE_END = 1 << 63
BLOB_SIZE = 48
SNAPSHOT_HEAD = 24  # magic, sequence, both counts
MAX_BLOBS = 65536
MAX_DOCUMENTS = 4096
STORE_ID_SIZE = 16
_NAME = re.compile(r"[A-Za-z0-9._/:+~@\-]{1,128}")

_ROOT_FIELDS = (
    "magic" / Const(ROOT_MAGIC),
    "version" / Int16ul,
    "unit_shift"
    / Default(Int16ul, 0),  # 0 stands for UNIT: what was written before there were others stays as it is
    "record_size" / Const(ROOT_SIZE, Int32ul),
    "store_id" / Bytes(STORE_ID_SIZE),
    "sequence" / Int64ul,
    "size" / Int64ul,
    "zone_size" / Int64ul,
    "blob_cursor" / Int64ul,
    "zone_cursor" / Int64ul,
    "snapshot_length" / Int64ul,
    "snapshot_offsets" / Array(2, Int64ul),
    "snapshot_sha256" / Bytes(32),
    Padding(32),
)
ROOT_BODY = Struct(*_ROOT_FIELDS)
ROOT_CRC = Int32ul
assert ROOT_BODY.sizeof() + ROOT_CRC.sizeof() == ROOT_SIZE

BLOB = Struct("digest" / Bytes(32), "offset" / Int64ul, "length" / Int64ul)
assert BLOB.sizeof() == BLOB_SIZE
DOCUMENT = Struct("name" / Prefixed(Int8ul, GreedyBytes), "value" / Prefixed(Int32ul, GreedyBytes))
SNAPSHOT = Struct(
    "magic" / Const(SNAPSHOT_MAGIC),
    "sequence" / Int64ul,
    "blob_count" / Int32ul,
    "document_count" / Int32ul,
    Check(this.blob_count <= MAX_BLOBS),
    Check(this.document_count <= MAX_DOCUMENTS),
    "blobs" / Array(this.blob_count, BLOB),
    "documents" / Array(this.document_count, DOCUMENT),
    Terminated,
)


@cache
def _crc32c() -> Callable[[bytes], int]:
    crc: Callable[[bytes], int] = crcmod.predefined.mkPredefinedCrcFun("crc-32c")
    return crc


def crc32c(data: bytes) -> int:
    """CRC-32C (Castagnoli). In pure Python: for small records only."""
    return _crc32c()(data)


def _unit_shift(unit: int) -> int:
    return 0 if unit == UNIT else unit.bit_length() - 1


def _unit(shift: int) -> int:
    """Raises UsageError for the shift of UNIT, which has one form only, and for what no unit can have."""
    unit = 1 << shift if shift < 64 else 0
    if shift and unit <= UNIT:
        raise UsageError("not a unit", expected=f"0, or over {UNIT.bit_length() - 1}", found=shift)
    return unit if shift else UNIT


@dataclass(frozen=True, slots=True)
class Root:
    """One root record. Its snapshot is at both `snapshot_offsets`, `snapshot_length` bytes long."""

    store_id: bytes
    sequence: int
    geometry: Geometry
    blob_cursor: int
    zone_cursor: int
    snapshot_length: int
    snapshot_offsets: tuple[int, int]
    snapshot_sha256: bytes

    def encode(self) -> bytes:
        """A whole slot, a unit long."""
        body = ROOT_BODY.build(
            {
                "version": FORMAT_VERSION,
                "unit_shift": _unit_shift(self.geometry.unit),
                "store_id": self.store_id,
                "sequence": self.sequence,
                "size": self.geometry.size,
                "zone_size": self.geometry.zone_size,
                "blob_cursor": self.blob_cursor,
                "zone_cursor": self.zone_cursor,
                "snapshot_length": self.snapshot_length,
                "snapshot_offsets": list(self.snapshot_offsets),
                "snapshot_sha256": self.snapshot_sha256,
            }
        )
        record = bytes(body + ROOT_CRC.build(crc32c(body)))
        return padded(record, self.geometry.unit)

    @classmethod
    def decode(cls, slot: bytes, device_size: int, where: str) -> Self:
        """Read a slot of a store on a partition of `device_size` bytes. Raises FlashFormatError."""
        body, crc = slot[: ROOT_SIZE - 4], slot[ROOT_SIZE - 4 : ROOT_SIZE]
        if not body.startswith(ROOT_MAGIC) or len(crc) != 4:
            raise FlashFormatError("no store root", where=where, expected=ROOT_MAGIC, found=slot[:8].hex())
        found = crc32c(body)
        if found != ROOT_CRC.parse(crc):
            raise FlashFormatError(
                "store root's CRC differs", where=where, expected=crc[::-1].hex(), found=f"{found:08x}"
            )
        version = int.from_bytes(body[8:10], "little")
        if version != FORMAT_VERSION:
            raise FlashFormatError(
                "store has another format version", where=where, expected=FORMAT_VERSION, found=version
            )
        try:
            r = ROOT_BODY.parse(body)
            geometry = Geometry(r.size, r.zone_size, _unit(r.unit_shift))
        except (ConstructError, UsageError) as e:
            raise FlashFormatError("broken store root", where=where, found=str(e)) from e
        root = cls(
            r.store_id,
            r.sequence,
            geometry,
            r.blob_cursor,
            r.zone_cursor,
            r.snapshot_length,
            (r.snapshot_offsets[0], r.snapshot_offsets[1]),
            r.snapshot_sha256,
        )
        root._check_bounds(device_size, where)
        return root

    def _check_bounds(self, device_size: int, where: str) -> None:
        g = self.geometry
        bounds = (
            ("size", g.size, g.smallest(g.unit), device_size),
            ("sequence", self.sequence, 1, SEQUENCE_END - 1),
            ("blob cursor", self.blob_cursor, g.blobs_start, g.blobs_end),
            ("zone cursor", self.zone_cursor, 0, g.zone_size),
            ("snapshot length", self.snapshot_length, 1, g.max_snapshot),
            *(
                ("snapshot offset", offset, zone, zone + g.zone_size - round_up(self.snapshot_length, g.unit))
                for zone, offset in zip(g.zones, self.snapshot_offsets, strict=True)
            ),
        )
        for name, value, low, high in bounds:
            if not low <= value <= high or ("offset" in name and value % g.unit):
                raise FlashFormatError(
                    f"store root's {name} is out of bounds",
                    where=where,
                    expected=f"{low} to {high}",
                    found=value,
                )


def snapshot_length(blobs: int, documents: Mapping[str, bytes]) -> int:
    """Bytes of a snapshot with so many blobs."""
    return SNAPSHOT_HEAD + BLOB_SIZE * blobs + sum(5 + len(n) + len(v) for n, v in documents.items())


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The index and the documents at one sequence number."""

    sequence: int
    blobs: Mapping[Digest, Extent]
    documents: Mapping[str, bytes]

    def encode(self) -> bytes:
        return bytes(
            SNAPSHOT.build(
                {
                    "sequence": self.sequence,
                    "blob_count": len(self.blobs),
                    "document_count": len(self.documents),
                    "blobs": [
                        {"digest": digest.to_bytes(), "offset": extent.offset, "length": extent.length}
                        for digest, extent in sorted(self.blobs.items(), key=lambda item: item[0].hex)
                    ],
                    "documents": [
                        {"name": name.encode("ascii"), "value": value}
                        for name, value in sorted(self.documents.items())
                    ],
                }
            )
        )

    @classmethod
    def decode(cls, raw: bytes, root: Root, where: str) -> Self:
        """Read this root's snapshot. Raises FlashFormatError unless it is whole, sound and the root's."""
        found = hashlib.sha256(raw).digest()
        if found != root.snapshot_sha256:
            raise FlashFormatError(
                "store snapshot's digest differs",
                where=where,
                expected=root.snapshot_sha256.hex()[:12],
                found=found.hex()[:12],
            )
        try:
            s = SNAPSHOT.parse(raw)
        except ConstructError as e:
            raise FlashFormatError("broken store snapshot", where=where, found=str(e).strip()) from e
        unit = root.geometry.unit
        blobs = {Digest.from_bytes(b.digest): Extent(b.offset, b.length, unit) for b in s.blobs}
        documents = {d.name.decode("ascii", "replace"): d.value for d in s.documents}
        _check_sound(root.geometry, blobs, documents, where)
        orderly = (
            s.sequence == root.sequence
            and list(blobs) == sorted(blobs, key=lambda digest: digest.hex)
            and list(documents) == sorted(documents)
            and (len(blobs), len(documents)) == (s.blob_count, s.document_count)
        )
        if not orderly:
            raise FlashFormatError(
                "store snapshot is another's, or not in order",
                where=where,
                expected=root.sequence,
                found=s.sequence,
            )
        return cls(s.sequence, blobs, documents)


def _check_sound(
    geometry: Geometry, blobs: Mapping[Digest, Extent], documents: Mapping[str, bytes], where: str
) -> None:
    end = geometry.blobs_start
    for extent in sorted(blobs.values(), key=lambda extent: extent.offset):
        if extent.offset < end or extent.offset % geometry.unit or extent.end > geometry.blobs_end:
            raise FlashFormatError("store extent overlaps or lies outside", where=where, found=extent)
        end = extent.end
    for name in documents:
        if not _NAME.fullmatch(name):
            raise FlashFormatError("not a document name", where=where, found=repr(name))


def check_document_name(name: str) -> None:
    """Raise UsageError unless `name` may name a document."""
    if not _NAME.fullmatch(name):
        raise UsageError(
            "not a document name", expected="1 to 128 of letters, digits, . _ / : + ~ @ -", found=repr(name)
        )
