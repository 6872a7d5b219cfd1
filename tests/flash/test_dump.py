"""What flash holds, for people: whole, empty and damaged, always as JSON."""

import json

import pytest

from firmware_mgr.flash.control import first_burn, write_control
from firmware_mgr.flash.device import MemoryDevice
from firmware_mgr.flash.dump import describe_control, describe_store, describe_table
from firmware_mgr.flash.gpt import MIB, FlashLayout, find, plan, read_table, write_table
from firmware_mgr.flash.letter import Letter
from firmware_mgr.flash.store import Store
from firmware_mgr.model.ids import Digest
from tests.flash.kinds import FACTORY_BAD, KINDS, NAND

SIZE = 16 * MIB


@pytest.fixture
def device() -> MemoryDevice:
    device = MemoryDevice(SIZE)
    write_table(device, plan(FlashLayout(MIB, 2 * MIB, 0, MIB), SIZE))
    return device


def test_empty_flash_is_described_by_its_problems() -> None:
    empty = MemoryDevice(SIZE)
    assert "no readable partition table" in describe_table(empty)["problem"]
    assert describe_control(empty)["current"] is None
    described = json.loads(json.dumps(describe_store(empty)))
    assert "no store" in described["problem"]
    assert {root["problem"] for root in described["roots"]} == {"empty"}


def test_the_table_is_described(device: MemoryDevice) -> None:
    described = json.loads(json.dumps(describe_table(device)))
    assert [p["name"] for p in described["partitions"]] == ["control", "boot-a", "boot-b", "store", "state"]
    assert described["partitions"][1]["bootable"] is True


def test_control_is_described(device: MemoryDevice) -> None:
    window = find(read_table(device), "control").window(device)
    write_control(window, first_burn(Letter.B))
    described = json.loads(json.dumps(describe_control(window)))
    assert described["current"] == 0
    assert described["copies"][0]["record"] == described["effective"]
    assert described["effective"]["boot"] == "b"
    assert "problem" in described["copies"][1]


def test_the_store_is_described_and_checked(device: MemoryDevice) -> None:
    window = find(read_table(device), "store").window(device)
    store = Store.format(window, store_id=bytes(16))
    good, bad = Digest.of(b"good"), Digest.of(b"bad!")
    for digest, data in ((good, b"good"), (bad, b"bad!")):
        store.put(digest, 4, [data])
    store.commit({"identity": b"key"})
    device.flip_bit(window.offset + store.extent(bad).offset, 0)
    described = json.loads(json.dumps(describe_store(window, check=True)))
    assert described["sequence"] == 2
    assert described["documents"] == [{"name": "identity", "length": 3, "digest": Digest.of(b"key").hex}]
    assert {b["digest"]: b["good"] for b in described["blobs"]} == {good.hex: True, bad.hex: False}
    assert [root["sequence"] for root in described["roots"] if "sequence" in root] == [1, 1, 2, 2]
    assert described["space"]["used"] == 8192
    assert "good" not in describe_store(window)["blobs"][0]


def test_a_store_on_nand_is_described_with_its_unit_and_bad_blocks() -> None:
    flash = KINDS["NAND"]()
    assert describe_store(flash)["roots"][0]["problem"] == "empty"
    store = Store.format(flash, store_id=bytes(16))
    store.put(Digest.of(b"good"), 4, [b"good"])
    store.checkpoint()
    described = json.loads(json.dumps(describe_store(flash, check=True)))
    assert described["unit"] == NAND.erase_size
    assert described["bad_blocks"] == [block * NAND.erase_size for block in FACTORY_BAD]
    assert "bad block" in described["roots"][2]["problem"]
    assert described["blobs"][0]["good"] is True
    assert described["space"]["bad"] == 2 * NAND.erase_size
