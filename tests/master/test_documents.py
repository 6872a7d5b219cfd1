"""Records become documents and come back the same; what is not in order is refused by key and field."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from firmware_mgr.link.messages import BootPieces
from firmware_mgr.master.board_wish import BoardRecord, Preferred
from firmware_mgr.master.card_class import ClassRecord
from firmware_mgr.master.composite import CompositeRecord, TargetRecord
from firmware_mgr.master.configuration import Configuration
from firmware_mgr.master.documents import (
    CARD,
    IMAGE,
    OPERATION,
    PACKAGE,
    Admission,
    CardRecord,
    ImageRecord,
    OperationRecord,
    PackageRecord,
    StoredFile,
    card_key,
    operation_key,
)
from firmware_mgr.master.schema import Schema
from firmware_mgr.model.errors import FwmgrError, PeerError, UsageError
from firmware_mgr.model.ids import CpuArch, Digest, MacAddress, SlotId
from firmware_mgr.model.lifecycle import CardState
from firmware_mgr.model.software import BootImageRef, PackageRef, SoftwareSet

A, B = Digest("a" * 64), Digest("b" * 64)
SOFTWARE = SoftwareSet(
    BootImageRef("qemu-aarch64", "1.0", A, 2_500_000), (PackageRef("lighttpd", "1.4.69-1", B, 900_000),)
)
CARD_3 = CardRecord(
    slot=SlotId(3),
    updated_at=1_700_000_000.5,
    mac=MacAddress("52:54:00:12:34:56"),
    board="qemu-aarch64",
    cpu=CpuArch.AARCH64,
    card_class="edge",
    admission=Admission.PINNED,
    key_fingerprint="c" * 64,
    wanted=SOFTWARE,
    actual={"boot_a": "1.0"},
    last_validated=SOFTWARE.digest,
    state=CardState.IN_SERVICE,
    reason="",
    present=True,
    running={"processes": [{"name": "lighttpd", "pid": 4}]},
    location="rack 5",
)
CLASS_EDGE = ClassRecord(
    "edge", 1.5, Configuration(("web=1.4",), {"qemu-aarch64": "1.0"}, features=("docs", "tools"))
)
BOARD_A = BoardRecord("qemu-aarch64", Configuration(features=()), "edge", "rack 5")
COMPOSITE_1 = CompositeRecord(
    "composite image",
    "site",
    "7",
    A,
    9000,
    5.0,
    4,
    "release",
    ("d" * 64,),
    TargetRecord(("2/3",), (), ("edge",)),
    (SOFTWARE.boot_image,),
    SOFTWARE.packages,
    True,
    TargetRecord(boards=("qemu-aarch64",)),
)
IMAGE_1 = ImageRecord(
    board="qemu-aarch64",
    version="1.0",
    digest=A,
    length=2_500_000,
    pieces=BootPieces(1 << 20, (A, B, A)),
    files=(StoredFile("Image", B, 4), StoredFile("initrd", A, 5)),
    added_at=1.0,
    authority=A,
    keys=(B,),
)
PACKAGE_1 = PackageRecord("lighttpd", "1.4.69-1", B, 900_000, ("aarch64", "any"), 2.0, {"modules": 7})
OPERATION_1 = OperationRecord(
    "20240101-1", "burn-all", 3.0, "provisioning", {"3": {"state": "burning", "bytes": 4}, "2/1": {}}
)
RECORDS = [
    CARD_3,
    CardRecord(SlotId(1, 2), 0.0),
    IMAGE_1,
    PACKAGE_1,
    OPERATION_1,
    CLASS_EDGE,
    BOARD_A,
    COMPOSITE_1,
]

Record = (
    CardRecord | ImageRecord | PackageRecord | OperationRecord | ClassRecord | BoardRecord | CompositeRecord
)


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: record.key)
def test_a_record_comes_back_from_its_document(record: Record) -> None:
    document = json.loads(json.dumps(record.to_document()))
    again = type(record).from_document(document, record.key)
    assert again == record
    assert again.to_document() == document


def test_records_lie_under_keys_that_name_them() -> None:
    assert [record.key for record in RECORDS] == [
        "cards/3",
        "cards/2/1",
        f"images/qemu-aarch64/{A}",
        f"packages/lighttpd/{B}",
        "operations/20240101-1",
        "classes/edge",
        "boards/qemu-aarch64",
        f"composites/site/{A}",
    ]
    assert card_key(SlotId(7)) == "cards/7"
    with pytest.raises(UsageError, match="not an operation"):
        operation_key("../x")


def test_references_carry_what_the_records_say() -> None:
    assert IMAGE_1.ref == SOFTWARE.boot_image
    assert PACKAGE_1.ref == SOFTWARE.packages[0]
    assert IMAGE_1.blobs == {A, B}


def test_an_image_of_schema_1_is_read_and_nobody_knows_whom_its_card_believes() -> None:
    document = IMAGE_1.to_document()
    del document["authority"], document["keys"], document["root"], document["takes_test"]
    read = ImageRecord.from_document({**document, "schema": 1})
    assert read == replace(IMAGE_1, authority=None, keys=None)


def test_an_image_of_schema_2_is_read_as_one_with_a_flat_keyring() -> None:
    document = IMAGE_1.to_document()
    del document["root"], document["takes_test"]
    assert ImageRecord.from_document({**document, "schema": 2}) == IMAGE_1


def test_a_card_and_a_class_of_before_there_were_features_are_read() -> None:
    document = replace(CARD_3, location="").to_document()
    del document["location"], document["own"]["features"], document["wanted_from"]["features"]
    assert CardRecord.from_document({**document, "schema": 2}) == replace(CARD_3, location="")
    of_class = replace(CLASS_EDGE, configuration=replace(CLASS_EDGE.configuration, features=None))
    document = of_class.to_document()
    del document["configuration"]["features"]
    assert ClassRecord.from_document({**document, "schema": 1}) == of_class


def test_documents_of_todays_schemas_stay_readable_in_this_form() -> None:
    """Written out, so that a change of form without a new schema number and a migration is found out."""
    assert json.dumps(CARD_3.to_document()) == (
        '{"document": "card", "schema": 3, "slot": "3", "updated_at": 1700000000.5, '
        '"mac": "52:54:00:12:34:56", "board": "qemu-aarch64", "cpu": "aarch64", "card_class": "edge", '
        '"admission": "pinned", '
        f'"key_fingerprint": "{"c" * 64}", "wanted": {json.dumps(SOFTWARE.document())}, '
        '"wanted_from": {"boot_image": "default", "packages": "default", "features": "default"}, '
        '"own": {"packages": null, "images": {}, "order": null, "save_image": null, "features": null}, '
        f'"actual": {{"boot_a": "1.0"}}, "last_validated": "{SOFTWARE.digest}", "last_good": null, '
        '"rejected": [], "tries": 0, "renewable": false, "state": "in service", '
        '"reason": "", "present": true, "running": {"processes": [{"name": "lighttpd", "pid": 4}]}, '
        '"location": "rack 5"}'
    )
    assert json.dumps(CLASS_EDGE.to_document()) == (
        '{"document": "class", "schema": 2, "name": "edge", "created_at": 1.5, "configuration": '
        '{"packages": ["web=1.4"], "images": {"qemu-aarch64": "1.0"}, "order": null, "save_image": null, '
        '"features": ["docs", "tools"]}}'
    )
    assert json.dumps(BOARD_A.to_document()) == (
        '{"document": "board", "schema": 1, "board": "qemu-aarch64", "configuration": '
        '{"packages": null, "images": {}, "order": null, "save_image": null, "features": []}, '
        '"card_class": "edge", "location": "rack 5"}'
    )
    assert json.dumps(Preferred({"qemu-aarch64": "1.0"}, {"web": "1.4"}).to_document()) == (
        '{"document": "preferred", "schema": 1, "images": {"qemu-aarch64": "1.0"}, '
        '"packages": {"web": "1.4"}}'
    )
    assert json.dumps(COMPOSITE_1.to_document()) == (
        f'{{"document": "composite", "schema": 1, "kind": "composite image", "name": "site", "version": "7", '
        f'"digest": "{A}", "length": 9000, "added_at": 5.0, "build_date": 4, "role": "release", '
        f'"signed_by": ["{"d" * 64}"], "targets": {{"slots": ["2/3"], "boards": [], "classes": ["edge"], '
        f'"packages": []}}, "images": [{json.dumps(SOFTWARE.boot_image.document())}], '
        f'"packages": [{json.dumps(SOFTWARE.packages[0].document())}], "has_information": true, '
        '"concerns": {"slots": [], "boards": ["qemu-aarch64"], "classes": [], "packages": []}}'
    )
    assert json.dumps(IMAGE_1.to_document()) == (
        f'{{"document": "image", "schema": 3, "board": "qemu-aarch64", "version": "1.0", "digest": "{A}", '
        f'"length": 2500000, "pieces": {{"piece_size": 1048576, "pieces": ["{A}", "{B}", "{A}"]}}, '
        f'"files": [{{"name": "Image", "digest": "{B}", "length": 4}}, '
        f'{{"name": "initrd", "digest": "{A}", "length": 5}}], "added_at": 1.0, '
        f'"authority": "{A}", "keys": ["{B}"], "root": null, "takes_test": false}}'
    )
    assert json.dumps(PACKAGE_1.to_document()) == (
        f'{{"document": "package", "schema": 2, "name": "lighttpd", "version": "1.4.69-1", "digest": "{B}", '
        '"length": 900000, "cpus": ["aarch64", "any"], "added_at": 2.0, "contents": {"modules": 7}, '
        '"format": 1}'
    )
    assert json.dumps(OPERATION_1.to_document()) == (
        '{"document": "operation", "schema": 1, "id": "20240101-1", "kind": "burn-all", "created_at": 3.0, '
        '"state": "provisioning", "cards": {"3": {"state": "burning", "bytes": 4}, "2/1": {}}, '
        '"request": {}, "reason": ""}'
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"document": "image"}, "cards/3: document of another kind: expected card, found image"),
        ({"schema": "1"}, "cards/3: no schema number"),
        ({"schema": True}, "cards/3: no schema number"),
        ({"schema": 0}, "cards/3: no schema number"),
        ({"slot": "0"}, r"cards/3\.slot: unusable value: expected SlotId, found '0'"),
        ({"slot": 3}, r"cards/3\.slot: wrong type: expected str, found int"),
        ({"mac": "52:54"}, r"cards/3\.mac: unusable value: expected MacAddress"),
        ({"admission": "ajar"}, r"cards/3\.admission: unusable value"),
        ({"present": 1}, r"cards/3\.present: wrong type"),
        ({"key_fingerprint": "ab"}, "cards/3: unusable value.*not a key fingerprint"),
        ({"wanted": {"packages": []}}, r"cards/3\.wanted"),
        ({"actual": []}, r"cards/3\.actual: wrong type"),
        ({"updated_at": "now"}, r"cards/3\.updated_at: wrong type: expected float, found str"),
        ({"updated_at": None}, r"cards/3\.updated_at"),
        ({"colour": "red"}, "cards/3: unknown field: found colour"),
    ],
)
def test_a_card_that_is_not_in_order_is_refused_by_key_and_field(
    changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(PeerError, match=f"^{message}"):
        CardRecord.from_document({**CARD_3.to_document(), **changes}, "cards/3")


@pytest.mark.parametrize("record", RECORDS, ids=lambda record: record.key)
def test_a_record_without_its_first_field_is_refused(record: Record) -> None:
    document = record.to_document()
    name = list(document)[2]
    del document[name]
    with pytest.raises(PeerError, match=f"field is missing: expected {name}"):
        type(record).from_document(document, "here")


def test_pieces_that_do_not_cover_the_image_are_refused() -> None:
    with pytest.raises(UsageError, match="expected 3 pieces of 1048576 bytes for 2500000 bytes, found 2"):
        replace(IMAGE_1, pieces=BootPieces(1 << 20, (A, B)))
    with pytest.raises(UsageError, match="twice"):
        replace(IMAGE_1, files=(StoredFile("a", A, 1), StoredFile("a", B, 1)))


def test_a_package_for_an_unknown_cpu_is_refused() -> None:
    with pytest.raises(UsageError, match=r"not a CPU.*found mips"):
        replace(PACKAGE_1, cpus=("mips",))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


@settings(max_examples=150, deadline=None)
@given(record=st.sampled_from(RECORDS), data=st.data())
def test_a_document_with_any_value_in_any_field_is_read_whole_or_refused(
    record: Record, data: st.DataObject
) -> None:
    document = record.to_document()
    document[data.draw(st.sampled_from(list(document)))] = data.draw(json_values)
    try:
        read = type(record).from_document(document, "here")
    except FwmgrError as e:
        assert e.where.startswith("here")
    else:
        assert read.to_document() == document


# Migrations, with a kind that has a past.


@dataclass(frozen=True, slots=True)
class Lamp:
    colour: str
    watts: int


def _watts_have_a_unit(fields: Mapping[str, Any]) -> Mapping[str, Any]:
    return {"color": fields["color"], "watts": int(fields["power"])}


def _colour_is_spelt_out(fields: Mapping[str, Any]) -> Mapping[str, Any]:
    return {"colour": fields["color"], "watts": fields["watts"]}


LAMP = Schema("lamp", Lamp, 3, {1: _watts_have_a_unit, 2: _colour_is_spelt_out})


@pytest.mark.parametrize(
    "value",
    [
        {"document": "lamp", "schema": 1, "color": "red", "power": "40"},
        {"document": "lamp", "schema": 2, "color": "red", "watts": 40},
        {"document": "lamp", "schema": 3, "colour": "red", "watts": 40},
    ],
)
def test_every_older_document_is_read_as_todays(value: dict[str, Any]) -> None:
    before = json.dumps(value)
    lamp = LAMP.read(value, "lamps/1")
    assert lamp == Lamp("red", 40)
    assert LAMP.write(lamp) == {"document": "lamp", "schema": 3, "colour": "red", "watts": 40}
    assert json.dumps(value) == before


def test_a_newer_document_is_refused_with_both_numbers() -> None:
    with pytest.raises(UsageError, match=r"lamps/1: .*expected schema 3 or older, found schema 4"):
        LAMP.read({"document": "lamp", "schema": 4, "colour": "red", "watts": 40}, "lamps/1")


def test_a_document_that_does_not_migrate_is_refused_by_key() -> None:
    with pytest.raises(PeerError, match=r"lamps/1: .*schema 1"):
        LAMP.read({"document": "lamp", "schema": 1, "color": "red"}, "lamps/1")


@pytest.mark.parametrize(("number", "steps"), [(1, {1}), (2, set()), (3, {2}), (3, {1, 3}), (0, set())])
def test_migrations_with_a_gap_are_refused(number: int, steps: set[int]) -> None:
    with pytest.raises(UsageError, match="migrations do not lead"):
        Schema("lamp", Lamp, number, {step: _watts_have_a_unit for step in steps})


def test_every_kind_of_the_catalogue_reads_its_own_name_only() -> None:
    schemas = (CARD, IMAGE, PACKAGE, OPERATION)
    assert len({schema.kind for schema in schemas}) == len(schemas)
