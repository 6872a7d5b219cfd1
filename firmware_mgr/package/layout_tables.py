"""The binary layout of the tables of contents of format 2: SPEC-package §4, §5 and §10.

Knows fields and bounds of counts. Refuses to know what the values mean: that is for those who decode.
"""

from __future__ import annotations

from typing import Final

from construct import Bytes, Int8ub, Int16ub, Int32ub, Int64ub, PrefixedArray, Struct

from firmware_mgr.package.layout import (
    MAX_LIST,
    MAX_MODULE,
    MAX_MODULES,
    MAX_PROCESSES,
    PAIRS,
    TEXT,
    TEXTS,
    at_most,
)

TABLE_PACKAGE: Final = 1
TABLE_MODULES: Final = 2
TABLE_PROCESSES: Final = 3
TABLE_GROUPS: Final = 4
TABLE_BUNDLE: Final = 5
TABLE_MEMBERS: Final = 6
TABLE_TARGETS: Final = 7

TABLE_NAMES: Final = {
    TABLE_PACKAGE: "package table",
    TABLE_MODULES: "module table",
    TABLE_PROCESSES: "process table",
    TABLE_GROUPS: "group table",
    TABLE_BUNDLE: "bundle table",
    TABLE_MEMBERS: "member table",
    TABLE_TARGETS: "target table",
}

PIECE_SIZE: Final = 1 << 20
MAX_GROUPS: Final = 256
MAX_MEMBERS: Final = 1_024
MAX_FILES: Final = 4_096
MAX_NAMES: Final = 65_536  # of APIs, groups and boards, in all modules and dependencies together

#: A piece of a file in content (§5).
PIECE: Final = Struct("compression" / Int8ub, "stored_length" / Int32ub, "sha256" / Bytes(32))
PIECES: Final = PrefixedArray(at_most(MAX_MODULE // PIECE_SIZE, Int32ub), PIECE)

# §4.1
LIMITED_COUNT: Final = at_most(MAX_LIST, Int16ub)
LIMITED: Final = Struct("name" / TEXT, "value" / TEXT, "boards" / TEXTS)
ABOUT: Final = Struct("name" / TEXT, "version" / TEXT, "build_date" / Int64ub)
#: ABOUT, then these; in one piece for those who write or show it.
PACKAGE: Final = Struct(
    *ABOUT.subcons,
    "local" / PrefixedArray(LIMITED_COUNT, LIMITED),
    "remote" / PrefixedArray(LIMITED_COUNT, LIMITED),
    "upgrades" / PAIRS,
)

# §4.2
GROUP_COUNT: Final = at_most(MAX_GROUPS, Int16ub)
GROUP: Final = Struct("name" / TEXT, "summary" / TEXT, "wanted" / Int8ub)

# §4.3
MODULE_COUNT: Final = at_most(MAX_MODULES, Int32ub)
MODULE: Final = Struct(
    "path" / TEXT,
    "kind" / Int8ub,
    "cpu" / Int8ub,
    "mode" / Int16ub,
    "length" / Int64ub,
    "offset" / Int64ub,
    "sha256" / Bytes(32),
    "substantive" / Bytes(32),
    "function" / TEXT,
    "link_target" / TEXT,
    "groups" / TEXTS,
    "provides" / TEXTS,
    "consumes" / TEXTS,
    "pieces" / PIECES,
)

# §4.4, the same in format 1
PROCESS_COUNT: Final = at_most(MAX_PROCESSES, Int16ub)
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

# §10
BUNDLE: Final = Struct("name" / TEXT, "version" / TEXT, "build_date" / Int64ub)
TARGETS: Final = Struct("slots" / TEXTS, "boards" / TEXTS, "classes" / TEXTS, "packages" / TEXTS)
MEMBER_COUNT: Final = at_most(MAX_MEMBERS, Int16ub)
FILE: Final = Struct(
    "name" / TEXT,
    "length" / Int64ub,
    "offset" / Int64ub,
    "sha256" / Bytes(32),
    "pieces" / PIECES,
)
MEMBER: Final = Struct(
    "kind" / Int8ub,
    "reserved" / Int8ub,
    "name" / TEXT,
    "version" / TEXT,
    "files" / PrefixedArray(at_most(MAX_FILES, Int16ub), FILE),
)

assert PIECE.sizeof() == 37
