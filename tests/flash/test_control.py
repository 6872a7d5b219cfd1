"""Boot control: the bytes U-Boot reads, which copy counts, cuts, the loader's table, the agent's steps."""

import random
import subprocess
import zlib
from dataclasses import replace
from itertools import product
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from firmware_mgr.flash import control
from firmware_mgr.flash.control import (
    CANDIDATES,
    DEFAULT_RECORD,
    ControlState,
    Why,
    begin_trial,
    confirm_validated,
    decide_boot,
    fall_back,
    first_burn,
    netboot_once,
    read_control,
    restore_tries,
    write_control,
)
from firmware_mgr.flash.control_layout import COPY_OFFSETS, COPY_SIZE, ControlRecord, Maker, Target
from firmware_mgr.flash.device import MemoryDevice
from firmware_mgr.flash.errors import FlashFormatError
from firmware_mgr.flash.letter import Letter
from firmware_mgr.model.errors import DeviceError, UsageError
from tests.flash.cuts import copied_from, every_cut

GOLDEN = Path(__file__).parent / "golden"
MIB = 1 << 20
A, B = Letter.A, Letter.B
RECORD = ControlRecord(Target.A, Target.B, 3, 2, Maker.AGENT, 0x1AF)
BOTH = frozenset(Letter)


def sealed(text: bytes) -> bytes:
    """A copy with this text and the right CRC."""
    padded = text.ljust(COPY_SIZE - 4, b"\0")
    return zlib.crc32(padded).to_bytes(4, "little") + padded


def put_copy(device: MemoryDevice, index: int, raw: bytes) -> None:
    device.write(COPY_OFFSETS[index], raw.ljust(device.block_size, b"\0"))


def state_of(record: ControlRecord) -> ControlState:
    device = MemoryDevice(MIB)
    write_control(device, record)
    return read_control(device)


@pytest.fixture
def device() -> MemoryDevice:
    return MemoryDevice(MIB)


def test_a_record_survives_its_bytes() -> None:
    assert ControlRecord.decode(RECORD.encode(), "test") == RECORD
    assert RECORD.encode() == (GOLDEN / "control-copy.bin").read_bytes()


@pytest.mark.parametrize("record", [RECORD, DEFAULT_RECORD, first_burn(B), netboot_once(RECORD)])
def test_the_bytes_are_those_of_mkenvimage(record: ControlRecord, tmp_path: Path) -> None:
    text = tmp_path / "record.txt"
    text.write_bytes(record.text().rstrip(b"\0").replace(b"\0", b"\n") + b"\n")
    out = tmp_path / "record.bin"
    command = ["mkenvimage", "-s", str(COPY_SIZE), "-p", "0x00", "-o", out, text]
    subprocess.run(command, check=True, capture_output=True)
    assert out.read_bytes() == record.encode()


def test_empty_control_has_no_record_and_the_default_counts(device: MemoryDevice) -> None:
    state = read_control(device)
    assert (state.chosen, state.record, state.effective) == (None, None, DEFAULT_RECORD)
    assert all(copy.problem for copy in state.copies)


@pytest.mark.parametrize("block_size", [512, 4096])
def test_writes_go_to_the_other_copy_with_the_next_number(block_size: int) -> None:
    device = MemoryDevice(MIB, block_size=block_size)
    for n in range(1, 6):
        written = write_control(device, RECORD)
        state = read_control(device)
        assert written == replace(RECORD, seq=n) == state.record
        assert state.chosen == (n - 1) % 2


def test_of_two_equal_numbers_copy_0_counts(device: MemoryDevice) -> None:
    put_copy(device, 0, RECORD.encode())
    put_copy(device, 1, replace(RECORD, boot=Target.B).encode())
    assert read_control(device).chosen == 0


def test_a_bad_copy_is_passed_over_and_written_next(device: MemoryDevice) -> None:
    for _ in range(2):
        write_control(device, RECORD)
    device.flip_bit(COPY_OFFSETS[1] + 20, 2)
    state = read_control(device)
    assert state.chosen == 0
    assert "CRC differs" in state.copies[1].problem
    assert write_control(device, RECORD).seq == 2
    assert read_control(device).chosen == 1


