"""The binary layout of a package file: SPEC-package §1 to §4.

Knows sizes, offsets and numbers. Refuses to know what the values mean together: that is for those who decode.
"""

from __future__ import annotations

from typing import Any, Final

import crcmod.predefined
from construct import (
    Array,
    Bytes,
    Construct,
    ExprValidator,
    GreedyBytes,
    Int8ub,
    Int16ub,
    Int32ub,
    Int64ub,
    Prefixed,
    PrefixedArray,
    Struct,
)

# §2 header
MAGIC: Final = b"\x89FWPKG\r\n"
FORMAT_VERSION: Final = 1
HEADER_SIZE: Final = 160
SECTION_COUNT: Final = 3
SECTION_SIGNATURES: Final = 1
SECTION_TABLE: Final = 2
SECTION_CONTENT: Final = 3
RESERVED_SIZE: Final = 28
CRC_OFFSET: Final = 156

# §3 signatures
SIGNATURE_CONTEXT: Final = b"fwmgr package signature, format 1\0"
SIGNATURES_MIN: Final = 1
SIGNATURES_MAX: Final = 16

# §4 table of contents
TABLE_PACKAGE: Final = 1
TABLE_MODULES: Final = 2
TABLE_PROCESSES: Final = 3

# bounds, in bytes where not a count
MAX_TABLE: Final = 4 << 20
MAX_CONTENT: Final = 64 << 30
MAX_MODULE: Final = 16 << 30
MAX_MODULES: Final = 16_384
MAX_PROCESSES: Final = 256
MAX_LIST: Final = 1_024
MAX_WINDOW: Final = 8 << 20

SECTION: Final = Struct(
    "kind" / Int16ub,
    "flags" / Int16ub,
    "reserved" / Int32ub,
    "offset" / Int64ub,
    "length" / Int64ub,
)

HEADER: Final = Struct(
    "magic" / Bytes(len(MAGIC)),
    "version" / Int16ub,
    "header_length" / Int16ub,
    "section_count" / Int16ub,
    "flags" / Int16ub,
    "total_length" / Int64ub,
    "table_sha256" / Bytes(32),
    "sections" / Array(SECTION_COUNT, SECTION),
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


def _at_most(limit: int, integer: Any) -> Construct:
    return ExprValidator(integer, lambda value, _context: value <= limit)


TEXT: Final = Prefixed(Int16ub, GreedyBytes)
TEXTS: Final = PrefixedArray(_at_most(MAX_LIST, Int16ub), TEXT)
PAIRS: Final = PrefixedArray(_at_most(MAX_LIST, Int16ub), Struct("name" / TEXT, "value" / TEXT))

PACKAGE: Final = Struct(
    "name" / TEXT,
    "version" / TEXT,
    "build_date" / Int64ub,
    "local" / PAIRS,
    "remote" / PAIRS,
    "upgrades" / PAIRS,
)

MODULE_COUNT: Final = _at_most(MAX_MODULES, Int32ub)
MODULE: Final = Struct(
    "path" / TEXT,
    "kind" / Int8ub,
    "cpu" / Int8ub,
    "compression" / Int8ub,
    "reserved" / Int8ub,
    "mode" / Int16ub,
    "length" / Int64ub,
    "stored_length" / Int64ub,
    "offset" / Int64ub,
    "sha256" / Bytes(32),
    "stored_sha256" / Bytes(32),
    "substantive" / Bytes(32),
    "function" / TEXT,
    "link_target" / TEXT,
    "provides" / TEXTS,
    "consumes" / TEXTS,
)

PROCESS_COUNT: Final = _at_most(MAX_PROCESSES, Int16ub)
PROCESS: Final = Struct(
    "name" / TEXT,
    "module" / TEXT,
    "argv" / TEXTS,
    "environment" / PAIRS,
    "working_directory" / TEXT,
    "user_form" / Int8ub,
    "uid" / Int32ub,
    "gid" / Int32ub,
    "user_name" / TEXT,
    "readiness" / Int8ub,
    "readiness_port" / Int16ub,
    "stop_signal" / Int8ub,
    "grace_s" / Int32ub,
    "restart" / Int8ub,
    "self_managing" / Int8ub,
)

assert HEADER.sizeof() == HEADER_SIZE
assert SECTION.sizeof() == 24
assert SIGNATURES_HEAD.sizeof() == 4
assert SIGNATURE.sizeof() == 96
assert len(SIGNATURE_CONTEXT) == 34

_CRC32C = crcmod.predefined.mkPredefinedCrcFun("crc-32c")


def crc32c(data: bytes) -> int:
    """CRC-32C (Castagnoli), as in RFC 3720 §12.1."""
    return int(_CRC32C(data))


def signed_message(header: bytes, table_sha256: bytes) -> bytes:
    """What an Ed25519 signature of a package is made over (§3)."""
    return SIGNATURE_CONTEXT + header + table_sha256
