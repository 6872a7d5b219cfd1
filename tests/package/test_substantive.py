"""The substantive signature: equal for two builds of one source, different for everything that can matter."""

from __future__ import annotations

import shutil
import subprocess
import tracemalloc
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware_mgr.model.ids import Digest
from firmware_mgr.package.elf_sections import map_elf
from firmware_mgr.package.substantive import substantive_signature

from .elf_bytes import (
    ALLOC,
    DYNAMIC,
    EXECUTE,
    INTERPRETER,
    NOTE,
    NOTES,
    Part,
    build_id,
    debug_link,
    elf,
    text,
)

SHAPES = [(64, "<"), (64, ">"), (32, "<"), (32, ">")]


def build(ident: bytes, crc: int, code: bytes = b"\xc3" * 40, bits: int = 64, order: str = "<") -> bytes:
    link = debug_link(ident.hex().encode() + b".debug", crc, order)
    return elf(build_id(ident, order), text(code), link, bits=bits, order=order)


@pytest.mark.parametrize(("bits", "order"), SHAPES)
def test_two_builds_of_one_source_are_equal(bits: int, order: str) -> None:
    first = build(b"a" * 20, 1, bits=bits, order=order)
    second = build(b"b" * 20, 2, bits=bits, order=order)
    assert first != second
    assert substantive_signature(first) == substantive_signature(second)
    assert substantive_signature(first) != Digest.of(first)


@pytest.mark.parametrize(("bits", "order"), SHAPES)
def test_one_byte_of_code_makes_them_differ(bits: int, order: str) -> None:
    first = build(b"a" * 20, 1, b"\xc3" * 40, bits, order)
    second = build(b"a" * 20, 1, b"\xc3" * 39 + b"\x90", bits, order)
    assert substantive_signature(first) != substantive_signature(second)


def test_every_byte_but_those_left_out_counts() -> None:
    data = build(b"a" * 20, 1)
    signature = substantive_signature(data)
    same = []
    for position in range(len(data)):
        damaged = bytearray(data)
        damaged[position] ^= 0xFF
        if substantive_signature(bytes(damaged)) == signature:
            same.append(position)
    ident, link = data.index(b"a" * 20), data.index(b"a".hex().encode() * 20 + b".debug")
    # In the debug link a changed padding byte, or a NUL in the name, makes the section odd.
    allowed = {*range(ident, ident + 20), *range(link, link + 52)}
    assert set(range(ident, ident + 20)) <= set(same) <= allowed


def test_a_plain_file_goes_by_its_content() -> None:
    assert substantive_signature(b"text\n") == Digest.of(b"text\n")
    assert substantive_signature(b"") == Digest.of(b"")


def odd(data: bytes) -> bool:
    """Whether the file goes by its whole content."""
    return substantive_signature(data) == Digest.of(data)


def test_sections_that_are_not_what_they_seem_count_whole() -> None:
    ident, link = build_id(b"a" * 20), debug_link(b"x.debug", 1)
    cases = {
        "code under the name of the build id": [replace(ident, data=b"\x90" * 36)],
        "another kind of note": [build_id(b"a" * 20, kind=1)],
        "another owner": [build_id(b"a" * 20, owner=b"Go\0\0")],
        "an id that is too long": [build_id(b"a" * 68)],
        "two notes": [replace(ident, data=ident.data * 2)],
        "not of type NOTE": [replace(ident, kind=1)],
        "a build id that is code": [replace(ident, flags=ALLOC | EXECUTE)],
        "a build id that is not loaded": [replace(ident, flags=0)],
        "a debug link with a flag": [replace(link, flags=EXECUTE)],
        "twice": [ident, ident],
        "a loaded debug link": [replace(link, flags=ALLOC)],
        "a debug link with more behind it": [replace(link, data=link.data + b"more")],
        "a debug link without a name": [replace(link, data=b"\0" * 8)],
        "a debug link without an end": [replace(link, data=b"x" * 12)],
        "a long debug link": [debug_link(b"x" * 600, 1)],
        "a debug link of type NOTE": [replace(link, kind=NOTE)],
    }
    for name, parts in cases.items():
        assert odd(elf(*parts, text())), name
    assert not odd(elf(ident, text(), link))


def test_a_section_laid_over_another_counts_whole() -> None:
    plain = elf(text(), debug_link(b"x.debug", 1))
    place = plain.index(b"\xc3" * 40)
    over = replace(debug_link(b"x.debug", 1), offset=place)
    assert odd(elf(text(debug_link(b"x.debug", 1).data), over))
    ident = replace(build_id(b"a" * 20), offset=place)
    assert odd(elf(text(build_id(b"a" * 20).data), ident))


def test_a_debug_link_inside_a_loaded_segment_counts_whole() -> None:
    parts = (text(), debug_link(b"x.debug", 1))
    length = len(elf(*parts))
    assert not odd(elf(*parts))
    assert odd(elf(*parts, load=slice(0, length)))