def test_an_unreadable_block_is_a_bad_copy_and_refused_writes_are_device_errors(device: MemoryDevice) -> None:
    write_control(device, RECORD)
    device.bad_blocks.add(COPY_OFFSETS[1] // 512)
    assert read_control(device).chosen == 0
    with pytest.raises(DeviceError, match="bad block"):
        write_control(device, RECORD)
    assert read_control(device).record == replace(RECORD, seq=1)


HOSTILE = [
    RECORD.text().replace(b"fw_a=3", b"fw_a=33"),
    RECORD.text().replace(b"fw_a=3", b"fw_a=x"),
    RECORD.text().replace(b"fw_a=3\0", b""),
    RECORD.text().replace(b"fw_boot=a", b"fw_boot=c"),
    RECORD.text().replace(b"fw_trial=b", b"fw_trial="),
    RECORD.text().replace(b"fw_made=agent", b"fw_made=stranger"),
    RECORD.text().replace(b"fw_seq=1af", b"fw_seq=0"),
    RECORD.text().replace(b"fw_seq=1af", b"fw_seq=7fffffff"),
    RECORD.text().replace(b"fw_seq=1af", b"fw_seq=" + b"f" * 300),
    RECORD.text().replace(b"fw_seq=1af", b"fw_seq=-5"),
    RECORD.text().replace(b"fw_seq=1af", b"fw_seq=0x1af"),
    RECORD.text().replace(b"fw_ver=1", b"fw_ver=2"),
    RECORD.text().rstrip(b"\0") + b"\0zz=unknown\0\0",
    b"bootcmd=evil\0" + RECORD.text(),
    RECORD.text() + b"\0behind",
    b"\xff\xfe=\x80\0\0",
    b"fw_a",
    b"",
]


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_with_the_right_checksum_is_an_invalid_copy(device: MemoryDevice, text: bytes) -> None:
    put_copy(device, 0, sealed(text))
    state = read_control(device)
    assert state.chosen is None
    assert "control copy 0" in state.copies[0].problem


@given(st.binary(max_size=COPY_SIZE - 4))
@settings(max_examples=100)
def test_any_text_is_a_record_or_the_one_error(text: bytes) -> None:
    try:
        record = ControlRecord.decode(sealed(text), "test")
    except FlashFormatError:
        return
    assert record.encode() == sealed(text)


def test_every_flipped_bit_makes_a_copy_invalid() -> None:
    raw = bytearray(RECORD.encode())
    for bit in range(COPY_SIZE * 8):
        raw[bit // 8] ^= 1 << bit % 8
        with pytest.raises(FlashFormatError):
            ControlRecord.decode(bytes(raw), "test")
        raw[bit // 8] ^= 1 << bit % 8


def test_the_last_number_cannot_be_exceeded(device: MemoryDevice) -> None:
    put_copy(device, 0, replace(RECORD, seq=0x7FFFFFFE).encode())
    with pytest.raises(DeviceError, match="used up"):
        write_control(device, RECORD)


@pytest.mark.parametrize("changes", [{"left_a": 10}, {"left_b": -1}, {"seq": 0}, {"seq": 1 << 31}])
def test_records_out_of_range_cannot_be_made(changes: dict[str, int]) -> None:
    with pytest.raises(UsageError):
        replace(RECORD, **changes)


@pytest.mark.parametrize("writes_before", [0, 1, 2])
def test_a_cut_write_leaves_the_old_record_or_the_new(writes_before: int) -> None:
    base = MemoryDevice(MIB)
    for _ in range(writes_before):
        write_control(base, RECORD)
    old = read_control(base).record
    new = replace(netboot_once(RECORD), seq=writes_before + 1)
    seen = set()
    make = copied_from(base.contents())
    for device, case in every_cut(make, lambda d: write_control(d, new), outcomes=12):
        record = read_control(device).record
        assert record in (old, new), case
        seen.add(record)
        write_control(device, RECORD)
        assert replace(RECORD, seq=1) == replace(read_control(device).effective, seq=1), case
    assert seen == {old, new}


def test_every_state_has_a_row_that_ends_in_netboot_and_names_each_partition_once() -> None:
    assert set(CANDIDATES) == set(product([None, *Target], Target))
    for row in CANDIDATES.values():
        targets = [target for _, target in row]
        assert targets[-1] is Target.NETBOOT
        assert len(set(targets)) == len(targets)


def walk(record: ControlRecord, ok: frozenset[Letter]) -> tuple[str, str]:
    """The selector in the words of its script: a loop over trial, boot, a, b and n."""
    left = {"a": record.left_a, "b": record.left_b}
    seen: set[str] = set()
    trial = record.trial.value if record.trial else "-"
    for why, name in (("trial", trial), ("boot", record.boot.value), ("other", "a"), ("other", "b")):
        if name == "n":
            return name, why
        if name == "-" or name in seen or left[name] == 0:
            continue
        seen.add(name)
        if Letter(name) in ok:
            return name, why
    return "n", "other"


def test_the_table_decides_as_the_script_does_in_every_state() -> None:
    for trial, boot, left_a, left_b in product([None, *Target], Target, range(3), range(3)):
        record = ControlRecord(boot, trial, left_a, left_b, Maker.AGENT, 5)
        for ok in (frozenset[Letter](), frozenset({A}), frozenset({B}), BOTH):
            decision = decide_boot(state_of(record), ok)
            assert (decision.target.value, decision.why.value) == walk(record, ok), record


def test_the_default_boots_a_then_b_then_the_network() -> None:
    empty = read_control(MemoryDevice(MIB))
    assert decide_boot(empty, BOTH).target is Target.A
    assert decide_boot(empty, {B}).failed == (A,)
    decision = decide_boot(empty, ())
    assert (decision.target, decision.failed) == (Target.NETBOOT, (A, B))
    assert (decision.record.left_a, decision.record.left_b, decision.record.seq) == (2, 2, 3)


def boots(record: ControlRecord, ok: frozenset[Letter], count: int) -> list[str]:
    """Where `count` boots in a row end when none of them is ever confirmed."""
    ends = []
    for _ in range(count):
        decision = decide_boot(state_of(record), ok)
        ends.append(decision.target.value)
        record = decision.record
    return ends


def test_a_trial_that_hangs_ends_on_the_old_image_and_that_in_the_end_on_the_network() -> None:
    record = begin_trial(confirm_validated(first_burn(A), A), B, tries=2)
    assert boots(record, BOTH, 7) == ["b", "b", "a", "a", "a", "n", "n"]


def test_a_trial_that_does_not_start_falls_through_at_once() -> None:
    record = begin_trial(first_burn(A), B)
    decision = decide_boot(state_of(record), {A})
    assert (decision.target, decision.why, decision.failed) == (Target.A, Why.BOOT, (B,))


def test_netboot_once_is_for_one_boot() -> None:
    record = netboot_once(first_burn(A))
    first = decide_boot(state_of(record), BOTH)
    assert (first.target, first.why, first.left) == (Target.NETBOOT, Why.TRIAL, None)
    assert decide_boot(state_of(first.record), BOTH).target is Target.A


def test_the_steps_of_the_agent() -> None:
    burned = first_burn(A)
    assert (burned.boot, burned.left_a, burned.left_b) == (Target.A, 3, 0)
    trial = begin_trial(burned, B, 5)
    assert (trial.boot, trial.trial, trial.left_b) == (Target.A, Target.B, 5)
    running = decide_boot(state_of(trial), BOTH).record
    committed = confirm_validated(running, B)
    assert (committed.boot, committed.trial, committed.left_b, committed.left_a) == (Target.B, None, 3, 3)
    fallen = fall_back(committed, B)
    assert (fallen.boot, fallen.left_b) == (Target.A, 0)
    assert fall_back(trial, B) == replace(trial, trial=None, left_b=0)
    assert restore_tries(fallen, B).left_b == 3
    assert replace(confirm_validated(trial, A), seq=1) == replace(trial, trial=None, seq=1)


def test_no_starts_are_left_for_a_partition_while_it_is_overwritten() -> None:
    for record, letter in product([first_burn(A), begin_trial(first_burn(A), B), DEFAULT_RECORD], Letter):
        decision = decide_boot(state_of(fall_back(record, letter)), BOTH)
        assert decision.target is not Target.of(letter)


@pytest.mark.parametrize("tries", [0, 10])
def test_odd_numbers_of_tries_are_refused(tries: int) -> None:
    with pytest.raises(UsageError):
        begin_trial(first_burn(A), B, tries)


def test_random_damage_never_raises_and_never_invents_a_record() -> None:
    rng = random.Random(9)
    base = MemoryDevice(MIB)
    records = {write_control(base, RECORD), write_control(base, netboot_once(RECORD)), None}
    make = copied_from(base.contents())
    for _ in range(100):
        device = make()
        for _ in range(rng.randrange(1, 5)):
            device.flip_bit(rng.choice(COPY_OFFSETS) + rng.randrange(COPY_SIZE), rng.randrange(8))
        assert control.read_control(device).record in records
