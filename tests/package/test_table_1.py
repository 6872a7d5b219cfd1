"""The table of contents of format 1: one encoding, and nothing else is taken, signed or not."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from firmware_mgr.package import layout, layout_1
from firmware_mgr.package import layout_tables as lt
from firmware_mgr.package.errors import PackageFormatError
from firmware_mgr.package.table_1 import decode_table_1

from .format_1 import encode_table_1, pack_1, seal_1
from .samples import HEAD, KEY, SOURCES, flip, read

TOC, CONTENT = pack_1(HEAD, SOURCES)
TABLE = encode_table_1(TOC)


def _raw() -> dict[int, Any]:
    """The sample's tables, decoded by layout alone, to be altered and built again."""
    tables = layout.TABLE[3].parse(TABLE)
    modules = layout_1.MODULE[lt.MODULE_COUNT.parse(tables[1].body)]
    processes = lt.PROCESS[lt.PROCESS_COUNT.parse(tables[2].body)]
    return {
        1: layout_1.PACKAGE.parse(tables[0].body),
        2: list(modules.parse(tables[1].body[4:])),
        3: list(processes.parse(tables[2].body[2:])),
    }


def _built(raw: dict[int, Any], order: tuple[int, ...] = (1, 2, 3)) -> bytes:
    bodies = {
        1: layout_1.PACKAGE.build(raw[1]),
        2: lt.MODULE_COUNT.build(len(raw[2])) + b"".join(map(layout_1.MODULE.build, raw[2])),
        3: lt.PROCESS_COUNT.build(len(raw[3])) + b"".join(map(lt.PROCESS.build, raw[3])),
    }
    return b"".join(layout.TABLE.build({"kind": k, "reserved": 0, "body": bodies[k]}) for k in order)


def _refused(raw: dict[int, Any], complaint: str) -> None:
    with pytest.raises(PackageFormatError, match=complaint):
        decode_table_1(_built(raw), "sample")


def test_decoding_gives_back_what_was_encoded() -> None:
    assert decode_table_1(TABLE, "sample") == TOC
    assert _built(_raw()) == TABLE


def test_every_truncation_is_refused() -> None:
    for length in range(len(TABLE)):
        with pytest.raises(PackageFormatError):
            decode_table_1(TABLE[:length], "sample")


def test_trailing_bytes_are_refused_after_the_tables_and_in_each() -> None:
    with pytest.raises(PackageFormatError, match="left over"):
        decode_table_1(TABLE + b"\0", "sample")
    for kind in (1, 2, 3):
        tables = layout.TABLE[3].parse(TABLE)
        tables[kind - 1].body += b"\0"
        with pytest.raises(PackageFormatError, match="left over"):
            decode_table_1(layout.TABLE[3].build(tables), "sample")


def test_tables_in_another_order_are_refused() -> None:
    with pytest.raises(PackageFormatError, match="wrong kind of table"):
        decode_table_1(_built(_raw(), (1, 3, 2)), "sample")


def test_a_bit_turned_over_is_refused_or_says_something_else_in_the_one_encoding() -> None:
    for position in range(len(TABLE)):
        damaged = flip(TABLE, position * 8 + position % 8)
        try:
            toc = decode_table_1(damaged, "sample")
        except PackageFormatError:
            continue
        assert encode_table_1(toc) == damaged


@given(st.binary(max_size=600))
def test_arbitrary_bytes_are_refused_with_the_declared_error(data: bytes) -> None:
    with pytest.raises(PackageFormatError):
        decode_table_1(data, "noise")


@settings(max_examples=150)
@given(st.integers(0, len(TABLE) - 1), st.binary(max_size=6), st.integers(0, 12))
def test_a_table_with_a_piece_replaced_is_refused_or_canonical(at: int, piece: bytes, cut: int) -> None:
    damaged = TABLE[:at] + piece + TABLE[at + cut :]
    try:
        toc = decode_table_1(damaged, "damaged")
    except PackageFormatError:
        return
    assert encode_table_1(toc) == damaged


