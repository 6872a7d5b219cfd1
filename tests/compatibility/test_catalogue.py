"""A catalogue that the first issue's master wrote opens with today's: issue 3, "done when" 5."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from firmware_mgr.master.catalogue_sqlite import SqliteCatalogue
from firmware_mgr.master.documents import CARD, CardRecord
from firmware_mgr.master.leases import CatalogueLeases
from firmware_mgr.master.migration import SCHEMAS, migrate_catalogue
from firmware_mgr.master.record import BurnLog, verify_export
from firmware_mgr.master.schema import Schema
from firmware_mgr.model.errors import PeerError, UsageError
from firmware_mgr.model.ids import SlotId
from tests.compatibility.golden import CATALOGUE_1, copy_catalogue
from tests.master.clocks import HandClock
from tests.master.rack_twin import Rack, TwinCard

SLOTS = 8


def documents(path: Path) -> dict[str, dict[str, Any]]:
    with closing(sqlite3.connect(f"file:{path}?immutable=1", uri=True)) as db:
        return {key: json.loads(text) for key, text in db.execute("SELECT key, text FROM documents")}


class OldRack(Rack):
    """A rack whose master finds the old file, brought to today's form."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, slots=SLOTS)
        path = copy_catalogue(folder)
        migrate_catalogue(path)
        self.sqlite = SqliteCatalogue(path, self.clock, history_length=256)
        self.catalogue = self.sqlite  # type: ignore[assignment]
        self.hands.powered = dict.fromkeys(range(1, SLOTS + 1), True)
        self.master = self._make()

    async def __aenter__(self) -> OldRack:
        await self.master.start()
        await self.settle()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.master.stop()
        self.sqlite.close()


def test_nothing_of_the_old_file_is_lost_by_migration(tmp_path: Path) -> None:
    path = copy_catalogue(tmp_path)
    before = documents(CATALOGUE_1)
    migrate_catalogue(path)
    after = documents(path)
    assert after.keys() == before.keys()
    for key, old in before.items():
        moved = {"schema", "wanted_by_user"}  # the wish itself is what stands in `own`
        lost = {name: value for name, value in old.items() if name not in moved and name not in after[key]}
        assert not lost, f"{key} lost {lost}"


def test_what_is_in_todays_form_is_not_migrated_again(tmp_path: Path) -> None:
    path = copy_catalogue(tmp_path)
    migrate_catalogue(path)
    assert migrate_catalogue(path) is None


async def test_todays_master_takes_up_every_card_operation_and_burn_of_the_old_one(tmp_path: Path) -> None:
    async with OldRack(tmp_path) as rack:
        assert {entry.slot.number for entry in rack.master.roster} == set(range(1, SLOTS + 1))
        cards = {entry.slot.number: entry.record for entry in rack.master.roster}
        assert [number for number in cards if cards[number].key_fingerprint] == [1, 2, 3, 4, 5, 6]
        assert cards[3].wanted is not None and cards[3].wanted.boot_image.version == "2"
        assert cards[3].own.images == {"qemu-aarch64": "2"} and cards[3].own.packages == ("web=1.1",)
        assert len(cards[3].rejected) == 1
        assert cards[4].admission.value == "approved"
        assert sorted(operation.state.value for operation in rack.master.desk.operations.values()) == [
            "cancelled",
            "done",
            "provisioning",
        ]
        assert len(rack.master.roster.images) == 2 and len(rack.master.roster.packages) == 2
        export = await rack.master.burn_log.export()
        verify_export(export, rack.record_key.public_key())
        assert len(await rack.master.burn_log.entries()) == 5
        # And a card of that time is served: it comes up, and is what it was.
        card = TwinCard(rack, 2)
        assert (await card.hello())[0].TYPE == "welcome"


async def test_leases_of_the_old_master_still_hold(tmp_path: Path) -> None:
    path = copy_catalogue(tmp_path)
    migrate_catalogue(path)
    catalogue = SqliteCatalogue(path, HandClock())
    leases = CatalogueLeases(catalogue)
    await leases.start()
    assert [(str(lease.address), lease.state.value) for lease in leases.held()] == [
        ("10.77.0.11", "bound"),
        ("10.77.0.12", "declined"),
        ("10.77.0.13", "released"),
    ]
    catalogue.close()


# A schema of tomorrow, so that there is something to migrate whatever today's schemas are.


@dataclass(frozen=True, slots=True)
class TomorrowCard(CardRecord):
    shelf_lamp: str = "off"


def _tomorrow(step: Any) -> list[Schema[Any]]:
    number = CARD.number + 1
    card = Schema("card", TomorrowCard, number, {**CARD.migrations, CARD.number: step})
    return [card if schema.kind == "card" else schema for schema in SCHEMAS]


def test_documents_are_brought_to_the_newest_schema_and_a_copy_is_kept(tmp_path: Path) -> None:
    path = copy_catalogue(tmp_path)
    whole = documents(path)
    done = migrate_catalogue(path, _tomorrow(lambda fields: {**fields, "shelf_lamp": "green"}))
    assert done is not None and done.documents >= SLOTS
    cards = [value for key, value in documents(path).items() if key.startswith("cards/")]
    assert {(card["schema"], card["shelf_lamp"]) for card in cards} == {(CARD.number + 1, "green")}
    assert documents(done.backup) == whole
    assert done.backup.stat().st_mode & 0o777 == 0o600


def test_a_migration_that_fails_leaves_the_old_file_as_it_was(tmp_path: Path) -> None:
    def lost_key(fields: Mapping[str, Any]) -> Mapping[str, Any]:
        if SlotId.parse(fields["slot"]) == SlotId(6):
            raise LookupError("no lamp")
        return {**fields, "shelf_lamp": "green"}

    path = copy_catalogue(tmp_path)
    whole = path.read_bytes()
    with pytest.raises(PeerError, match="cannot be migrated") as caught:
        migrate_catalogue(path, _tomorrow(lost_key))
    assert "cards/6" in caught.value.where and caught.value.hint
    assert path.read_bytes() == whole
    assert [other.name for other in tmp_path.glob("catalogue-before-*")] == []


def test_a_file_of_a_newer_master_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = copy_catalogue(tmp_path)
    migrate_catalogue(path, _tomorrow(lambda fields: {**fields, "shelf_lamp": "green"}))
    whole = path.read_bytes()
    with pytest.raises(UsageError, match="newer fwmgr"):
        migrate_catalogue(path)
    assert path.read_bytes() == whole


async def test_an_altered_burn_of_the_old_record_is_found(tmp_path: Path) -> None:
    path = copy_catalogue(tmp_path)
    with closing(sqlite3.connect(path)) as db:
        db.execute(
            "UPDATE documents SET text = replace(text, '\"seconds\":1.0', '\"seconds\":2.0')"
            " WHERE key = 'record/0000000002'"
        )
        db.commit()
    migrate_catalogue(path)
    catalogue = SqliteCatalogue(path, HandClock())
    with pytest.raises(PeerError, match="does not follow"):
        await BurnLog(catalogue, Ed25519PrivateKey.generate()).entries()
    catalogue.close()
