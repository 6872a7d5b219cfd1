"""The record of what was burned into which card: entries chained by hash, exports signed with Ed25519.

Knows entries, their chain, and the keys of the catalogue they lie under. Knows not what a burn is, beyond its
fields. An entry holds the SHA-256 of the one before it, so that none can be changed, left out or put in
between; the signature over an export fixes the last one.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from firmware_mgr.link.messages import Stored
from firmware_mgr.link.wire import from_plain, to_plain
from firmware_mgr.master.catalogue import Catalogue, Condition, Conflict, Put
from firmware_mgr.master.schema import Schema
from firmware_mgr.master.trust import key_fingerprint
from firmware_mgr.model.errors import PeerError
from firmware_mgr.model.ids import Digest, SlotId
from firmware_mgr.model.software import SoftwareSet, canonical_json

RECORD: Final = "record/"
HEAD: Final = "record-head"

#: The first field of an export: what is signed can never be taken for anything else that is signed.
FORMAT: Final = "fwmgr-burn-record"
FORMAT_VERSION: Final = 1
#: What stands for the entry before the first.
NOTHING: Final = Digest("0" * 64)
#: How often appending is tried when others append at the same time.
APPEND_TRIES: Final = 20


@dataclass(frozen=True, slots=True)
class Burned:
    """One burn as the card reported it. `at` is in seconds since 1970 by the master's clock; what was written
    is less than the set's length when some of it was in flash already.
    """

    at: float
    slot: SlotId
    key_fingerprint: str | None
    software: SoftwareSet
    boot_partition: str
    boot_bytes_written: int
    package_bytes_written: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Entry:
    """The `number`th burn, counted from 1; `previous` is the digest of the entry before."""

    number: int
    previous: Digest
    burned: Burned

    @property
    def digest(self) -> Digest:
        return Digest.of(canonical_json(to_plain(self)))


@dataclass(frozen=True, slots=True)
class Head:
    """The newest entry."""

    number: int
    digest: Digest


@dataclass(frozen=True, slots=True)
class Export:
    """`document` is canonical JSON; `signature` the 64 bytes of its Ed25519 signature (RFC 8032)."""

    document: bytes
    signature: bytes


ENTRY: Final = Schema("burn", Entry)
HEAD_OF_RECORD: Final = Schema("burn-head", Head)


class BurnLog:
    """The record in a catalogue."""

    def __init__(self, catalogue: Catalogue, key: Ed25519PrivateKey) -> None:
        self._catalogue = catalogue
        self._key = key

    async def append(
        self, slot: SlotId, software: SoftwareSet, stored: Stored, key_fingerprint: str | None, now: float
    ) -> Entry:
        """Add a burn; once this returns it survives a power cut. Raises Conflict when others never pause."""
        burned = Burned(
            at=now,
            slot=slot,
            key_fingerprint=key_fingerprint,
            software=software,
            boot_partition=stored.boot_partition,
            boot_bytes_written=stored.boot_bytes_written,
            package_bytes_written=stored.package_bytes_written,
            seconds=stored.seconds,
        )
        for _ in range(APPEND_TRIES - 1):
            try:
                return await self._append(burned)
            except Conflict:
                continue
        return await self._append(burned)

    async def _append(self, burned: Burned) -> Entry:
        found = await self._catalogue.get(HEAD)
        head = Head(0, NOTHING) if found is None else HEAD_OF_RECORD.read(found.value, HEAD)
        entry = Entry(head.number + 1, head.digest, burned)
        conditions = [Condition.unchanged(HEAD, found), Condition.unchanged(entry_key(entry.number), None)]
        new_head = Head(entry.number, entry.digest)
        changes = [
            Put(entry_key(entry.number), ENTRY.write(entry)),
            Put(HEAD, HEAD_OF_RECORD.write(new_head)),
        ]
        await self._catalogue.transact(conditions, changes)
        return entry

    async def entries(self) -> tuple[Entry, ...]:
        """All entries, oldest first. Raises PeerError when the catalogue's chain is broken."""
        while True:
            head_found = await self._catalogue.get(HEAD)
            listing = await self._catalogue.list(RECORD)
            if await self._catalogue.get(HEAD) == head_found:  # nothing was added meanwhile
                break
        entries = tuple(ENTRY.read(document.value, document.key) for document in listing)
        check_chain(entries, "the catalogue's record")
        head = Head(0, NOTHING) if head_found is None else HEAD_OF_RECORD.read(head_found.value, HEAD)
        found = Head(entries[-1].number, entries[-1].digest) if entries else Head(0, NOTHING)
        if head != found:
            raise PeerError(
                "the newest entry is not the one that was written last",
                where="the catalogue's record",
                expected=f"entry {head.number}, {head.digest}",
                found=f"entry {found.number}, {found.digest}",
            )
        return entries

    async def export(self) -> Export:
        """All entries, signed. Raises PeerError when the catalogue's chain is broken."""
        return sign_export(await self.entries(), self._key)


def entry_key(number: int) -> str:
    """Ten digits, so that the order of keys is the order of entries."""
    return f"{RECORD}{number:010}"


def check_chain(entries: Sequence[Entry], where: str) -> None:
    """Raises PeerError when an entry has another number or another entry before it than it says."""
    previous = NOTHING
    for number, entry in enumerate(entries, start=1):
        if entry.number != number:
            raise PeerError(
                "an entry is missing or out of order", where=where, expected=number, found=entry.number
            )
        if entry.previous != previous:
            raise PeerError(
                f"entry {number} does not follow from the one before it",
                where=where,
                expected=previous,
                found=entry.previous,
            )
        previous = entry.digest


def sign_export(entries: Sequence[Entry], key: Ed25519PrivateKey) -> Export:
    """Pure: the same entries and key give the same bytes."""
    document = _document(entries, key.public_key())
    return Export(document, key.sign(document))


def verify_export(export: Export, key: Ed25519PublicKey, where: str = "burn record") -> tuple[Entry, ...]:
    """The entries of an export whose signature, form and chain are right. Raises PeerError.

    `key` is one that the reader trusts; the fingerprint in the document only helps to find it.
    """
    try:
        key.verify(export.signature, export.document)
    except InvalidSignature as e:
        raise PeerError(
            "the signature is not right", where=where, expected=f"one by key {key_fingerprint(key)[:16]}…"
        ) from e
    document = _read_json(export.document, where)
    for name, expected in (("format", FORMAT), ("version", FORMAT_VERSION)):
        if document.get(name) != expected:
            raise PeerError(f"unknown {name}", where=where, expected=expected, found=document.get(name))
    records = document.get("records")
    if not isinstance(records, list):
        raise PeerError("no records", where=where, expected="a list", found=type(records).__name__)
    entries = tuple(
        from_plain(Entry, record, f"{where}, record {n}") for n, record in enumerate(records, start=1)
    )
    check_chain(entries, where)
    if _document(entries, key) != export.document:
        raise PeerError("more or other fields than a record of burns has", where=where)
    return entries


def _document(entries: Sequence[Entry], key: Ed25519PublicKey) -> bytes:
    return canonical_json(
        {
            "format": FORMAT,
            "version": FORMAT_VERSION,
            "key": key_fingerprint(key),
            "records": [to_plain(entry) for entry in entries],
        }
    )


def _read_json(raw: bytes, where: str) -> Mapping[str, Any]:
    try:
        document = json.loads(raw)
    except ValueError as e:
        raise PeerError("not JSON", where=where, found=e) from e
    if not isinstance(document, dict):
        raise PeerError(
            "not a record of burns", where=where, expected="an object", found=type(document).__name__
        )
    return document
