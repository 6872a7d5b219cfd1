"""What of an ELF file can change behaviour: all but build-id and debug link. SPEC-substance.

Refuses to guess: a file that is odd in any way has no answer here, and goes by its whole content.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Final

from construct import ConstructError, Int32ub, Int32ul, Struct

from firmware_mgr.model.ids import Digest
from firmware_mgr.package.elf_sections import (
    ET_REL,
    PT_LOAD,
    PT_NOTE,
    SHF_ALLOC,
    SHT_NOTE,
    SHT_PROGBITS,
    ElfMap,
    Section,
    map_elf,
)

ELF_CONTEXT: Final = b"fwmgr ELF substance 1\0"
BUILD_ID: Final = b".note.gnu.build-id"
DEBUG_LINK: Final = b".gnu_debuglink"
NOTE_OWNER: Final = b"GNU\0"
NT_GNU_BUILD_ID: Final = 3
NOTE_HEADER: Final = 12 + len(NOTE_OWNER)
MAX_BUILD_ID: Final = 64
MAX_DEBUG_LINK: Final = 512


def elf_signature(data: bytes) -> Digest | None:
    """None when the file is odd."""
    elf = map_elf(data)
    places = _accidental(data, elf) if elf else None
    return None if places is None else _without(data, places)


def _without(data: bytes, places: Iterable[range]) -> Digest:
    kept = bytearray(data)
    for place in places:
        kept[place.start : place.stop] = bytes(len(place))
    digest = hashlib.sha256(ELF_CONTEXT)
    digest.update(kept)
    return Digest(digest.hexdigest())


def _accidental(data: bytes, elf: ElfMap) -> list[range] | None:
    """The bytes that only say when and where it was built; None when a section is not what it seems."""
    places: list[range] = []
    for name in (BUILD_ID, DEBUG_LINK):
        sections = [section for section in elf.sections if section.name == name]
        if len(sections) > 1:
            return None
        for section in sections:
            if not _stands_alone(section, elf) or elf.starts_in(section.place):
                return None
            place = _build_id(data, section, elf) if name == BUILD_ID else _debug_link(data, section, elf)
            if place is None:
                return None
            places.append(place)
    return places


def _build_id(data: bytes, section: Section, elf: ElfMap) -> range | None:
    word = Int32ul if elf.little_endian else Int32ub
    note = Struct("owner_length" / word, "length" / word, "kind" / word)
    raw = data[section.place.start : section.place.stop]
    try:
        head = note.parse(raw)
    except ConstructError:
        return None
    right = (
        section.kind == SHT_NOTE
        and section.flags == SHF_ALLOC
        and _noted(section, elf)
        and (head.owner_length, head.kind) == (len(NOTE_OWNER), NT_GNU_BUILD_ID)
        and raw[12:NOTE_HEADER] == NOTE_OWNER
        and 0 < head.length <= MAX_BUILD_ID
        and head.length % 4 == 0
        and len(raw) == NOTE_HEADER + head.length
    )
    return range(section.place.start + NOTE_HEADER, section.place.stop) if right else None


def _noted(section: Section, elf: ElfMap) -> bool:
    """Whether program headers have it for a note, and for nothing else. Relocatable files have none."""
    if elf.kind == ET_REL and not elf.segments:
        return True
    over = [segment for segment in elf.segments if _overlap(section.place, segment.place)]
    covered = any(
        segment.kind == PT_NOTE
        and segment.place.start <= section.place.start
        and section.place.stop <= segment.place.stop
        for segment in over
    )
    return covered and all(segment.kind in (PT_LOAD, PT_NOTE) for segment in over)


def _debug_link(data: bytes, section: Section, elf: ElfMap) -> range | None:
    raw = data[section.place.start : section.place.stop]
    end = raw.find(b"\0")
    crc_at = (end + 4) // 4 * 4
    right = (
        section.kind == SHT_PROGBITS
        and not section.flags
        and end > 0
        and len(raw) <= MAX_DEBUG_LINK
        and not any(raw[end:crc_at])
        and len(raw) == crc_at + 4
        and not any(_overlap(section.place, place) for place in (one.place for one in elf.segments))
    )
    return section.place if right else None


def _stands_alone(section: Section, elf: ElfMap) -> bool:
    others = [other.place for other in elf.sections if other is not section]
    return not any(_overlap(section.place, place) for place in (*others, *elf.headers))


def _overlap(one: range, other: range) -> bool:
    return max(one.start, other.start) < min(one.stop, other.stop)
