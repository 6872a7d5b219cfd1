"""The catalogue's file: what is found in it after an end that nobody planned, and what it refuses."""

from __future__ import annotations

import asyncio
import random
import shutil
import sqlite3
import stat
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from firmware_mgr.master.catalogue import Put
from firmware_mgr.master.catalogue_sqlite import SqliteCatalogue
from firmware_mgr.model.errors import DeviceError, UsageError

from .clocks import HandClock

KEYS = 5

#: Writes transaction after transaction, each of KEYS documents with the same number, and says which is done.
WRITER = f"""
import asyncio, sys, time
from pathlib import Path
from firmware_mgr.master.catalogue import Put
from firmware_mgr.master.catalogue_sqlite import SqliteCatalogue

async def write():
    catalogue = SqliteCatalogue(Path(sys.argv[1]), time.monotonic)
    while True:
        n = (await catalogue.list("")).revision + 1
        puts = [Put(f"k/{{i}}", {{"n": n, "pad": "x" * 700 * i}}) for i in range({KEYS})]
        assert await catalogue.transact([], puts) == n
        sys.stdout.write(f"{{n}}\\n")
        sys.stdout.flush()

asyncio.run(write())
"""


def whole_state(path: Path) -> int:
    """The number that all documents carry, which is also the revision; 0 when there are none."""

    async def read() -> int:
        with closing(SqliteCatalogue(path, HandClock())) as catalogue:
            listing = await catalogue.list("")
            numbers = {document.value["n"] for document in listing} or {0}
            assert numbers == {listing.revision}
            assert len(listing) in (0, KEYS)
            return listing.revision

    return asyncio.run(read())


def test_a_master_killed_at_any_moment_leaves_whole_transactions(tmp_path: Path) -> None:
    path = tmp_path / "catalogue.db"
    seed = 20240
    moments = random.Random(seed)
    for round_number in range(10):
        done = 0
        with subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path)], stdout=subprocess.PIPE, text=True
        ) as writer:
            assert writer.stdout is not None
            for _ in range(moments.randint(1, 40)):
                done = int(writer.stdout.readline())
            writer.kill()
            # What it said before it died counts as promised.
            done = max([done, *(int(line) for line in writer.stdout if line.endswith("\n"))])
        assert whole_state(path) in (done, done + 1), f"seed {seed}, round {round_number}"


def test_a_write_ahead_log_torn_anywhere_holds_whole_transactions(tmp_path: Path) -> None:
    path, logs = tmp_path / "catalogue.db", tmp_path / "catalogue.db-wal"
    seed = 7
    choose = random.Random(seed)

    async def write() -> bytes:
        with closing(SqliteCatalogue(path, HandClock())) as catalogue:
            for n in range(1, 9):
                await catalogue.transact(
                    [], [Put(f"k/{i}", {"n": n, "pad": "x" * 900 * i}) for i in range(KEYS)]
                )
            shutil.copy(path, tmp_path / "kept.db")
            return logs.read_bytes()

    log = asyncio.run(write())
    assert len(log) > 50_000
    reached = set()
    for cut in [0, len(log), *sorted(choose.sample(range(len(log)), 25))]:
        shutil.copy(tmp_path / "kept.db", path)
        logs.write_bytes(log[:cut] + choose.randbytes(min(len(log) - cut, 3000)))
        try:
            reached.add(whole_state(path))
        except UsageError:
            # Not even the tables had reached the disk: the creation was not over.
            assert cut < 20_000, f"seed {seed}, cut {cut}"
    assert 8 in reached
    assert len(reached) > 4


async def test_a_catalogue_opened_again_goes_on_where_it_was(tmp_path: Path) -> None:
    path = tmp_path / "catalogue.db"
    with closing(SqliteCatalogue(path, HandClock())) as catalogue:
        await catalogue.transact([], [Put("a", {"n": 1})])
        before = await catalogue.list("")
    with closing(SqliteCatalogue(path, HandClock())) as catalogue:
        assert await catalogue.list("") == before
        assert await catalogue.transact([], [Put("b", {})]) == 2
        assert [commit.revision for commit in [await anext(catalogue.watch("", 1))]] == [2]


async def test_a_lease_runs_its_full_time_after_a_start(tmp_path: Path) -> None:
    path = tmp_path / "catalogue.db"
    with closing(SqliteCatalogue(path, HandClock(500))) as catalogue:
        await catalogue.transact([], [Put("a", {}, await catalogue.grant(10))])
    clock = HandClock(3)  # another boot, another monotonic clock
    with closing(SqliteCatalogue(path, clock)) as catalogue:
        clock.advance(9)
        assert await catalogue.get("a") is not None
        clock.advance(1)
        assert await catalogue.get("a") is None


def test_every_commit_waits_for_the_disk(tmp_path: Path) -> None:
    """No killed process shows this: only a power cut would."""
    with closing(SqliteCatalogue(tmp_path / "catalogue.db", HandClock())) as catalogue:
        for name, value in (("synchronous", 2), ("journal_mode", "wal")):
            asked = catalogue._worker.submit(catalogue._db.execute, f"PRAGMA {name}").result()
            assert catalogue._worker.submit(asked.fetchone).result() == (value,)


def test_nobody_else_can_read_the_file(tmp_path: Path) -> None:
    path = tmp_path / "catalogue.db"
    with closing(SqliteCatalogue(path, HandClock())):
        for file in tmp_path.iterdir():
            assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_a_second_master_on_the_same_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "catalogue.db"
    with closing(SqliteCatalogue(path, HandClock())), pytest.raises(UsageError, match="in use by another"):
        SqliteCatalogue(path, HandClock())
    SqliteCatalogue(path, HandClock()).close()


def test_a_database_of_something_else_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "music.db"
    with closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE songs (name TEXT)")
        db.commit()
    with pytest.raises(UsageError, match="a database of something else"):
        SqliteCatalogue(path, HandClock())
    with closing(sqlite3.connect(path)) as db:
        assert [name for (name,) in db.execute("SELECT name FROM sqlite_schema")] == ["songs"]


def test_a_file_that_is_no_database_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "catalogue.db"
    path.write_bytes(b"not a database" * 100)
    with pytest.raises(DeviceError, match="cannot be read"):
        SqliteCatalogue(path, HandClock())
    assert path.read_bytes() == b"not a database" * 100


def test_a_newer_layout_is_refused_with_both_numbers(tmp_path: Path) -> None:
    path = tmp_path / "catalogue.db"
    SqliteCatalogue(path, HandClock()).close()
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA user_version = 2")
    with pytest.raises(UsageError, match="expected layout 1, found layout 2"):
        SqliteCatalogue(path, HandClock())


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "catalogue.db"

    async def fill() -> None:
        with closing(SqliteCatalogue(path, HandClock())) as catalogue:
            await catalogue.transact([], [Put(f"k/{n}", {"pad": "x" * 500}) for n in range(100)])

    asyncio.run(fill())
    raw = bytearray(path.read_bytes())
    raw[4096 * 4 : 4096 * 8] = bytes(4096 * 4)
    path.write_bytes(raw)
    with pytest.raises(DeviceError):
        SqliteCatalogue(path, HandClock())


def test_a_directory_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match="nowhere"):
        SqliteCatalogue(tmp_path / "nowhere" / "catalogue.db", HandClock())
