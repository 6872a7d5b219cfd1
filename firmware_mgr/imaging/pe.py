"""Sections appended to a UEFI program: how a stub becomes a unified kernel image.

Does what `objcopy --add-section` does, and the same on every desk, whatever binutils it has. Knows where
there is room. Refuses to know what the stub makes of its sections.
"""

from __future__ import annotations

from collections.abc import Mapping

from construct import ConstructError

from firmware_mgr.imaging.pe_layout import (
    DATA_SECTION,
    DOS_MAGIC,
    FILE_HEADER,
    NEW_HEADER_OFFSET,
    OPTIONAL_HEADER,
    SECTION,
    SECTION_NAME_SIZE,
)
from firmware_mgr.model.errors import UsageError

#: In memory every section begins on a page of its own.
_PAGE = 4096


def with_sections(program: bytes, sections: Mapping[str, bytes], where: str) -> bytes:
    """The program with these sections behind its own, in this order. Its checksum becomes 0: not given.

    Raises UsageError when it is no PE32+ program, holds such a section already or has no room in its headers.
    """
    try:
        return _appended(program, sections, where)
    except ConstructError as e:
        raise UsageError("not a PE32+ program", where=where, found=str(e)) from e


def _appended(program: bytes, sections: Mapping[str, bytes], where: str) -> bytes:
    if program[:2] != DOS_MAGIC:
        raise UsageError("not a PE32+ program", where=where, expected="MZ", found=program[:2].hex())
    start = int.from_bytes(program[NEW_HEADER_OFFSET : NEW_HEADER_OFFSET + 4], "little")
    header = FILE_HEADER.parse(program[start:])
    optional_start = start + FILE_HEADER.sizeof()
    optional = OPTIONAL_HEADER.parse(program[optional_start:])
    table = optional_start + header.optional_size
    room = (optional.headers_size - table) // SECTION.sizeof()
    count = header.section_count + len(sections)
    if count > room:
        raise UsageError("no room for sections", where=where, expected=f"at most {room}", found=count)
    known = [SECTION.parse(program[table + n * SECTION.sizeof() :]) for n in range(header.section_count)]
    names = {section.name.rstrip(b"\0").decode("latin-1") for section in known}
    address = max((section.virtual_address + section.virtual_size for section in known), default=0)
    body = bytearray(program)
    for number, (name, data) in enumerate(sections.items(), header.section_count):
        if name in names or len(name) > SECTION_NAME_SIZE:
            raise UsageError("section cannot be added", where=where, found=name)
        address = _up(address, max(_PAGE, optional.section_alignment))
        body += bytes(-len(body) % optional.file_alignment)
        entry = {
            "name": name.encode().ljust(SECTION_NAME_SIZE, b"\0"),
            "virtual_size": len(data),
            "virtual_address": address,
            "file_size": _up(len(data), optional.file_alignment),
            "file_offset": len(body),
            "characteristics": DATA_SECTION,
        }
        place = table + number * SECTION.sizeof()
        body[place : place + SECTION.sizeof()] = SECTION.build(entry)
        body += data
        address += len(data)
        optional.data_size += entry["file_size"]
    body += bytes(-len(body) % optional.file_alignment)
    header.section_count = count
    optional.image_size = _up(address, optional.section_alignment)
    optional.checksum = 0
    body[start:optional_start] = FILE_HEADER.build(header)
    body[optional_start : optional_start + OPTIONAL_HEADER.sizeof()] = OPTIONAL_HEADER.build(optional)
    return bytes(body)


def _up(number: int, step: int) -> int:
    return -(-number // step) * step