@pytest.mark.parametrize(("bits", "order"), SHAPES)
def test_a_section_that_program_headers_use_for_something_else_counts_whole(bits: int, order: str) -> None:
    parts = (build_id(b"a" * 20, order), text(), debug_link(b"x.debug", 1, order))

    def made(segments: dict[int, bytes]) -> bytes:
        return elf(*parts, bits=bits, order=order, segments=segments)

    usual = {NOTES: b".note.gnu.build-id"}
    assert not odd(made(usual))
    assert odd(made({})), "a build id that no segment has for a note"
    assert odd(made({NOTES: b".text"}))
    for kind in (DYNAMIC, INTERPRETER, 0x6FFFFFFF):
        assert not odd(made({**usual, kind: b".text"}))
        assert odd(made({**usual, kind: b".note.gnu.build-id"})), kind
        assert odd(made({**usual, kind: b".gnu_debuglink"})), kind
    assert odd(made({NOTES: b".gnu_debuglink"}))


@pytest.mark.parametrize(("bits", "order"), SHAPES)
def test_a_program_that_begins_in_its_build_id_counts_whole(bits: int, order: str) -> None:
    parts = (build_id(b"\x90" * 64, order), text(), debug_link(b"x.debug", 1, order))
    assert not odd(elf(*parts, bits=bits, order=order, starts_in=b".text"))
    assert odd(elf(*parts, bits=bits, order=order, starts_in=b".note.gnu.build-id"))
    # Not loaded by any header, but in the rest of a page that is.
    assert odd(elf(*parts, bits=bits, order=order, starts_in=b".gnu_debuglink"))


def test_a_relocatable_file_needs_no_program_headers() -> None:
    """As kernel modules have it."""
    without = bytearray(build(b"a" * 20, 1))
    without[32:40] = bytes(8)  # where program headers are
    without[56:58] = bytes(2)  # how many
    assert odd(bytes(without))
    without[16:18] = b"\1\0"  # relocatable
    assert not odd(bytes(without))


def test_sections_with_long_names_in_each_other_take_little_memory() -> None:
    """Ten thousand sections, each named by the same 2 MiB."""
    parts = [Part(b"x" * (2 << 20), b"")]
    shared = bytearray(elf(*parts))
    start, count, size = int.from_bytes(shared[40:48], "little"), 10_000, 64
    header = shared[start + size : start + 2 * size]
    last = shared[start + 2 * size : start + 3 * size]
    many = bytes(shared[:start] + bytes(size) + header * count + last)
    many = many[:60] + (count + 2).to_bytes(2, "little") + (count + 1).to_bytes(2, "little") + many[64:]
    tracemalloc.start()
    try:
        found = map_elf(many)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert found is not None and len(found.sections) == count + 1
    assert peak < 16 << 20, peak


def test_a_section_whose_long_name_begins_like_a_known_one_is_another() -> None:
    ident = build_id(b"a" * 20)
    for name in (b".note.gnu.build-id" + b"x" * 100, b".note.gnu.build-id2"):
        assert odd(elf(replace(ident, name=name), text())) is False
        one, two = (elf(replace(build_id(c * 20), name=name), text()) for c in (b"a", b"b"))
        assert substantive_signature(one) != substantive_signature(two)


def test_a_section_out_of_bounds_counts_whole() -> None:
    assert odd(elf(text(), Part(b".far", b"x", offset=1 << 40)))


def test_every_truncated_elf_file_goes_by_its_content_or_has_no_sections() -> None:
    data = build(b"a" * 20, 1)
    for length in range(len(data)):
        assert odd(data[:length])


@given(st.integers(0, 10_000), st.binary(min_size=1, max_size=8))
def test_no_damage_to_an_elf_file_makes_the_reader_fail(at: int, piece: bytes) -> None:
    data = build(b"a" * 20, 1)
    at %= len(data)
    damaged = data[:at] + piece + data[at + len(piece) :]
    substantive_signature(damaged)
    elf_map = map_elf(damaged)
    if elf_map is not None:
        assert all(section.place.stop <= len(damaged) for section in elf_map.sections)


def test_real_tools_agree_that_only_the_named_sections_differ(tmp_path: Path) -> None:
    """With binutils: a program of this machine, stripped of nothing, given two other debug links."""
    objcopy = shutil.which("objcopy")
    assert objcopy, "binutils is missing: tools/prepare installs it"
    signatures = set()
    for name in ("one.debug", "two.debug"):
        (tmp_path / name).write_bytes(name.encode() * 100)
        out = tmp_path / f"{name}.elf"
        command = [objcopy, f"--add-gnu-debuglink={tmp_path / name}", "--remove-section=.gnu_debuglink"]
        subprocess.run([objcopy, "--remove-section=.gnu_debuglink", "/bin/true", str(out)], check=True)
        subprocess.run([*command[:2], str(out)], check=True)
        signatures.add(substantive_signature(out.read_bytes()))
        assert not odd(out.read_bytes())
    assert len(signatures) == 1
