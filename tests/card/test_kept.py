"""Logs and core dumps that a card gives out: bounded, in pieces, and nothing that was not asked for."""

from __future__ import annotations

import gzip
import io
import json
import logging
import os
import random
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from firmware_mgr.card import core_catcher
from firmware_mgr.card.cores import MAX_PATTERN, CoreShelf, catch_cores, core_pattern
from firmware_mgr.card.kept import AGENT, AgentLog, KeptDesk
from firmware_mgr.card.process_log import ProcessLog, kept_span, read_kept
from firmware_mgr.imaging.rootfs import AGENT_HOME
from firmware_mgr.link.service import KEPT_PIECE, Kept, ListKept, Piece, ReadKept
from firmware_mgr.model.errors import DeviceError

#: Where a boot image has interpreter and agent (`imaging/rootfs.py`).
ON_A_CARD = ("/usr/bin/python3", "-IS", f"/{AGENT_HOME}/firmware_mgr/card/core_catcher.py")


class Desk:
    def __init__(self, place: Path) -> None:
        self.place = place
        (place / "log").mkdir()
        self.log = AgentLog(4096)
        self.desk = KeptDesk(place / "log", self.log, CoreShelf(place))

    def list(self) -> Kept:
        answer = self.desk.answer(ListKept(7))
        assert isinstance(answer, Kept) and answer.request == 7
        return answer

    def read(self, what: str, name: str, start: int) -> Piece:
        answer = self.desk.answer(ReadKept(8, what, name, start))
        assert isinstance(answer, Piece) and answer.request == 8 and len(answer.data) <= KEPT_PIECE
        return answer

    def whole(self, what: str, name: str, start: int = 0) -> bytes:
        data = b""
        while True:
            piece = self.read(what, name, start + len(data))
            assert not piece.error
            data += piece.data
            if piece.start + len(piece.data) >= piece.end:
                return data

    def core(self, content: bytes, pid: int, moment: int = 1000, **document: object) -> None:
        described = {"process": "web", "pid": pid, "signal": 11, "time": float(moment), **document}
        folder = self.place / "data" / "cores"
        core_catcher.keep(io.BytesIO(content), folder, described, f"{moment:010d}-{pid}")


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


def test_a_log_is_counted_through_rotations_and_what_is_gone_is_skipped(tmp_path: Path) -> None:
    path = tmp_path / "web.log"
    log = ProcessLog(path, max_bytes=1000)
    lines = [f"line {number}\n".encode() for number in range(1000)]
    for line in lines:
        log.write(line)
    whole = b"".join(lines)
    start, end = kept_span(path)
    assert end == len(whole) and start > 0
    assert read_kept(path, 0, 1 << 20) == (start, whole[start:])
    for place in (start, start + 1, end - 5, end):
        assert read_kept(path, place, 300) == (place, whole[place : place + 300])
    assert read_kept(path, end + 100, 10) == (end, b"")
    log.close()


def test_processes_and_the_agent_itself_are_listed_and_read_in_pieces(desk: Desk) -> None:
    content = random.Random(1).randbytes(3 * KEPT_PIECE + 17)
    (desk.place / "log" / "web.log").write_bytes(content)
    record = logging.LogRecord("agent", logging.INFO, "", 0, "slot %s", (3,), None)
    desk.log.emit(record)
    assert [(log.name, log.start) for log in desk.list().logs] == [(AGENT, 0), ("web", 0)]
    assert desk.whole("log", "web") == content
    assert b"slot 3" in desk.whole("log", AGENT)


def test_the_agents_log_is_bounded_and_keeps_the_newest(desk: Desk) -> None:
    for number in range(1000):
        desk.log.emit(logging.LogRecord("agent", logging.INFO, "", 0, f"event {number}", (), None))
    start, end = desk.log.span()
    assert 0 < end - start <= 4096 and start > 0
    assert desk.whole("log", AGENT, start).endswith(b"event 999\n")


@pytest.mark.parametrize(
    ("text", "lines", "expected"),
    [
        (b"a\nb\nc\n", 2, b"b\nc\n"),
        (b"a\nb\nc", 1, b"c"),
        (b"a\nb\n", 9, b"a\nb\n"),
        (b"", 3, b""),
        (b"\n\n\n", 2, b"\n\n"),
    ],
)
def test_the_last_lines_of_a_log_are_found(desk: Desk, text: bytes, lines: int, expected: bytes) -> None:
    (desk.place / "log" / "web.log").write_bytes(text)
    assert desk.read("log", "web", -lines).data == expected


@pytest.mark.parametrize(
    ("what", "name"),
    [("log", "nobody"), ("log", "../x"), ("core", "1"), ("core", "../../etc/shadow"), ("disk", "web")],
)
def test_what_is_not_kept_is_refused_with_what_there_is(desk: Desk, what: str, name: str) -> None:
    assert desk.read(what, name, 0).error["found"] in (name, what)


