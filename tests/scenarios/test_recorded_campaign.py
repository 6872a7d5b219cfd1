"""What the campaign of recorded cuts keeps and reports, and which variables go with a cut. No machine."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

from tests.flash.powercut.medium import Medium
from tests.scenarios.recorded_campaign import Journal
from tests.scenarios.recorded_cuts import Outcome, lay
from tests.scenarios.recorded_report import Failed, again, table
from tests.scenarios.variables import Span, Watched, logs_in

OUTCOME = Outcome("update 2", "x", "7.torn.1", "store, index", "…", "old", False, 2, 0, 512, 40.0)
FAILED = Failed("update 2", "x", "9.after.3", "data", "never came")


def test_journal_is_read_as_it_was_written(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "seed.json")
    journal.add("update 2 7.torn.1", OUTCOME)
    journal.add("update 2 9.after.3", FAILED)
    read = Journal(tmp_path / "seed.json")
    read.read()
    assert read == journal
    assert read.knows("update 2 7.torn.1") and read.knows("update 2 9.after.3")
    assert not read.knows("update 2 7.torn.2")


def test_table_has_a_row_for_each_phase_and_sums() -> None:
    pristine = replace(OUTCOME, record="pristine 1", source="network", boot_written=9, seconds=60.0)
    lines = table([OUTCOME, pristine], [FAILED]).splitlines()
    found = [[cell.strip() for cell in line.split("  ") if cell.strip()] for line in lines]
    assert found[1] == ["x", "pristine", "store, index", "1", "0", "0", "1", "0", "1", "1", "60", "60", "0"]
    assert found[2] == ["x", "update", "store, index", "1", "1", "0", "0", "0", "1", "0", "40", "40", "0"]
    assert found[3] == ["x", "update", "data", "1", "0", "0", "0", "0", "0", "0", "0", "0", "1"]
    assert found[-1] == ["all", "3", "1", "0", "1", "0", "2", "1", "50", "60", "1"]
    assert again(FAILED, 4) == "tools/recorded-cuts --seed 4 --only 'update 2 9.after.3'"


def test_variables_are_those_of_the_cut_or_of_the_change_it_fell_into(tmp_path: Path) -> None:
    watched = Watched(tmp_path / "seen")
    looks = (
        (1, 0, 0, b"z"),
        (1, 0, 0, b"y"),
        (1, 0, 0, b"a"),
        (1, 0, 600, b"a"),
        (1, 900, 900, b"b"),
        (1, 950, 5000, b"b"),
        (2, 0, 10, b"c"),
    )
    for look in looks:
        watched.see(*look)
    watched.keep()
    read = Watched(tmp_path / "seen")
    assert [(span.power_on, span.start, span.end) for span in read.spans] == [
        (1, 0, 600),
        (1, 900, 5000),
        (2, 0, 10),
    ]
    assert isinstance(read.spans[0], Span)

    def seen(power_on: int, position: int) -> set[bytes]:
        paths = [read.at(power_on, position, random.Random(seed)) for seed in range(20)]
        return {path.read_bytes() for path in paths if path is not None}

    assert [seen(1, at) for at in (0, 600, 700, 900, 9999)] == [{b"a"}, {b"a"}, {b"a", b"b"}, {b"b"}, {b"b"}]
    assert seen(2, 5000) == {b"c"}
    assert len(list((tmp_path / "seen").glob("*.fd"))) == 3
    assert read.at(3, 0, random.Random(1)) is None
    for name in ("writes-10.log", "writes-9.log", "writes-x.log"):
        (tmp_path / name).touch()
    assert [log.name for log in logs_in(tmp_path)] == ["writes-9.log", "writes-10.log"]


def test_image_of_a_cut_is_the_base_with_the_sectors_that_differ(tmp_path: Path) -> None:
    base = tmp_path / "base.img"
    with base.open("wb") as file:
        file.write(b"base" * 128)
        file.truncate(8 << 20)
    sectors = {number: bytes([number % 251]) * 512 for number in (1, 2, 3, 9, 4000)}
    medium = Medium(base.read_bytes()).with_sectors(sectors)
    lay(medium, base, tmp_path / "flash.img")
    assert (tmp_path / "flash.img").read_bytes() == medium.contents()
    assert (tmp_path / "flash.img").stat().st_blocks * 512 < 1 << 20
