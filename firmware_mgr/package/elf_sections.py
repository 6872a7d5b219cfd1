"""Where the sections of an ELF file are: a small reader that gives up on anything odd.

Knows the ELF header, section headers and program headers, 32 and 64 bits, both byte orders (System V ABI,
chapters 4 and 5). Refuses to know symbols, relocations and code.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Final

from construct import (
    Bytes,
    Construct,
    ConstructError,
    Container,
    Int8ub,
    Int16ub,
    Int16ul,
    Int32ub,
    Int32ul,
    Int64ub,
    Int64ul,
    Struct,
)

ELF_MAGIC: Final = b"\x7fELF"
CLASS_32: Final = 1
CLASS_64: Final = 2
DATA_LITTLE: Final = 1
DATA_BIG: Final = 2
VERSION: Final = 1
SHT_PROGBITS: Final = 1
SHT_NOTE: Final = 7
SHT_NOBITS: Final = 8
SHF_ALLOC: Final = 2
PT_LOAD: Final = 1
PT_NOTE: Final = 4
ET_REL: Final = 1
PAGE: Final = 4096  # the smallest that a kernel maps by: what lies in the rest of a page is mapped too
MAX_NAME: Final = 64  # names may lie one in the other: whole ones of all sections could fill any memory
MAX_HEADERS: Final = 0xFF00  # SHN_LORESERVE: above it the real count stands elsewhere

_IDENT: Final = Struct("magic" / Bytes(4), "bits" / Int8ub, "order" / Int8ub, "version" / Int8ub, Bytes(9))


@dataclass(frozen=True, slots=True)
class Section:
    """A section that has bytes in the file: `place` is where. `name` are the first MAX_NAME bytes of it."""

    name: bytes
    kind: int
    flags: int
    place: range


@dataclass(frozen=True, slots=True)
class Segment:
    """What a program header says: `place` in the file, `address` in memory."""

    kind: int
    address: int
    place: range


@dataclass(frozen=True, slots=True)
class ElfMap:
    """Which bytes of an ELF file are what. `headers` are the ELF, program and section headers."""

    kind: int
    entry: int
    sections: tuple[Section, ...]
    segments: tuple[Segment, ...]
    headers: tuple[range, ...]
    little_endian: bool

    def starts_in(self, place: range) -> bool:
        """Whether the program begins with a byte of that place, by any LOAD segment and its pages' rest."""
        for segment in self.segments:
            first = segment.address // PAGE * PAGE
            end = -(-(segment.address + len(segment.place)) // PAGE) * PAGE
            at = self.entry - segment.address + segment.place.start
            if segment.kind == PT_LOAD and first <= self.entry < end and at in place:
                return True
        return False


@dataclass(frozen=True, slots=True)
class _Shapes:
    header: Construct
    section: Construct
    program: Construct


class _Odd(Exception):
    """The file is not a plain ELF file."""


def map_elf(data: bytes) -> ElfMap | None:
    """The map of an ELF file, or None when it is none or odd: out of bounds, no names, extended numbering."""
    try:
        return _map(data)
    except (_Odd, ConstructError):
        return None


def _map(data: bytes) -> ElfMap:
    ident = _IDENT.parse(data)
    if ident.magic != ELF_MAGIC or ident.version != VERSION:
        raise _Odd
    if ident.bits not in (CLASS_32, CLASS_64) or ident.order not in (DATA_LITTLE, DATA_BIG):
        raise _Odd
    shapes = _shapes(ident.bits, ident.order)
    header = shapes.header.parse(data)
    if header.shentsize != shapes.section.sizeof() or not 0 < header.shstrndx < header.shnum < MAX_HEADERS:
        raise _Odd
    if header.phnum and (header.phentsize != shapes.program.sizeof() or header.phnum >= MAX_HEADERS):
        raise _Odd
    section_headers = _inside(data, header.shoff, header.shnum * header.shentsize)
    program_headers = _inside(data, header.phoff, header.phnum * header.phentsize if header.phnum else 0)
    named = next(_records(data, section_headers[header.shstrndx * header.shentsize :], shapes.section))
    name_place = _inside(data, named.offset, named.size)
    names = data[name_place.start : name_place.stop]
    if not names.endswith(b"\0"):
        raise _Odd
    sections = _records(data, section_headers[header.shentsize :], shapes.section)
    programs = _records(data, program_headers, shapes.program)
    return ElfMap(
        kind=header.kind,
        entry=header.entry,
        sections=tuple(_section(data, item, names) for item in sections if item.kind != SHT_NOBITS),
        segments=tuple(Segment(p.kind, p.vaddr, _inside(data, p.offset, p.filesz)) for p in programs),
        headers=(range(shapes.header.sizeof()), section_headers, program_headers),
        little_endian=ident.order == DATA_LITTLE,
    )


def _records(data: bytes, place: range, shape: Construct) -> Iterator[Container]:
    """One after the other, so that never more than one is held."""
    for at in range(place.start, place.stop, shape.sizeof()):
        yield shape.parse(data[at : at + shape.sizeof()])


def _section(data: bytes, raw: Container, names: bytes) -> Section:
    if raw.name >= len(names):
        raise _Odd
    name = names[raw.name : raw.name + MAX_NAME].partition(b"\0")[0]
    return Section(name, raw.kind, raw.flags, _inside(data, raw.offset, raw.size))


def _inside(data: bytes, offset: int, size: int) -> range:
    if offset + size > len(data):
        raise _Odd
    return range(offset, offset + size)


@cache
def _shapes(bits: int, order: int) -> _Shapes:
    little = order == DATA_LITTLE
    half, word = (Int16ul, Int32ul) if little else (Int16ub, Int32ub)
    wide = word if bits == CLASS_32 else (Int64ul if little else Int64ub)
    header = Struct(
        "ident" / Bytes(16),
        "kind" / half,
        "machine" / half,
        "version" / word,
        "entry" / wide,
        "phoff" / wide,
        "shoff" / wide,
        "flags" / word,
        "ehsize" / half,
        "phentsize" / half,
        "phnum" / half,
        "shentsize" / half,
        "shnum" / half,
        "shstrndx" / half,
    )
    section = Struct(
        "name" / word,
        "kind" / word,
        "flags" / wide,
        "address" / wide,
        "offset" / wide,
        "size" / wide,
        "link" / word,
        "info" / word,
        "align" / wide,
        "entsize" / wide,
    )
    # p_flags stands second in 64 bits, seventh in 32; no flags are read
    before = () if bits == CLASS_32 else ("flags" / word,)
    after = ("flags" / word,) if bits == CLASS_32 else ()
    program = Struct(
        "kind" / word,
        *before,
        "offset" / wide,
        "vaddr" / wide,
        "paddr" / wide,
        "filesz" / wide,
        "memsz" / wide,
        *after,
        "align" / wide,
    )
    assert (header.sizeof(), section.sizeof(), program.sizeof()) == (
        (52, 40, 32) if bits == CLASS_32 else (64, 64, 56)
    )
    return _Shapes(header, section, program)
