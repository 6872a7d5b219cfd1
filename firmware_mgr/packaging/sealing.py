"""Header and signatures around table and content, and the file written whole: SPEC-package §1 to §3.

The same for packages, sets and composite images. Refuses to know what is in the table.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

from firmware_mgr.model.errors import UsageError
from firmware_mgr.package import layout
from firmware_mgr.package.checks import check_range
from firmware_mgr.package.layout import EnvelopeKind
from firmware_mgr.packaging.keys import SigningKey


def seal(
    table: bytes,
    content: bytes,
    signing_keys: Sequence[SigningKey],
    kind: EnvelopeKind = EnvelopeKind.PACKAGE,
    *,
    signed_at: int,
) -> bytes:
    """Header, signatures, table and content as one file. `signed_at` in seconds since 1970-01-01 UTC."""
    keys = sorted({key.id: key for key in signing_keys}.values(), key=lambda key: key.id)
    if not layout.SIGNATURES_MIN <= len(keys) <= layout.SIGNATURES_MAX:
        raise UsageError(
            "illegal number of signing keys",
            expected=f"{layout.SIGNATURES_MIN} to {layout.SIGNATURES_MAX}",
            found=len(keys),
        )
    if len(table) > layout.MAX_TABLE:
        raise UsageError(
            "table of contents is too long", expected=f"{layout.MAX_TABLE} at most", found=len(table)
        )
    check_range(signed_at, layout.MAX_TIME, "signing time out of range")
    table_sha256 = hashlib.sha256(table).digest()
    signatures_length = layout.SIGNATURES_HEAD.sizeof() + len(keys) * layout.SIGNATURE.sizeof()
    lengths = (signatures_length, len(table), len(content))
    header = _header(lengths, table_sha256, kind, signed_at)
    message = layout.signed_message(header, table_sha256)
    block = layout.SIGNATURES_HEAD.build({"count": len(keys), "reserved": 0})
    for key in keys:
        block += layout.SIGNATURE.build({"key_id": bytes.fromhex(key.id), "signature": key.sign(message)})
    return b"".join((header, block, table, content))


def write_package(path: Path, package: bytes) -> None:
    """Put the file in its place whole or not at all."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with draft.open("wb") as stream:
            stream.write(package)
            stream.flush()
            os.fsync(stream.fileno())
        draft.replace(path)
    except OSError as e:
        draft.unlink(missing_ok=True)
        raise UsageError("package cannot be written", where=str(path), found=e.strerror) from e


def _header(lengths: tuple[int, int, int], table_sha256: bytes, kind: EnvelopeKind, signed_at: int) -> bytes:
    sections = []
    position = layout.HEADER_SIZE
    numbers = (layout.SECTION_SIGNATURES, layout.SECTION_TABLE, layout.SECTION_CONTENT)
    for number, length in zip(numbers, lengths, strict=True):
        sections.append({"kind": number, "flags": 0, "reserved": 0, "offset": position, "length": length})
        position += length
    fields = {
        "magic": layout.MAGIC,
        "version": layout.FORMAT_VERSION,
        "header_length": layout.HEADER_SIZE,
        "section_count": layout.SECTION_COUNT,
        "kind": kind.value,
        "total_length": position,
        "table_sha256": table_sha256,
        "sections": sections,
        "signed_at": signed_at,
        "reserved": bytes(layout.RESERVED_SIZE),
        "crc32c": 0,
    }
    draft: bytes = layout.HEADER.build(fields)
    return bytes(layout.HEADER.build({**fields, "crc32c": layout.crc32c(draft[: layout.CRC_OFFSET])}))
