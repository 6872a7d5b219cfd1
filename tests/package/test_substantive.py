"""The substantive signature: equal for two builds of one source, different for everything that can matter."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware_mgr.model.ids import Digest
from firmware_mgr.package.elf_sections import map_elf
from firmware_mgr.package.substantive import substantive_signature

from .elf_bytes import ALLOC, NOTE, Part, build_id, debug_link, elf, text

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
