"""The record of a machine's writes: read from a log that QEMU wrote, cut legally, looked at; planted bugs."""

from __future__ import annotations

import subprocess
from collections import Counter
from dataclasses import replace
from functools import cache
from itertools import islice
from pathlib import Path

import pytest

from firmware_mgr.flash.errors import FlashFormatError
from firmware_mgr.flash.gpt import read_table
from tests.flash.powercut.bench import Cut
from tests.flash.powercut.card_operations import CPU, Cards, card_operations
from tests.flash.powercut.fates import Kind
from tests.flash.powercut.house import small_house
from tests.flash.powercut.medium import SECTOR, Ask, Event, Medium, Powered
from tests.flash.powercut.operation import Broken
from tests.flash.recorded.cuts import cuts, phase_of
from tests.flash.recorded.log_layout import ENTRY, Flag
from tests.flash.recorded.phases import Phase, with_phases
from tests.flash.recorded.recording import Recording
from tests.flash.recorded.view import NEW, NOTHING, OLD, Reader, check
from tests.flash.recorded.write_log import read_log
from tests.package.samples import KEYRING

SIZE = 1 << 20
ASKED = (
    "write -P 1 0 4k",
    "flush",
    "write -P 2 8k 512",
    "write -z 8k 1k",
    "write -f -P 3 64k 1536",
    "write -P 4 32k 512",
    "flush",
    "write -P 5 0 1k",
)
SEED = 1


