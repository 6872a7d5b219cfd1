"""The binary layout of the tables of contents of format 1, which is read and not written: SPEC-package §11.

Knows where format 1 differs. Processes are those of `layout_tables`.
"""

from __future__ import annotations

from typing import Final

from construct import Bytes, Int8ub, Int16ub, Int64ub, Struct

from firmware_mgr.package.layout import PAIRS, TEXT, TEXTS

MAX_WINDOW: Final = 8 << 20

PACKAGE: Final = Struct(
    "name" / TEXT,
    "version" / TEXT,
    "build_date" / Int64ub,
    "local" / PAIRS,
    "remote" / PAIRS,
    "upgrades" / PAIRS,
)

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
