"""Burning a boot image: only what is missing, checked before and after, resumed after any cut."""

import random

import pytest

from firmware_mgr.flash.boot_partition import (
    PIECE_SIZE,
    BootImageLayout,
    BootPartitions,
    missing_pieces,
    verify,
    write_piece,
)
from firmware_mgr.flash.device import MemoryDevice, Window
from firmware_mgr.flash.letter import Letter
from firmware_mgr.model.errors import DeviceError, PeerError, UsageError
from firmware_mgr.model.ids import Digest
from tests.flash.cuts import every_cut

MIB = 1 << 20
IMAGE = random.Random(5).randbytes(2 * PIECE_SIZE + 12345)
LAYOUT = BootImageLayout.of(IMAGE)


def piece(index: int) -> bytes:
    offset, length = LAYOUT.span(index)
    return IMAGE[offset : offset + length]


def burn(device: MemoryDevice) -> list[int]:
    missing = missing_pieces(device, LAYOUT)
    for index in missing:
        write_piece(device, LAYOUT, index, piece(index))
        device.sync()
    return missing


@pytest.fixture
def device() -> MemoryDevice:
    return MemoryDevice(4 * MIB)


def test_an_image_is_burned_once_and_then_nothing_is_missing(device: MemoryDevice) -> None:
    assert burn(device) == [0, 1, 2]
    assert verify(device, LAYOUT) == LAYOUT.digest
    assert device.read(0, len(IMAGE)) == IMAGE
    operations = device.operations
    assert burn(device) == []
    assert device.operations == operations


def test_only_damaged_pieces_are_burned_again(device: MemoryDevice) -> None:
    burn(device)
    device.flip_bit(PIECE_SIZE + 77, 1)
    assert verify(device, LAYOUT) != LAYOUT.digest
    assert burn(device) == [1]
    assert verify(device, LAYOUT) == LAYOUT.digest


def test_damage_behind_the_image_counts_for_nothing(device: MemoryDevice) -> None:
    burn(device)
    device.flip_bit(len(IMAGE), 0)
    assert missing_pieces(device, LAYOUT) == []


def test_a_piece_that_cannot_be_read_is_missing(device: MemoryDevice) -> None:
    burn(device)
    device.bad_blocks.add(1)
    assert missing_pieces(device, LAYOUT) == [0]
    with pytest.raises(DeviceError):
        verify(device, LAYOUT)


def test_wrong_pieces_are_refused_before_anything_is_written(device: MemoryDevice) -> None:
    wrong = bytes(PIECE_SIZE)
    with pytest.raises(PeerError, match="piece 0: piece does not have its digest"):
        write_piece(device, LAYOUT, 0, wrong)
    with pytest.raises(PeerError, match="wrong length"):
        write_piece(device, LAYOUT, 2, wrong)
    with pytest.raises(UsageError, match="no such piece"):
        write_piece(device, LAYOUT, 3, wrong)
    assert device.operations == 0


def test_an_image_larger_than_its_partition_is_refused() -> None:
    small = MemoryDevice(2 * MIB)
    for use in (missing_pieces, verify):
        with pytest.raises(UsageError, match="does not fit"):
            use(small, LAYOUT)
    with pytest.raises(UsageError, match="does not fit"):
        write_piece(small, LAYOUT, 0, piece(0))


def test_progress_ends_at_the_length(device: MemoryDevice) -> None:
    seen: list[tuple[int, int]] = []
    missing_pieces(device, LAYOUT, lambda done, total: seen.append((done, total)))
    assert seen == [(PIECE_SIZE, len(IMAGE)), (2 * PIECE_SIZE, len(IMAGE)), (len(IMAGE), len(IMAGE))]


def test_a_layout_survives_its_document_and_wrong_ones_are_refused() -> None:
    assert BootImageLayout.from_document(LAYOUT.document()) == LAYOUT
    wrong = LAYOUT.document()
    for change in (
        {"pieces": []},
        {"length": -1},
        {"digest": "x"},
        {"length": "many"},
        {"pieces": [1, 2, 3]},
    ):
        with pytest.raises(PeerError):
            BootImageLayout.from_document(wrong | change)
    with pytest.raises(UsageError):
        BootImageLayout(1, Digest.of(b""), ())


def test_a_cut_burn_is_resumed_and_writes_no_right_piece_again() -> None:
    for device, case in every_cut(lambda: MemoryDevice(4 * MIB), burn, outcomes=2):
        synced = sum(device.read(*LAYOUT.span(index)) == piece(index) for index in range(3))
        assert len(burn(device)) == 3 - synced, case
        assert verify(device, LAYOUT) == LAYOUT.digest, case


def test_the_partition_in_use_is_never_written() -> None:
    device = MemoryDevice(8 * MIB)
    windows = {Letter.A: Window(device, 0, 4 * MIB), Letter.B: Window(device, 4 * MIB, 4 * MIB)}
    boot = BootPartitions(windows, in_use=Letter.A)
    with pytest.raises(UsageError, match="boot-a: the card runs from this boot partition"):
        boot.write_piece(Letter.A, LAYOUT, 0, piece(0))
    assert device.operations == 0
    for index in boot.missing_pieces(Letter.B, LAYOUT):
        boot.write_piece(Letter.B, LAYOUT, index, piece(index))
    boot.sync(Letter.B)
    assert boot.verify(Letter.B, LAYOUT) == LAYOUT.digest
    assert boot.missing_pieces(Letter.A, LAYOUT) == [0, 1, 2]
    netbooted = BootPartitions(windows, in_use=None)
    netbooted.write_piece(Letter.A, LAYOUT, 0, piece(0))
