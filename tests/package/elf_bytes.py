"""ELF files made byte by byte, of either class and byte order, with the sections that a test asks for."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass

LOAD, DYNAMIC, INTERPRETER, NOTES = 1, 2, 3, 4  # kinds of segments
PROGBITS, STRTAB, NOTE, NOBITS = 1, 3, 7, 8
ALLOC, EXECUTE = 2, 4


@dataclass(frozen=True)
class Part:
    """A section: its place is given only to lay it over something else."""

    name: bytes
    data: bytes
    kind: int = PROGBITS
    flags: int = 0
    offset: int | None = None


def build_id(value: bytes, order: str = "<", kind: int = 3, owner: bytes = b"GNU\0") -> Part:
    """The section that a linker writes for --build-id."""
    note = struct.pack(order + "III", len(owner), len(value), kind) + owner + value
    return Part(b".note.gnu.build-id", note, NOTE, ALLOC)


def debug_link(name: bytes, crc: int, order: str = "<") -> Part:
    """The section that `objcopy --add-gnu-debuglink` writes."""
    padded = name + b"\0" * (4 - len(name) % 4)
    return Part(b".gnu_debuglink", padded + struct.pack(order + "I", crc))


def text(code: bytes = b"\xc3" * 40) -> Part:
    """Code."""
    return Part(b".text", code, PROGBITS, ALLOC | EXECUTE)


#: What a linker writes beside LOAD.
USUAL: Mapping[int, bytes] = {NOTES: b".note.gnu.build-id"}


def elf(
    *parts: Part,
    bits: int = 64,
    order: str = "<",
    load: slice | None = None,
    segments: Mapping[int, bytes] = USUAL,
    starts_in: bytes = b"",
) -> bytes:
    """The file. `load` is the file range of its one LOAD segment; all that is allocated, when not given.

    `segments` are others: each of a kind, over the section of that name. `starts_in` is the section that the
    program begins in, behind its first four bytes.
    """
    wide = "Q" if bits == 64 else "I"
    header_size, section_size, program_size = (64, 64, 56) if bits == 64 else (52, 40, 32)
    body = b""
    names_here = {part.name for part in parts}
    segments = {kind: name for kind, name in segments.items() if name in names_here}
    base = header_size + program_size * (1 + len(segments))
    places: dict[bytes, tuple[int, int]] = {}
    names = b"\0"
    rows = [(0, 0, 0, 0, 0)]
    allocated = [base, base]
    for part in (*parts, Part(b".shstrtab", b"", STRTAB)):
        name_at = len(names)
        names += part.name + b"\0"
        data = names if part.name == b".shstrtab" else part.data
        body += bytes(-len(body) % 8)
        place = base + len(body) if part.offset is None else part.offset
        if part.offset is None and part.kind != NOBITS:
            body += data
        if part.flags & ALLOC:
            allocated[1] = max(allocated[1], place + len(data))
        rows.append((name_at, part.kind, part.flags, place, len(data)))
        places[part.name] = place, len(data)
    body += bytes(-len(body) % 8)
    sections = b"".join(
        struct.pack(order + "II" + wide * 4 + "II" + wide * 2, name, kind, flags, 0, place, size, 0, 0, 4, 0)
        for name, kind, flags, place, size in rows
    )
    start, stop = (load.start, load.stop) if load else allocated
    program = b""
    for kind, at, size in [
        (LOAD, start, stop - start),
        *((kind, *places[name]) for kind, name in segments.items()),
    ]:
        placed = (at, at, at, size, size)
        if bits == 64:
            program += struct.pack(order + "II" + wide * 6, kind, 5, *placed, 4096)
        else:
            program += struct.pack(order + "I" + wide * 5 + "I" + wide, kind, *placed, 5, 4096)
    entry = places[starts_in][0] + 4 if starts_in else 0
    ident = b"\x7fELF" + bytes([2 if bits == 64 else 1, 1 if order == "<" else 2, 1]) + bytes(9)
    machine = 183 if bits == 64 else 40
    header = ident + struct.pack(
        order + "HHI" + wide * 3 + "IHHHHHH",
        3, machine, 1, entry, header_size, base + len(body), 0,
        header_size, program_size, 1 + len(segments), section_size, len(rows), len(rows) - 1,
    )  # fmt: skip
    return header + program + body + sections
