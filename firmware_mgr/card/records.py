"""The documents that a card keeps in its store: sets, packages, boot images. Names and JSON, both ways.

A document that cannot be read counts as not there: what it spoke of is then burned again.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from firmware_mgr.card.stand_ins import PREFIX as STAND_IN
from firmware_mgr.card.stand_ins import stand_in_name
from firmware_mgr.flash.boot_partition import BootImageLayout
from firmware_mgr.flash.letter import Letter
from firmware_mgr.model.errors import FwmgrError, PeerError
from firmware_mgr.model.ids import Digest
from firmware_mgr.model.software import BootImageRef, PackageRef, SoftwareSet, canonical_json

STORED = "stored"
VALIDATED = "validated"
_SET = "set/"
_PACKAGE = "package/"
_BOOT = "boot/"
#: The pieces of a boot partition that are being written: until a sync none is known to stay as it reads.
_WRITING = "writing/"


@dataclass(frozen=True, slots=True)
class PackageEntry:
    """A stored package and the blob that holds its head: header, signatures, table of contents."""

    ref: PackageRef
    head: Digest


@dataclass(frozen=True, slots=True)
class BootEntry:
    """What was burned to a boot partition."""

    ref: BootImageRef
    layout: BootImageLayout


@dataclass(frozen=True, slots=True)
class Records:
    """All documents of a store, read. `stored` and `validated` are digests of sets in `sets`."""

    sets: Mapping[Digest, SoftwareSet]
    packages: Mapping[Digest, PackageEntry]
    boot: Mapping[Letter, BootEntry]
    stored: Digest | None
    validated: Digest | None

    @property
    def kept_packages(self) -> dict[Digest, PackageEntry]:
        """Those of the kept sets; of others there are records at most."""
        kept = {ref.digest for software in self.kept_sets.values() for ref in software.packages}
        return {digest: entry for digest, entry in self.packages.items() if digest in kept}

    @property
    def kept_sets(self) -> dict[Digest, SoftwareSet]:
        """The sets that may be run: the stored one and the last validated one."""
        return {
            digest: self.sets[digest]
            for digest in (self.stored, self.validated)
            if digest in self.sets and digest
        }


EMPTY = Records({}, {}, {}, None, None)


def read_records(documents: Mapping[str, bytes]) -> Records:
    sets: dict[Digest, SoftwareSet] = {}
    packages: dict[Digest, PackageEntry] = {}
    boot: dict[Letter, BootEntry] = {}
    for name, raw in documents.items():
        try:
            if name.startswith(_SET):
                software = SoftwareSet.from_document(_json(raw))
                sets[software.digest] = software
            elif name.startswith(_PACKAGE):
                document = _json(raw)
                ref = PackageRef.from_document(document["ref"])
                packages[ref.digest] = PackageEntry(ref, Digest(str(document["head"])))
            elif name.startswith(_BOOT):
                document = _json(raw)
                entry = BootEntry(
                    BootImageRef.from_document(document["ref"]),
                    BootImageLayout.from_document(document["layout"]),
                )
                boot[Letter(name.removeprefix(_BOOT))] = entry
        except (FwmgrError, KeyError, TypeError, ValueError):
            continue
    return Records(
        sets, packages, boot, _pointer(documents, STORED, sets), _pointer(documents, VALIDATED, sets)
    )


def _json(raw: bytes) -> dict[str, Any]:
    document = json.loads(raw)
    if not isinstance(document, dict):
        raise PeerError("not a record", found=type(document).__name__)
    return document


def _pointer(documents: Mapping[str, bytes], name: str, sets: Mapping[Digest, SoftwareSet]) -> Digest | None:
    try:
        digest = Digest(documents.get(name, b"").decode())
    except (FwmgrError, UnicodeDecodeError):
        return None
    return digest if digest in sets else None


def set_document(software: SoftwareSet) -> tuple[str, bytes]:
    return _SET + software.digest.hex, canonical_json(software.document())


def package_document(entry: PackageEntry) -> tuple[str, bytes]:
    document = {"ref": entry.ref.document(), "head": entry.head.hex}
    return _PACKAGE + entry.ref.digest.hex, canonical_json(document)


def unneeded(documents: Collection[str], sets: Iterable[SoftwareSet]) -> list[str]:
    """The names of the documents that are of sets and packages, and of none of these."""
    kept = set()
    for software in sets:
        kept.add(set_document(software)[0])
        for ref in software.packages:
            kept |= {_PACKAGE + ref.digest.hex, stand_in_name(ref.digest)}
    return [name for name in documents if name.startswith((_SET, _PACKAGE, STAND_IN)) and name not in kept]


def boot_name(letter: Letter) -> str:
    return _BOOT + letter.value


def boot_document(letter: Letter, entry: BootEntry) -> tuple[str, bytes]:
    return boot_name(letter), canonical_json({"ref": entry.ref.document(), "layout": entry.layout.document()})


def writing_name(letter: Letter) -> str:
    return _WRITING + letter.value


def writing_document(letter: Letter, pieces: Collection[int]) -> tuple[str, bytes]:
    return writing_name(letter), canonical_json({"pieces": sorted(pieces)})


def pieces_in_doubt(documents: Mapping[str, bytes], letter: Letter) -> set[int]:
    """Pieces of this partition whose write may have been cut: they may read right now and wrong later."""
    try:
        return {int(index) for index in _json(documents[writing_name(letter)])["pieces"]}
    except (FwmgrError, KeyError, TypeError, ValueError):
        return set()