def write_by_qemu(folder: Path, *commands: str) -> tuple[Path, Path]:
    """The flash and the log that QEMU's filter makes of these, as a card's drive has it."""
    flash, log = folder / "flash.img", folder / "writes.log"
    flash.write_bytes(bytes(SIZE))
    log.write_bytes(b"")
    options = f"driver=blklogwrites,file.driver=file,file.filename={flash},log.driver=file"
    command = [
        "qemu-io",
        "-t",
        "writeback",
        "--image-opts",
        f"{options},log.filename={log},log-sector-size=512",
    ]
    command += [word for one in commands for word in ("-c", one)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    assert "error" not in done.stdout.lower(), done.stdout
    return flash, log


def test_a_log_that_qemu_wrote_holds_each_write_and_flush_in_order(tmp_path: Path) -> None:
    flash, log = write_by_qemu(tmp_path, *ASKED)
    events = read_log(log.read_bytes(), "log", SIZE)
    wanted = [
        (Ask.WRITE, 0, b"\1" * 4096),
        (Ask.SYNC, 0, b""),
        (Ask.WRITE, 8192, b"\2" * 512),
        (Ask.WRITE, 8192, bytes(1024)),
        (Ask.WRITE, 65536, b"\3" * 1536),
        (Ask.SYNC, 0, b""),  # what QEMU makes of a write through the cache
        (Ask.WRITE, 32768, b"\4" * 512),
        (Ask.SYNC, 0, b""),
        (Ask.WRITE, 0, b"\5" * 1024),
        (Ask.SYNC, 0, b""),  # qemu-io's own, at its end
    ]
    assert [(event.ask, event.offset, event.data) for event in events] == wanted
    blank = tmp_path / "blank.img"
    blank.write_bytes(bytes(SIZE))
    recording = Recording.of_logs(blank, [log])
    assert recording.last.contents() == flash.read_bytes()


def test_a_log_whose_machine_was_killed_is_read_up_to_its_last_whole_entry(tmp_path: Path) -> None:
    _, log = write_by_qemu(tmp_path, *ASKED)
    raw = log.read_bytes()
    whole = read_log(raw, "log", SIZE)
    # The head as it was at the second flush: what came later is read all the same, while it is whole.
    early = raw[:16] + (6).to_bytes(8, "little") + raw[24:]
    for length in range(SECTOR, len(raw) + 1, SECTOR // 2):
        try:
            found = read_log(early[:length], "log", SIZE)
        except FlashFormatError as e:
            assert "ends early" in str(e)
            assert length < len(raw) - 4 * SECTOR
        else:
            assert found == whole[: len(found)] and len(found) >= 6
    assert read_log(bytes(SECTOR), "log", SIZE) == ()
    hole = early[: -2 * SECTOR] + bytes(2 * SECTOR)
    assert 6 <= len(read_log(hole, "log", SIZE)) < len(whole)


def test_what_is_no_log_or_says_what_we_do_not_know_is_refused(tmp_path: Path) -> None:
    _, log = write_by_qemu(tmp_path, "write -P 1 0 4k", "discard 64k 64k")
    with pytest.raises(FlashFormatError, match="discard"):
        read_log(log.read_bytes(), "log", SIZE)
    with pytest.raises(FlashFormatError, match="not a log"):
        read_log(b"\1" * SECTOR, "log", SIZE)
    for flags in (Flag.FUA, Flag.MARK, Flag.FLUSH | Flag.FUA):
        entry = ENTRY.build({"sector": 0, "sectors": 1, "flags": flags, "data_length": 0})
        with pytest.raises(FlashFormatError, match="flags"):
            read_log(bytes(SECTOR) + entry.ljust(2 * SECTOR, b"x"), "log", SIZE)
    outside = ENTRY.build({"sector": SIZE // SECTOR, "sectors": 1, "flags": 0, "data_length": 0})
    with pytest.raises(FlashFormatError, match="outside"):
        read_log(bytes(SECTOR) + outside.ljust(2 * SECTOR, b"x"), "log", SIZE)


# Cuts


def _sectors(text: str) -> tuple[Event, ...]:
    """`1a 2b | 3c`: sector 1 of a's, sector 2 of b's, a sync, sector 3 of c's."""
    return tuple(
        Event(Ask.SYNC, "")
        if word == "|"
        else Event(Ask.WRITE, "", int(word[0]) * SECTOR, word[1:].encode() * SECTOR)
        for word in text.split()
    )


def test_what_was_flushed_is_there_and_of_the_rest_any_part() -> None:
    recording = Recording(bytes(8 * SECTOR), _sectors("1a 2b | 1c 3d 4e | 5f"))
    seen: set[str] = set()
    for fate in range(400):
        medium = recording.left(Cut(6, Kind.BEFORE, fate), SEED)
        assert medium.sector(2) == b"b" * SECTOR and medium.sector(5) == bytes(SECTOR)
        assert medium.sector(1)[:1] in b"ac"
        seen.add("".join(chr(medium.sector(n)[0] or 46) for n in (1, 3, 4)))
    assert seen == {f"{one}{three}{four}" for one in "ac" for three in ".d" for four in ".e"}
    after = recording.left(Cut(6, Kind.AFTER, 0), SEED)
    assert [after.sector(n)[:1] for n in (1, 2, 3, 4)] == [b"c", b"b", b"d", b"e"]


def test_the_write_in_flight_may_be_torn_within_one_sector() -> None:
    recording = Recording(bytes(8 * SECTOR), _sectors("1a | 1b"))
    left = [recording.left(Cut(2, Kind.TORN, fate), SEED).sector(1) for fate in range(200)]
    assert any(raw.startswith(b"b") and raw.endswith(b"a") for raw in left)
    assert any(set(raw) - set(b"ab") for raw in left)
    assert all(
        recording.left(Cut(2, Kind.AFTER, fate), SEED).sector(1) == b"b" * SECTOR for fate in range(20)
    )


def test_between_power_ons_all_stays_that_was_written(tmp_path: Path) -> None:
    (tmp_path / "1").mkdir()
    (tmp_path / "2").mkdir()
    flash, first = write_by_qemu(tmp_path / "1", "write -P 1 0 512")
    _, second = write_by_qemu(tmp_path / "2", "write -P 2 512 512")
    base = tmp_path / "base.img"
    base.write_bytes(bytes(SIZE))
    raw = first.read_bytes()
    first.write_bytes(bytes(SECTOR) + raw[SECTOR : 3 * SECTOR])  # killed before any flush
    recording = Recording.of_logs(base, [first, second])
    start = recording.starts[1]
    assert [recording.power_on(number) for number in range(len(recording.events))] == [0, 0, 1, 1]
    for fate in range(20):
        assert recording.left(Cut(start, Kind.BEFORE, fate), SEED).sector(0) == b"\1" * SECTOR
    lost = [recording.left(Cut(start - 1, Kind.BEFORE, fate), SEED).sector(0)[0] for fate in range(20)]
    assert set(lost) == {0, 1}
    assert flash.read_bytes()[:1] == b"\1"


# A burn and an update, as the agent's own code writes them


@cache
def recorded(name: str) -> tuple[Recording, Reader]:
    """A record of the agent's code on a small flash; its words are those of a machine's record."""
    house = small_house()
    operation = next(one for one in card_operations(house) if one.name == f"card.{name}")
    recording = Recording(operation.medium.contents(), tuple(operation.record.events))
    recording = with_phases(recording, read_table(Powered(recording.last)))
    layout = Cards(house).flash_layout
    return recording, Reader.between(recording, layout, KEYRING, CPU, house)


@pytest.mark.parametrize("name", ["burn a pristine card", "update"])
def test_every_cut_of_a_burn_shows_the_old_or_the_new(name: str) -> None:
    recording, reader = recorded(name)
    first, last = reader.look(recording.first), reader.look(recording.last)
    assert (last.boots, last.stored, last.validated) == (NEW, NEW, NEW)
    assert first.boots == OLD if name == "update" else first.table == NOTHING
    seen: Counter[str] = Counter()
    for cut in islice(cuts(recording, SEED, name), 250):
        seen[str(check(reader, recording, cut, recording.left(cut, SEED)))] += 1
    assert len(seen) >= 4, seen


def test_cuts_are_the_same_for_the_same_seed_and_reach_every_phase() -> None:
    recording, _ = recorded("update")
    some = list(islice(cuts(recording, SEED, "update"), 60))
    assert some == list(islice(cuts(recording, SEED, "update"), 60))
    assert some != list(islice(cuts(recording, SEED + 1, "update"), 60))
    assert len(set(some)) == 60
    phases = {phase_of(recording, cut) for cut in some}
    assert phases >= {Phase.CONTROL, Phase.BOOT, Phase.CONTENT, Phase.INDEX, Phase.LOADER, Phase.COMMIT}
    pristine, _ = recorded("burn a pristine card")
    assert {phase_of(pristine, cut) for cut in islice(cuts(pristine, SEED, ""), 60)} >= {
        Phase.TABLE,
        Phase.STATE,
    }
    assert {cut.kind for cut in some} == set(Kind)


@pytest.mark.parametrize("name", ["burn a pristine card", "update"])
@pytest.mark.parametrize("phase", [Phase.CONTROL, Phase.BOOT, Phase.CONTENT, Phase.INDEX])
def test_a_flushed_write_that_is_missing_is_noticed(name: str, phase: Phase) -> None:
    """Planted: a replay that loses what one flush had made durable; seen at one of the next flushes."""
    recording, reader = recorded(name)
    intervals = _intervals(recording, phase)
    missed = []
    for lost in intervals:
        events = tuple(
            replace(event, data=b"") if number in lost else event
            for number, event in enumerate(recording.events)
        )
        bad = replace(recording, events=events)
        if not any(_noticed(recording, reader, bad, cut) for cut in _following(recording, max(lost))):
            missed.append(lost)
    assert len(missed) <= len(intervals) // 10, f"{len(missed)} of {len(intervals)}: {missed}"
    assert intervals


def _noticed(recording: Recording, reader: Reader, bad: Recording, cut: Cut) -> bool:
    check(reader, recording, cut, recording.left(cut, SEED))
    try:
        check(reader, recording, cut, bad.left(cut, SEED))
    except Broken:
        return True
    return False


def _intervals(recording: Recording, phase: Phase) -> list[set[int]]:
    """The writes of this phase that each sync made durable, where they change what is there."""
    found: list[set[int]] = []
    writes: set[int] = set()
    for number, event in enumerate(recording.events):
        if event.ask is Ask.WRITE and Phase(event.site) is phase:
            writes.add(number)
        elif event.ask is Ask.SYNC and writes:
            before, _ = recording.durable(min(writes))
            after, _ = recording.durable(number + 1)
            if before.digest != after.digest:
                found.append(writes)
            writes = set()
    return found


def _following(recording: Recording, number: int) -> list[Cut]:
    """Right after each of the next syncs, and at the end."""
    syncs = [n for n, event in enumerate(recording.events) if event.ask is Ask.SYNC and n > number]
    return [Cut(n, Kind.AFTER, 0) for n in dict.fromkeys([*syncs[:3], syncs[-1]])]


def test_a_mix_of_two_sets_is_noticed() -> None:
    """Planted: a module of the new set that the cut has taken away behind the record's back."""
    recording, reader = recorded("update")
    cut = Cut(len(recording.events) - 1, Kind.AFTER, 0)
    left = recording.left(cut, SEED)
    content = [
        event
        for event in recording.events
        if event.ask is Ask.WRITE and Phase(event.site) is Phase.CONTENT and any(event.data)
    ]
    with pytest.raises(Broken, match=r"a mix|does not hold"):
        check(reader, recording, cut, left.with_sectors({content[-1].offset // SECTOR: bytes(SECTOR)}))


def test_an_image_that_power_failed_in_gets_no_starts() -> None:
    """Planted: control that names a partition whose image is not whole."""
    recording, reader = recorded("update")
    cut = Cut(len(recording.events) - 1, Kind.AFTER, 0)
    left = recording.left(cut, SEED)
    pieces = [event for event in recording.events if Phase(event.site) is Phase.BOOT and event.data]
    torn = replace(left, over={**left.over, pieces[0].offset // SECTOR: bytes(SECTOR)})
    assert isinstance(torn, Medium)
    with pytest.raises(Broken, match="has starts and no image"):
        check(reader, recording, cut, torn)
