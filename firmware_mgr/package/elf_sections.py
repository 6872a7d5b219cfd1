"""Where the sections of an ELF file are: a small reader that gives up on anything odd.

Knows the ELF header, section headers and program headers, 32 and 64 bits, both byte orders (System V ABI,
chapters 4 and 5). Refuses to know symbols, relocations and code.
"""

from __future__ import annotations

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
MAX_HEADERS: Final = 0xFF00  # SHN_LORESERVE: above it the real count stands elsewhere

_IDENT: Final = Struct("magic" / Bytes(4), "bits" / Int8ub, "order" / Int8ub, "version" / Int8ub, Bytes(9))


@dataclass(frozen=True, slots=True)
class Section:
    """A section that has bytes in the file: `place` is where."""

    name: bytes
    kind: int
    flags: int
    place: range


@dataclass(frozen=True, slots=True)
class ElfMap:
    """Which bytes of an ELF file are what. `headers` are the ELF, program and section headers."""

    sections: tuple[Section, ...]
    loaded: tuple[range, ...]
    headers: tuple[range, ...]
    little_endian: bool


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
    raw = shapes.section[header.shnum].parse(data[section_headers.start : section_headers.stop])
    programs = shapes.program[header.phnum].parse(data[program_headers.start : program_headers.stop])
    name_place = _inside(data, raw[header.shstrndx].offset, raw[header.shstrndx].size)
    names = data[name_place.start : name_place.stop]
    return ElfMap(
        sections=tuple(_section(data, item, names) for item in raw[1:] if item.kind != SHT_NOBITS),
        loaded=tuple(_inside(data, p.offset, p.filesz) for p in programs if p.kind == PT_LOAD),
        headers=(range(shapes.header.sizeof()), section_headers, program_headers),
        little_endian=ident.order == DATA_LITTLE,
    )


def _section(data: bytes, raw: Container, names: bytes) -> Section:
    end = names.find(b"\0", raw.name)
    if raw.name >= len(names) or end < 0:
        raise _Odd
    return Section(names[raw.name : end], raw.kind, raw.flags, _inside(data, raw.offset, raw.size))


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
    # p_flags stands second in 64 bits, seventh in 32; only kind, offset and filesz are read
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
