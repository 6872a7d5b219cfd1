"""The record of burns: nothing in it can be changed, left out or put in between without being found."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from firmware_mgr.link.messages import AreaState, BootPartitionReport, ControlReport, FlashReport, Stored
from firmware_mgr.master.catalogue import Delete, Put
from firmware_mgr.master.catalogue_memory import MemoryCatalogue
from firmware_mgr.master.catalogue_sqlite import SqliteCatalogue
from firmware_mgr.master.record import (
    NOTHING,
    BurnLog,
    Export,
    entry_key,
    sign_export,
    verify_export,
)
from firmware_mgr.master.trust import key_fingerprint
from firmware_mgr.model.errors import PeerError
from firmware_mgr.model.ids import Digest, SlotId
from firmware_mgr.model.software import BootImageRef, SoftwareSet, canonical_json

from .clocks import HandClock

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
OTHER_KEY = Ed25519PrivateKey.from_private_bytes(bytes(32))
SOFTWARE = SoftwareSet(BootImageRef("qemu-aarch64", "1.0", Digest("a" * 64), 100), ())
EMPTY = BootPartitionReport(AreaState.EMPTY)
FLASH = FlashReport(
    AreaState.GOOD, ControlReport(AreaState.GOOD, AreaState.GOOD), EMPTY, EMPTY, AreaState.GOOD
)
STORED = Stored(SOFTWARE.digest, 100, 0, "a", True, 1.5, FLASH)


@pytest.fixture
def catalogue() -> MemoryCatalogue:
    return MemoryCatalogue(HandClock())


@pytest.fixture
def log(catalogue: MemoryCatalogue) -> BurnLog:
    return BurnLog(catalogue, KEY)


async def burn(log: BurnLog, *slots: int) -> None:
    for slot in slots:
        await log.append(SlotId(slot), SOFTWARE, STORED, "f" * 64, 1000.0 + slot)


async def test_burns_are_entered_in_order_and_chained(log: BurnLog) -> None:
    await burn(log, 3, 1, 3)
    entries = await log.entries()
    assert [(entry.number, entry.burned.slot) for entry in entries] == [
        (1, SlotId(3)),
        (2, SlotId(1)),
        (3, SlotId(3)),
    ]
    assert [entry.previous for entry in entries] == [NOTHING, entries[0].digest, entries[1].digest]
    burned = entries[0].burned
    assert (burned.software, burned.key_fingerprint, burned.at) == (SOFTWARE, "f" * 64, 1003.0)
    assert (burned.boot_partition, burned.boot_bytes_written, burned.seconds) == ("a", 100, 1.5)


async def test_burns_of_many_cards_at_once_are_all_entered(log: BurnLog) -> None:
    await asyncio.gather(*(burn(log, slot) for slot in range(1, 9)))
    entries = await log.entries()
    assert [entry.number for entry in entries] == list(range(1, 9))
    assert {entry.burned.slot.number for entry in entries} == set(range(1, 9))


async def test_the_record_goes_on_after_a_start_of_the_master(tmp_path: Path) -> None:
    for slot in (1, 2):
        with closing(SqliteCatalogue(tmp_path / "catalogue.db", HandClock())) as catalogue:
            await burn(BurnLog(catalogue, KEY), slot)
            assert len(await BurnLog(catalogue, KEY).entries()) == slot


async def test_an_export_is_verified_with_the_public_key_alone(log: BurnLog) -> None:
    await burn(log, 1, 2)
    export = await log.export()
    assert verify_export(export, KEY.public_key()) == await log.entries()
    assert await log.export() == export
    document = json.loads(export.document)
    assert (document["format"], document["version"]) == ("fwmgr-burn-record", 1)
    assert document["key"] == key_fingerprint(KEY.public_key())
    assert canonical_json(document) == export.document


async def test_an_empty_record_can_be_exported(log: BurnLog) -> None:
    assert verify_export(await log.export(), KEY.public_key()) == ()


async def test_a_signature_by_another_key_is_refused(log: BurnLog) -> None:
    await burn(log, 1)
    with pytest.raises(PeerError, match="the signature is not right"):
        verify_export(await log.export(), OTHER_KEY.public_key())


async def test_every_changed_byte_is_found(log: BurnLog) -> None:
    await burn(log, 1)
    export = await log.export()
    public = KEY.public_key()
    for position in range(len(export.document)):
        changed = bytearray(export.document)
        changed[position] ^= 1
        with pytest.raises(PeerError):
            verify_export(replace(export, document=bytes(changed)), public)
    for position in range(len(export.signature)):
        changed = bytearray(export.signature)
        changed[position] ^= 1
        with pytest.raises(PeerError):
            verify_export(replace(export, signature=bytes(changed)), public)
    with pytest.raises(PeerError):
        verify_export(replace(export, signature=b""), public)


Falsify = Callable[[dict[str, Any]], object]

#: What somebody who has the key, or a master with a fault, might export.
FALSIFIED: list[tuple[Falsify, str]] = [
    (lambda d: d["records"].pop(0), "missing or out of order: expected 1, found 2"),
    (lambda d: d["records"].pop(1), "missing or out of order: expected 2, found 3"),
    (lambda d: d["records"].reverse(), "missing or out of order"),
    (lambda d: d["records"][0]["burned"].update(slot="9"), "entry 2 does not follow"),
    (lambda d: d["records"][1].update(previous="0" * 64), "entry 2 does not follow"),
    (lambda d: d["records"][0]["burned"].pop("slot"), r"record 1\.burned: field is missing: expected slot"),
    (lambda d: d["records"][2].update(note="x"), "more or other fields"),
    (lambda d: d.update(key="0" * 64), "more or other fields"),
    (lambda d: d.update(records={}), "no records"),
    (lambda d: d.update(format="something"), "unknown format"),
    (lambda d: d.update(version=2), "unknown version: expected 1, found 2"),
]


@pytest.mark.parametrize(("falsify", "message"), FALSIFIED)
async def test_a_signed_export_with_a_broken_chain_is_refused(
    log: BurnLog, falsify: Falsify, message: str
) -> None:
    await burn(log, 1, 2, 3)
    document = json.loads((await log.export()).document)
    falsify(document)
    raw = canonical_json(document)
    with pytest.raises(PeerError, match=message):
        verify_export(Export(raw, KEY.sign(raw)), KEY.public_key())


@pytest.mark.parametrize("raw", [b"", b"{", b"[]", b"\xff"])
def test_a_signed_something_is_no_record(raw: bytes) -> None:
    with pytest.raises(PeerError):
        verify_export(Export(raw, KEY.sign(raw)), KEY.public_key())


async def test_an_entry_missing_from_the_catalogue_is_found(log: BurnLog, catalogue: MemoryCatalogue) -> None:
    await burn(log, 1, 2, 3)
    await catalogue.transact([], [Delete(entry_key(2))])
    with pytest.raises(PeerError, match="the catalogue's record: an entry is missing"):
        await log.export()


async def test_the_newest_entry_missing_from_the_catalogue_is_found(
    log: BurnLog, catalogue: MemoryCatalogue
) -> None:
    await burn(log, 1, 2, 3)
    await catalogue.transact([], [Delete(entry_key(3))])
    with pytest.raises(PeerError, match="the newest entry"):
        await log.export()


async def test_an_entry_changed_in_the_catalogue_is_found(log: BurnLog, catalogue: MemoryCatalogue) -> None:
    await burn(log, 1, 2)
    document = await catalogue.get(entry_key(2))
    assert document is not None
    value = document.value
    value["burned"]["slot"] = "7"
    await catalogue.transact([], [Put(entry_key(2), value)])
    with pytest.raises(PeerError, match="the newest entry"):
        await log.export()


async def test_signing_is_a_pure_function(log: BurnLog) -> None:
    await burn(log, 1)
    entries = await log.entries()
    assert sign_export(entries, KEY) == sign_export(entries, KEY)
