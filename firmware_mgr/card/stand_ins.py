"""Modules that stay: content of the store that counts for a wanted, substantively equal module (R-4.7).

Knows when content is right for a module, by whose signed tables, how it is found, and its record. Refuses to
know what a burn writes, and when. docs/adr/0009-modules-that-stay.md.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from firmware_mgr.flash.store import Store
from firmware_mgr.model.errors import FwmgrError
from firmware_mgr.model.ids import Digest
from firmware_mgr.model.software import canonical_json
from firmware_mgr.package.contents import WITHOUT_CONTENT, Module, TableOfContents
from firmware_mgr.package.head import parse_header, verify_contents
from firmware_mgr.package.layout import FORMAT_VERSION, HEADER_SIZE
from firmware_mgr.package.trust import Trust

PREFIX: Final = "stand-in/"

#: Whether the store holds this content, and it reads right.
Present = Callable[[Digest], bool]


@dataclass(frozen=True, slots=True)
class StandIn:
    """Content of the store by its exact hash, and the blob of the package head whose table has it."""

    content: Digest
    table: Digest


#: By the exact hash of the module that is wanted.
StandIns = Mapping[Digest, StandIn]


class Tables:
    """The signed tables in a store, each read and verified once. `trust` is that for what is stored."""

    def __init__(self, store: Store, trust: Trust) -> None:
        self._store = store
        self._trust = trust
        self._known: dict[Digest, Mapping[Digest, Module]] = {}

    def contents(self, table: Digest) -> Mapping[Digest, Module]:
        """Its modules with bytes, by exact hash; none when it is not there, or not to be believed."""
        if table not in self._known:
            self._known[table] = self._read(table)
        return self._known[table]

    def _read(self, table: Digest) -> dict[Digest, Module]:
        if not self._store.has(table):
            return {}
        try:
            head = self._store.read(table)
            toc = verify_contents(parse_header(head[:HEADER_SIZE]), head, self._trust, "stored table")
        except FwmgrError:
            return {}
        return {module.sha256: module for module in _comparable(toc)}


def _comparable(toc: TableOfContents) -> list[Module]:
    """Those whose substantive signatures are by today's rules."""
    if toc.format != FORMAT_VERSION:
        return []
    return [module for module in toc.modules if module.kind not in WITHOUT_CONTENT]


def standing(
    toc: TableOfContents, recorded: StandIns, tables: Tables, present: Present
) -> dict[Digest, Module]:
    """What rightly stands in for modules of this table that are not present, by their exact hash."""
    found: dict[Digest, Module] = {}
    for wanted in _comparable(toc):
        stand_in = recorded.get(wanted.sha256)
        if stand_in is None or present(wanted.sha256):
            continue
        content = tables.contents(stand_in.table).get(stand_in.content)
        if content is not None and content.substantive == wanted.substantive and present(content.sha256):
            found[wanted.sha256] = content
    return found


def as_stored(modules: Iterable[Module], standing: Mapping[Digest, Module]) -> tuple[Module, ...]:
    """The modules with the bytes that flash has for them: their hash and length, and all else as wanted."""
    return tuple(
        module
        if module.kind in WITHOUT_CONTENT or (content := standing.get(module.sha256)) is None
        else replace(
            module,
            length=content.length,
            pieces=content.pieces,
            sha256=content.sha256,
            streamed=content.streamed,
        )
        for module in modules
    )


def find(
    lacking: Iterable[Module], heads: Sequence[Digest], tables: Tables, present: Present
) -> dict[Digest, StandIn]:
    """Content that may stand in for these modules of a table by today's rules, by their exact hash.

    The first of the heads that has some counts, so that few old tables are needed.
    """
    by_substance: dict[Digest, StandIn] = {}
    for head in heads:
        for content in tables.contents(head).values():
            if content.substantive not in by_substance and present(content.sha256):
                by_substance[content.substantive] = StandIn(content.sha256, head)
    alike = [module for module in lacking if module.substantive in by_substance]
    return {module.sha256: by_substance[module.substantive] for module in alike}


# The record.


def stand_in_name(package: Digest) -> str:
    return PREFIX + package.hex


def stand_in_document(stand_ins: StandIns) -> bytes | None:
    """None when there is nothing to record."""
    if not stand_ins:
        return None
    rows = {wanted.hex: [one.content.hex, one.table.hex] for wanted, one in stand_ins.items()}
    return canonical_json({"modules": rows})


def read_stand_ins(documents: Mapping[str, bytes], package: Digest) -> StandIns:
    """What is recorded for a package; nothing when it cannot be read: then its modules count as missing."""
    return _read(documents.get(stand_in_name(package), b""))


def all_stand_ins(documents: Mapping[str, bytes]) -> list[StandIns]:
    """What is recorded, of every package."""
    return [_read(raw) for name, raw in sorted(documents.items()) if name.startswith(PREFIX)]


def _read(raw: bytes) -> StandIns:
    try:
        rows = json.loads(raw)["modules"].items()
        return {
            Digest(wanted): StandIn(Digest(str(content)), Digest(str(table)))
            for wanted, (content, table) in rows
        }
    except (FwmgrError, AttributeError, KeyError, TypeError, ValueError):
        return {}
