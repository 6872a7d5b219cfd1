"""The binary layout of the envelope: header, signatures, sections, frame of a table. SPEC-package §1 to §4.

Knows sizes, offsets and numbers of formats 1 and 2. Refuses to know what is in the tables (`layout_1`,
`layout_2`), and what values mean together: that is for those who decode.
"""

from __future__ import annotations

from enum import Enum
from typing import Any, Final

import crcmod.predefined
from construct import (
    Array,
    Bytes,
    Construct,
    ExprValidator,
    GreedyBytes,
    Int16ub,
    Int32ub,
    Int64ub,
    Prefixed,
    PrefixedArray,
    Struct,
)


class EnvelopeKind(Enum):
    """What a file carries; the value is the header's."""

    PACKAGE = 1
    SET = 2
    COMPOSITE = 3

    @property
    def words(self) -> str:
        return {1: "package", 2: "set", 3: "composite image"}[self.value]


# §2 header
MAGIC: Final = b"\x89FWPKG\r\n"
FORMAT_1: Final = 1
FORMAT_2: Final = 2
#: What is written, and the newest that is read.
FORMAT_VERSION: Final = FORMAT_2
FORMATS: Final = (FORMAT_1, FORMAT_2)
HEADER_SIZE: Final = 160
SECTION_COUNT: Final = 3
SECTION_SIGNATURES: Final = 1
SECTION_TABLE: Final = 2
SECTION_CONTENT: Final = 3
RESERVED_SIZE: Final = 20
CRC_OFFSET: Final = 156

# §3 signatures
SIGNATURE_CONTEXT: Final = {
    FORMAT_1: b"fwmgr package signature, format 1\0",
    FORMAT_2: b"fwmgr package signature, format 2\0",
}
SIGNATURES_MIN: Final = 1
SIGNATURES_MAX: Final = 16

# bounds, in bytes where not a count
MAX_TABLE: Final = 8 << 20
MAX_TABLE_1: Final = 4 << 20
MAX_CONTENT: Final = 64 << 30
MAX_MODULE: Final = 16 << 30
MAX_MODULES: Final = 16_384
MAX_PROCESSES: Final = 256
MAX_LIST: Final = 1_024
MAX_TIME: Final = (1 << 40) - 1  # seconds since 1970-01-01 UTC

SECTION: Final = Struct(
    "kind" / Int16ub,
    "flags" / Int16ub,
    "reserved" / Int32ub,
    "offset" / Int64ub,
    "length" / Int64ub,
)

#: Format 1 has no kind and no signing time: flags and reserved bytes there, all zero (§11).
HEADER: Final = Struct(
    "magic" / Bytes(len(MAGIC)),
    "version" / Int16ub,
    "header_length" / Int16ub,
    "section_count" / Int16ub,
    "kind" / Int16ub,
    "total_length" / Int64ub,
    "table_sha256" / Bytes(32),
    "sections" / Array(SECTION_COUNT, SECTION),
    "signed_at" / Int64ub,
    "reserved" / Bytes(RESERVED_SIZE),
    "crc32c" / Int32ub,
)

SIGNATURES_HEAD: Final = Struct("count" / Int16ub, "reserved" / Int16ub)
SIGNATURE: Final = Struct("key_id" / Bytes(32), "signature" / Bytes(64))

TABLE: Final = Struct(
    "kind" / Int16ub,
    "reserved" / Int16ub,
    "body" / Prefixed(Int32ub, GreedyBytes),
)


def at_most(limit: int, integer: Any) -> Construct:
    """The integer, refused over its bound."""
    return ExprValidator(integer, lambda value, _context: value <= limit)


TEXT: Final = Prefixed(Int16ub, GreedyBytes)
TEXTS: Final = PrefixedArray(at_most(MAX_LIST, Int16ub), TEXT)
PAIRS: Final = PrefixedArray(at_most(MAX_LIST, Int16ub), Struct("name" / TEXT, "value" / TEXT))

assert HEADER.sizeof() == HEADER_SIZE
assert SECTION.sizeof() == 24
assert SIGNATURES_HEAD.sizeof() == 4
assert SIGNATURE.sizeof() == 96
assert all(len(context) == 34 for context in SIGNATURE_CONTEXT.values())

_CRC32C = crcmod.predefined.mkPredefinedCrcFun("crc-32c")


def crc32c(data: bytes) -> int:
    """CRC-32C (Castagnoli), as in RFC 3720 §12.1."""
    return int(_CRC32C(data))


def signed_message(header: bytes, table_sha256: bytes, version: int = FORMAT_VERSION) -> bytes:
    """What an Ed25519 signature of an envelope of that format is made over (§3)."""
    return SIGNATURE_CONTEXT[version] + header + table_sha256
