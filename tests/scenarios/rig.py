"""A chassis of QEMU cards and a master, as real processes, in one directory that is removed at the end.

Knows how they are started, killed, asked and waited for. Knows no scenario.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from firmware_mgr.lab.launch import bring_up, take_down
from firmware_mgr.lab.plan import ChassisPlan, SlotPaths
from firmware_mgr.link.messages import BULK_PORT
from firmware_mgr.master.client import MasterClient
from firmware_mgr.master.site import MasterPaths
from firmware_mgr.model.errors import FwmgrError
from firmware_mgr.model.ids import SlotId
from firmware_mgr.rack.hands import ConsoleLine, PowerAction, SlotRegister
from tests.scenarios.capture import bytes_by_service, of_card, read_packets
from tests.scenarios.software import BOARDS, TOP, Said, ask, fwmgr
from tests.scenarios.waiting import T, wait_moment, wait_until
from tests.scenarios.words import Words

MASTER_UP = 40.0
PAGE_PORT = 8080
#: The year 2100.
FAR_AHEAD = 4_102_444_800


class Rig(Words):
    """`up` makes it, `down` takes everything away again, whatever state it is in.

    With nothing said: a card of each board and a second one of the first, whose clock is far ahead at each
    start; all others begin at 1970. `cards` alone are of the first board.
    """

    def __init__(
        self,
        cards: int | None = None,
        boards: Sequence[str] = (),
        *,
        capture: bool = True,
        backplane: bool = True,
        record_writes: bool = False,
    ) -> None:
        self._spare = cards is None
        self.directory = Path(tempfile.mkdtemp(prefix="fws-"))
        self.plan = ChassisPlan(
            self.directory / "c",
            cards or len(BOARDS) + 1,
            tuple(boards) or (BOARDS if cards is None else BOARDS[:1]),
            capture=capture,
            backplane=backplane,
            record_writes=record_writes,
            rootless=os.geteuid() != 0,
            clocks=(*(0 for _ in BOARDS), FAR_AHEAD) if cards is None else (0,),
        )
        self.master = MasterPaths(self.directory / "m")
        self.client = MasterClient(self.master.api)
        self._log = self.directory / "master.log"
        self._process: subprocess.Popen[bytes] | None = None
        self._enter: tuple[str, ...] = ()

    @property
    def slots(self) -> tuple[SlotId, ...]:
        return self.plan.slots

    @property
    def one_of_each(self) -> tuple[SlotId, ...]:
        """All slots, but for the second card of one board that a rig has when nothing was said."""
        return self.slots[:-1] if self._spare else self.slots

    def board(self, slot: SlotId) -> str:
        return self.plan.board_of(slot)

    def paths(self, slot: SlotId) -> SlotPaths:
        return self.plan.paths.slot(slot)

    # Processes.

    def up(self) -> None:
        self._hands = bring_up(self.plan)
        self._enter = asyncio.run(self._hands.status()).enter

    def down(self) -> None:
        self.stop_master()
        take_down(self.plan.directory)
        shutil.rmtree(self.directory)

    def start_master(self, *options: str) -> None:
        """Start it and wait until it answers and has seen every slot."""
        command = [sys.executable, "-m", "firmware_mgr.app.fwmgr", "master", "run"]
        command += ["--dir", str(self.master.directory), "--chassis", str(self.plan.directory), *options]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True, cwd=TOP)
        wait_until("the master answers", self._master_answers, MASTER_UP, describe=self.log_tail)

    def _master_answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, f"the master ended by itself: {self.log_tail()}"
        try:
            seen: int = self.client.get("/v1/status")["cards"]
            return seen >= len(self.slots) or not self.plan.backplane
        except FwmgrError:
            return False

    def kill_master(self) -> None:
        """kill -9: it can neither finish nor tidy up anything."""
        self._end_master(signal.SIGKILL)

    def stop_master(self) -> None:
        self._end_master(signal.SIGTERM)

    def _end_master(self, how: signal.Signals) -> None:
        if self._process is not None:
            if self._process.poll() is None:
                os.killpg(self._process.pid, how)
            self._process.wait()
            self._process = None

    # Power and consoles.

    def power(self, slot: SlotId, action: PowerAction) -> SlotRegister:
        return asyncio.run(self._hands.power(slot, action))

    def power_ons(self, slot: SlotId) -> int:
        """How often the slot was switched on since the chassis came up: the number of its newest capture."""
        registers = asyncio.run(self._hands.slots())
        return next(register.power_on_count for register in registers if register.slot == slot)

    def console(self, slot: SlotId, lines: int = 400) -> list[ConsoleLine]:
        return asyncio.run(self._hands.console_tail(slot, lines))

    def wait_for_line(self, slot: SlotId, text: str, *, after: int, within: float) -> ConsoleLine:
        return asyncio.run(self._hands.wait_for_line(slot, text, after=after, within=within))

    # How it is asked, waited for and told.

    def get(self, path: str, **query: str) -> Any:
        return self.client.get(path, **query)

    def post(self, path: str, body: dict[str, Any]) -> Any:
        return self.client.post(path, body)

    def wait_until(
        self, what: str, look: Callable[[], T], within: float, *, describe: Callable[[], str] = str
    ) -> T:
        return wait_until(what, look, within, describe=describe)

    def now(self) -> float:
        return time.monotonic()

    def wait_moment(self, moment: float, over: Callable[[], bool]) -> bool:
        return wait_moment(moment, over)

    def side_by_side(self, work: Callable[[SlotId], T], slots: Sequence[SlotId]) -> list[T]:
        with ThreadPoolExecutor(len(slots)) as pool:
            return list(pool.map(work, slots))

    def says(self, *words: str | Path) -> Said:
        return ask(*words, "--dir", self.master.directory)

    def show(self, slot: SlotId) -> str:
        return fwmgr("card", "show", str(slot), "--dir", self.master.directory)

    def listed(self) -> str:
        return fwmgr("cards", "--dir", self.master.directory)

    def bulk_bytes(self, slot: SlotId, first: int) -> int:
        """Bytes of blobs that went to the card from its `first` power-on on, from the captures."""
        packets = (
            packet
            for number in range(first, self.power_ons(slot) + 1)
            for packet in of_card(read_packets(self.paths(slot).capture(number)), slot)
        )
        return bytes_by_service(packets, slot).get(f"tcp {BULK_PORT}", 0)

    # What a card serves.

    def page(self, slot: SlotId) -> str:
        """The page of the card's web server; empty when nothing answers."""
        return self.enter(
            "curl", "--silent", "--max-time", "5", f"http://10.77.0.{10 + slot.number}:{PAGE_PORT}/"
        )

    def enter(self, *command: str) -> str:
        """Run a command on the chassis network; what it said. How it ended does not matter."""
        done = subprocess.run(
            [*self._enter, *command],
            check=False,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        return done.stdout

    # For people.

    def log_tail(self, lines: int = 40) -> str:
        return "\n".join(self._log.read_text(errors="replace").splitlines()[-lines:])

    def keep_evidence(self, folder: Path) -> None:
        """Copy all logs to `folder`, for whoever looks into a failure."""
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        logs = {"master.log": self._log, "chassis.log": self.plan.paths.daemon_log}
        for slot in self.slots:
            for log in sorted(self.paths(slot).directory.glob("console.log*")):
                logs[f"slot-{slot.number}-{log.name}"] = log
        for name, log in logs.items():
            if log.exists():
                shutil.copy(log, folder / name)