def test_a_core_dump_is_kept_compressed_with_process_time_and_signal(desk: Desk) -> None:
    content = b"core " * 100_000
    desk.core(content, 42)
    (core,) = desk.list().cores
    assert (core.process, core.pid, core.signal, core.time, core.cut) == ("web", 42, 11, 1000.0, False)
    assert core.length < len(content)
    assert gzip.decompress(desk.whole("core", core.id)) == content


def test_the_oldest_core_dumps_go_first(desk: Desk) -> None:
    for number in range(core_catcher.MAX_CORES + 3):
        desk.core(b"x", number, moment=1000 + number)
    assert [core.pid for core in desk.list().cores] == list(range(3, core_catcher.MAX_CORES + 3))
    folder = desk.place / "data" / "cores"
    assert len(list(folder.iterdir())) == 2 * core_catcher.MAX_CORES


def test_a_dump_that_was_never_finished_is_cleared_away(desk: Desk) -> None:
    desk.core(b"x", 1)
    folder = desk.place / "data" / "cores"
    (folder / "0000000900-9.part").write_bytes(b"half")
    (folder / "0000000900-9.json").write_text("{}")
    assert [core.pid for core in desk.list().cores] == [1]
    desk.core(b"y", 2, moment=1001)
    assert not list(folder.glob("0000000900*"))


def test_the_kernels_program_names_the_process_whose_session_it_was(desk: Desk) -> None:
    session = os.getsid(0)
    desk.desk.cores.started(session, "web")
    command = [sys.executable, "-IS", core_catcher.__file__, str(os.getpid()), "6", "1234", str(desk.place)]
    subprocess.run([*command, "python3"], input=b"dump", check=True)
    (core,) = desk.list().cores
    assert (core.process, core.pid, core.signal, core.time) == ("web", os.getpid(), 6, 1234.0)
    assert gzip.decompress(desk.whole("core", core.id)) == b"dump"


def test_the_kernel_is_told_who_takes_dumps(tmp_path: Path) -> None:
    catch_cores(Path("/run/fwmgr"), ON_A_CARD, tmp_path)
    pattern = (tmp_path / "core_pattern").read_text()
    assert pattern.startswith("|/usr/bin/python3 ") and f"/proc/{os.getpid()}/root/run/fwmgr" in pattern
    assert int((tmp_path / "core_pipe_limit").read_text()) > 0


def test_a_pattern_that_the_kernel_would_cut_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match="too long"):
        catch_cores(Path("/" + "x" * 100), ON_A_CARD, tmp_path)
    assert not list(tmp_path.iterdir())


def test_on_a_card_the_pattern_fits_whatever_the_agents_number() -> None:
    assert len(core_pattern(Path("/run/fwmgr"), ON_A_CARD)) <= MAX_PATTERN - len("4194304") + len(
        str(os.getpid())
    )


def test_names_of_processes_are_bounded(desk: Desk) -> None:
    for pid in range(600):
        desk.desk.cores.started(pid, f"p{pid}")
    names = {path.name for path in (desk.place / "names").iterdir()}
    assert len(names) == 512 and "599" in names and "0" not in names


def test_a_description_that_is_damaged_hides_only_its_own_dump(desk: Desk) -> None:
    desk.core(b"x", 1)
    desk.core(b"y", 2, moment=1001)
    (desk.place / "data" / "cores" / "0000001000-1.json").write_text(json.dumps([1]))
    assert [core.pid for core in desk.list().cores] == [2]


def test_a_count_that_found_no_room_costs_neither_log_nor_agent(desk: Desk) -> None:
    """RAM may be full: the file is there then, and empty."""
    log = ProcessLog(desk.place / "log" / "web.log", 100)
    for text in (b"a", b"b", b"c"):
        log.write(text * 60)
    (desk.place / "log" / "web.log.dropped").write_bytes(b"")
    assert [kept.name for kept in desk.list().logs] == [AGENT, "web"]
    assert desk.whole("log", "web") == b"b" * 60 + b"c" * 60
    log.write(b"d" * 60)
    assert kept_span(log.path) == (60, 180)
    log.close()


def test_the_count_of_dropped_bytes_is_never_seen_half_written(tmp_path: Path) -> None:
    log = ProcessLog(tmp_path / "web.log", 100)
    for _ in range(3):
        log.write(b"x" * 60)
    dropped = tmp_path / "web.log.dropped"
    inode = dropped.stat().st_ino
    log.write(b"x" * 60)
    assert dropped.read_text() == "120" and dropped.stat().st_ino != inode
    log.close()


def test_dumps_of_processes_that_die_together_are_all_kept(desk: Desk) -> None:
    """The second waits for the first: the first's unfinished file is not taken for a stray."""
    others: list[threading.Thread] = []

    class Dump(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            if not others:
                others.append(threading.Thread(target=desk.core, args=(b"second", 2)))
                others[0].start()
                others[0].join(0.2)  # either it has ended by then, or it waits
            return super().read(size)

    folder = desk.place / "data" / "cores"
    described = {"process": "web", "pid": 1, "signal": 11, "time": 1000.0}
    core_catcher.keep(Dump(b"first"), folder, described, "0000001000-1")
    others[0].join()
    assert [core.id for core in desk.list().cores] == ["0000001000-1", "0000001000-2"]