@pytest.mark.parametrize(
    ("field", "value", "complaint"),
    [
        ("kind", 0, "unknown kind"),
        ("kind", 8, "unknown kind"),
        ("cpu", 4, "unknown CPU"),
        ("compression", 2, "unknown compression"),
        ("reserved", 1, "reserved field"),
        ("mode", 0o4755, "illegal mode"),
        ("length", (1 << 64) - 1, "illegal length"),
        ("length", 11, "stored length of uncompressed bytes"),
        ("stored_length", (1 << 64) - 1, "stored length of uncompressed|outside of content"),
        ("offset", 1, "gap or overlap"),
        ("offset", (1 << 64) - 1, "outside of content"),
        ("stored_sha256", bytes(32), "stored hash"),
        ("function", b"Not A Name", "not a function name"),
        ("link_target", b"x", "a target without a symlink"),
        ("provides", [b"b", b"a"], "not sorted and unique"),
        ("provides", [b"a", b"a"], "not sorted and unique"),
        ("consumes", [b""], "not a name of an API"),
        ("consumes", [b"a\x1b[2J"], "not a name of an API"),
        ("path", b"etc/\xff", "not UTF-8"),
    ],
)
def test_wrong_module_field_is_named(field: str, value: object, complaint: str) -> None:
    raw = _raw()
    raw[2][0][field] = value
    _refused(raw, complaint)


@pytest.mark.parametrize(
    ("field", "value", "complaint"),
    [
        ("name", b"Server!", "not a process name"),
        ("module", b"etc/server.conf", "process without a program"),
        ("module", b"usr/bin/absent", "process without a program"),
        ("argv", [], "illegal number of arguments"),
        ("argv", [b"a\0b"], "illegal argument"),
        ("argv", [b"x" * 4097], "illegal argument"),
        ("environment", [{"name": b"B", "value": b""}, {"name": b"A", "value": b""}], "environment is not"),
        ("environment", [{"name": b"A=B", "value": b""}], "not a name of an environment variable"),
        ("working_directory", b"srv", "not an absolute directory"),
        ("working_directory", b"/srv/../..", "leaves its place"),
        ("user_form", 3, "illegal user"),
        ("uid", 0xFFFF_FFFF, "illegal user|out of range"),
        ("user_name", b"root", "illegal user|not a user name"),
        ("readiness", 0, "unknown readiness"),
        ("readiness_port", 70, "readiness port out of range"),
        ("stop_signal", 0, "not a stop signal"),
        ("stop_signal", 64, "not a stop signal"),
        ("grace_s", 3601, "grace out of range"),
        ("restart", 9, "unknown restart"),
        ("self_managing", 2, "unknown self-managing"),
    ],
)
def test_wrong_process_field_is_named(field: str, value: object, complaint: str) -> None:
    raw = _raw()
    process = 0 if field == "readiness_port" else 1
    raw[3][process][field] = value
    _refused(raw, complaint)


@pytest.mark.parametrize(
    ("field", "value", "complaint"),
    [
        ("name", b"../etc", "not a package name"),
        ("version", b"1 2", "not a version"),
        ("build_date", 1 << 40, "build date"),
        ("local", [{"name": b"b", "value": b""}, {"name": b"a", "value": b""}], "not sorted"),
        ("remote", [{"name": b"b", "value": b"newest"}], "not a version constraint"),
        ("upgrades", [{"name": b"b", "value": b">= 1,< 2"}], "not a version constraint"),
    ],
)
def test_wrong_package_field_is_named(field: str, value: object, complaint: str) -> None:
    raw = _raw()
    raw[1][field] = value
    _refused(raw, complaint)


def test_modules_and_processes_stand_in_order_and_once() -> None:
    raw = _raw()
    raw[2][0], raw[2][1] = raw[2][1], raw[2][0]
    _refused(raw, "modules are not sorted and unique")
    raw = _raw()
    raw[2].append(raw[2][-1])
    _refused(raw, "modules are not sorted and unique")
    raw = _raw()
    raw[3].reverse()
    _refused(raw, "not sorted and unique")


def test_counts_over_their_bounds_are_refused_before_anything_is_read() -> None:
    tables = layout.TABLE[3].parse(TABLE)
    tables[1].body = (layout.MAX_MODULES + 1).to_bytes(4, "big") + tables[1].body[4:]
    with pytest.raises(PackageFormatError, match="out of bounds"):
        decode_table_1(layout.TABLE[3].build(tables), "sample")


def test_a_malformed_table_is_refused_though_it_is_signed() -> None:
    with pytest.raises(PackageFormatError, match="left over"):
        read(seal_1(TABLE + b"\0", CONTENT, [KEY]))
