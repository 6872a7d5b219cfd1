"""The table of contents of a set or composite image as bytes, both ways: SPEC-package §10.

Knows which field stands where. Refuses to know files, keys and content.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from construct import Container

from firmware_mgr.model.ids import Digest
from firmware_mgr.package import layout
from firmware_mgr.package import layout_tables as lt
from firmware_mgr.package.bundle import MEMBER_ORDER, Bundle, Member, MemberFile, MemberKind, Targets
from firmware_mgr.package.checks import check_files
from firmware_mgr.package.forms import (
    Place,
    build_tables,
    code,
    only,
    reading,
    records,
    reserved,
    table_bodies,
    text,
    texts,
    value,
)
from firmware_mgr.package.layout import EnvelopeKind
from firmware_mgr.package.piece_form import piece_fields, pieces_of

MEMBER_CODES: Mapping[int, MemberKind] = dict(enumerate(MEMBER_ORDER, 1))
TABLES = {
    EnvelopeKind.SET: (lt.TABLE_BUNDLE, lt.TABLE_MEMBERS),
    EnvelopeKind.COMPOSITE: (lt.TABLE_BUNDLE, lt.TABLE_TARGETS, lt.TABLE_MEMBERS),
}


def decode_bundle(data: bytes, kind: EnvelopeKind, where: str) -> Bundle:
    """Raises PackageFormatError, whatever the bytes are."""
    place = Place(where)
    with reading(place):
        bodies = dict(
            zip(TABLES[kind], table_bodies(data, TABLES[kind], place, layout.MAX_TABLE), strict=True)
        )
        place.part = lt.TABLE_NAMES[lt.TABLE_BUNDLE]
        about = only(bodies[lt.TABLE_BUNDLE], lt.BUNDLE)
        targets = Targets()
        if lt.TABLE_TARGETS in bodies:
            place.part = lt.TABLE_NAMES[lt.TABLE_TARGETS]
            raw = only(bodies[lt.TABLE_TARGETS], lt.TARGETS)
            targets = Targets(texts(raw.slots), texts(raw.boards), texts(raw.classes), texts(raw.packages))
        place.part = lt.TABLE_NAMES[lt.TABLE_MEMBERS]
        members = records(bodies[lt.TABLE_MEMBERS], lt.MEMBER_COUNT, lt.MEMBER, _Files().member)
        place.part = "table of contents"
        return Bundle(kind, text(about.name), text(about.version), about.build_date, members, targets)


def encode_bundle(bundle: Bundle) -> bytes:
    """The one encoding of the table."""
    lists = {what: [name.encode() for name in names] for what, names in bundle.targets.lists()}
    about = {
        "name": bundle.name.encode(),
        "version": bundle.version.encode(),
        "build_date": bundle.build_date,
    }
    members = lt.MEMBER_COUNT.build(len(bundle.members))
    members += b"".join(lt.MEMBER.build(_member_fields(member)) for member in bundle.members)
    bodies = {
        lt.TABLE_BUNDLE: lt.BUNDLE.build(about),
        lt.TABLE_TARGETS: lt.TARGETS.build(lists),
        lt.TABLE_MEMBERS: members,
    }
    return build_tables({kind: bodies[kind] for kind in TABLES[bundle.kind]})


@dataclass(slots=True)
class _Files:
    """Counts files while members are read, so that no more are held than are legal."""

    count: int = 0

    def member(self, raw: Container) -> Member:
        self.count += len(raw.files)
        check_files(self.count)
        return _member(raw)


def _member(raw: Container) -> Member:
    name = text(raw.name)
    reserved(raw.reserved, name)
    kind = value(MEMBER_CODES, raw.kind, "kind of member", name)
    return Member(kind, name, text(raw.version), tuple(_file(file) for file in raw.files))


def _file(raw: Container) -> MemberFile:
    name = text(raw.name)
    return MemberFile(
        name, raw.length, raw.offset, Digest.from_bytes(raw.sha256), pieces_of(raw.pieces, name)
    )


def _member_fields(member: Member) -> dict[str, Any]:
    return {
        "kind": code(MEMBER_CODES, member.kind),
        "reserved": 0,
        "name": member.name.encode(),
        "version": member.version.encode(),
        "files": [
            {
                "name": file.name.encode(),
                "length": file.length,
                "offset": file.offset,
                "sha256": file.sha256.to_bytes(),
                "pieces": piece_fields(file.pieces),
            }
            for file in member.files
        ],
    }
