"""Console bytes become numbered lines with times."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware_mgr.lab.console_log import LONGEST_LINE, ConsoleLog, LineSplitter, SplitLine
from firmware_mgr.model.errors import PeerError

START = datetime(2030, 1, 2, 3, 4, 5, 678000, tzinfo=UTC)


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def texts(lines: list[SplitLine]) -> list[str]:
    return [line.text for line in lines]


class SteppingClock:
    """One second later at each look."""

    def __init__(self) -> None:
        self._now = START

    def __call__(self) -> datetime:
        now, self._now = self._now, self._now + timedelta(seconds=1)
        return now


def test_line_carries_the_time_of_its_first_byte() -> None:
    splitter = LineSplitter()
    assert splitter.receive(b"U-Bo", at(0)) == []
    assert splitter.receive(b"ot 2023\r\nDRAM", at(1)) == [SplitLine(at(0), "U-Boot 2023")]
    assert splitter.receive(b"\n", at(2)) == [SplitLine(at(1), "DRAM")]


def test_prompt_is_seen_before_its_line_ends() -> None:
    splitter = LineSplitter()
    splitter.receive(b"done\r\n=> ", at(0))
    assert splitter.unfinished == SplitLine(at(0), "=> ")
    assert splitter.finish() == [SplitLine(at(0), "=> ")]
    assert splitter.unfinished is None
    assert splitter.finish() == []


def test_empty_lines_are_lines() -> None:
    assert texts(LineSplitter().receive(b"\r\n\n\r\n", at(0))) == ["", "", ""]


def test_control_characters_and_broken_text_become_visible() -> None:
    lines = LineSplitter().receive(b"\x1b[2J 2 \x08\xff \xc3\xa9\t.\n", at(0))
    assert texts(lines) == ["\\x1b[2J 2 \\x08\\xff é\t."]


def test_line_without_end_is_cut() -> None:
    splitter = LineSplitter()
    lines = splitter.receive(b"x" * (LONGEST_LINE + 1), at(0))
    assert texts(lines) == ["x" * LONGEST_LINE]
    assert splitter.unfinished == SplitLine(at(0), "x")


@given(st.lists(st.binary(max_size=12) | st.sampled_from([b"\n", b"\r\n", b"\r"]), max_size=12))
def test_how_the_bytes_arrive_does_not_change_the_lines(pieces: list[bytes]) -> None:
    whole, parts = LineSplitter(), LineSplitter()
    together = whole.receive(b"".join(pieces), START)
    one_by_one = [line for piece in pieces for byte in piece for line in parts.receive(bytes([byte]), START)]
    assert one_by_one == together
    assert parts.unfinished == whole.unfinished


async def test_log_file_holds_time_and_text(tmp_path: Path) -> None:
    log = ConsoleLog(tmp_path / "console.log", clock=SteppingClock())
    log.receive(b"U-Boot\r\n=> ")
    log.note("power off: power cut")
    log.close()
    assert (tmp_path / "console.log").read_text() == (
        "2030-01-02T03:04:05.678Z U-Boot\n"
        "2030-01-02T03:04:05.678Z => \n"
        "2030-01-02T03:04:06.678Z [fwmgr] power off: power cut\n"
    )


async def test_log_is_bounded_to_two_files(tmp_path: Path) -> None:
    log = ConsoleLog(tmp_path / "console.log", file_bytes=1000)
    for number in range(200):
        log.receive(b"line %d\n" % number)
    log.close()
    sizes = {path.name: path.stat().st_size for path in tmp_path.iterdir()}
    assert sizes.keys() == {"console.log", "console.log.1"}
    assert max(sizes.values()) <= 1000
    assert "line 199" in (tmp_path / "console.log").read_text()


async def test_tail_numbers_lines_from_one_and_ends_with_the_unfinished(tmp_path: Path) -> None:
    log = ConsoleLog(tmp_path / "console.log")
    log.receive(b"one\ntwo\nthr")
    assert [(line.number, line.text) for line in log.tail(2)] == [(2, "two"), (3, "thr")]
    assert [line.text for line in log.tail(10)] == ["one", "two", "thr"]
    assert log.tail(0) == []
    log.receive(b"ee\n")
    assert (log.tail(1)[0].number, log.tail(1)[0].text) == (3, "three")
    log.close()


async def test_wait_finds_a_line_that_is_there_already_and_one_that_comes(tmp_path: Path) -> None:
    log = ConsoleLog(tmp_path / "console.log")
    log.receive(b"U-Boot 2023\n")
    assert (await log.wait_for_line("U-Boot", after=0, within=10)).number == 1
    waiting = asyncio.create_task(log.wait_for_line("U-Boot", after=1, within=10))
    await asyncio.sleep(0)
    log.receive(b"other\nU-Bo")
    await asyncio.sleep(0)
    log.receive(b"ot again")
    assert (await waiting).text == "U-Boot again"
    log.close()


async def test_wait_that_ends_without_the_line_tells_the_last_one(tmp_path: Path) -> None:
    log = ConsoleLog(tmp_path / "console.log")
    log.receive(b"Kernel panic\n")
    with pytest.raises(PeerError, match=r"console\.log.*expected 'login:' in 0 s, found 'Kernel panic'"):
        await log.wait_for_line("login:", after=0, within=0)
    log.close()
