"""What processes write is kept, and never more than it may be."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from firmware_mgr.card.process_log import OPENING_BYTES, ProcessLog


async def test_full_log_becomes_the_old_one(tmp_path: Path) -> None:
    log = ProcessLog(tmp_path / "p.log", max_bytes=100)
    for n in range(30):
        log.write(f"line {n:02}..\n".encode())
    log.close()
    assert (tmp_path / "p.log").read_text() + (tmp_path / "p.log.1").read_text()
    assert (tmp_path / "p.log").stat().st_size <= 100
    assert (tmp_path / "p.log.1").stat().st_size <= 100
    assert (tmp_path / "p.log").read_text().endswith("line 29..\n")
    assert {path.name for path in tmp_path.iterdir()} == {"p.log", "p.log.1", "p.log.dropped"}


async def test_more_at_once_than_fits_keeps_the_end(tmp_path: Path) -> None:
    log = ProcessLog(tmp_path / "p.log", max_bytes=10)
    log.write(b"0123456789abcdef")
    log.close()
    assert (tmp_path / "p.log").read_bytes() == b"6789abcdef"


async def test_run_is_followed_through_its_pipe(tmp_path: Path) -> None:
    log = ProcessLog(tmp_path / "p.log")
    for run in (1, 2):
        writer = log.begin_run()
        os.write(writer, f"run {run}\x1b\nmore".encode())
        os.close(writer)
        log.drain()
        assert log.opening == f"run {run} \nmore"
    log.close()
    assert (tmp_path / "p.log").read_bytes() == b"run 1\x1b\nmorerun 2\x1b\nmore"


async def test_opening_is_bounded(tmp_path: Path) -> None:
    log = ProcessLog(tmp_path / "p.log")
    log.write(b"a" * 10_000)
    log.write(b"b")
    assert log.opening == "a" * OPENING_BYTES
    log.close()


async def test_output_is_taken_in_without_being_asked(tmp_path: Path) -> None:
    log = ProcessLog(tmp_path / "p.log")
    writer = log.begin_run()
    os.write(writer, b"x" * 5000)
    async with asyncio.timeout(10):
        while (tmp_path / "p.log").stat().st_size < 5000:
            await asyncio.sleep(0)
    os.close(writer)
    log.close()
