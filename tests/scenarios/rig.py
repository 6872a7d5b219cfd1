"""A chassis of QEMU cards and a master, as real processes, in one directory that is removed at the end.

Knows how they are started, killed, asked and waited for. Knows no scenario.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from firmware_mgr.lab.launch import bring_up, take_down
from firmware_mgr.lab.plan import ChassisPlan, SlotPaths
from firmware_mgr.master.client import MasterClient
from firmware_mgr.master.site import MasterPaths
from firmware_mgr.model.errors import FwmgrError
from firmware_mgr.model.ids import SlotId
from firmware_mgr.rack.hands import ConsoleLine, PowerAction, SlotRegister
from tests.scenarios.software import BOARD, TOP
from tests.scenarios.waiting import wait_until

MASTER_UP = 40.0
#: From power-on to service on a busy host: some ten times of what it takes on an idle one.
IN_SERVICE = 180.0
BURN_ALL = 240.0
PAGE_PORT = 8080


class Rig:
    """`up` makes it, `down` takes everything away again, whatever state it is in."""

    def __init__(self, cards: int = 2, *, capture: bool = True) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="fws-"))
        self.plan = ChassisPlan(
            self.directory / "c", cards, (BOARD,), capture=capture, rootless=os.geteuid() != 0
        )
        self.master = MasterPaths(self.directory / "m")
        self.client = MasterClient(self.master.api)
        self._log = self.directory / "master.log"
        self._process: subprocess.Popen[bytes] | None = None
        self._enter: tuple[str, ...] = ()

    @property
    def slots(self) -> tuple[SlotId, ...]:
        return self.plan.slots

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
            return bool(self.client.get("/v1/status")["cards"] >= len(self.slots))
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

    def all_off(self) -> None:
        for slot in self.slots:
            self.power(slot, PowerAction.OFF)

    def power_ons(self, slot: SlotId) -> int:
        """How often the slot was switched on since the chassis came up: the number of its newest capture."""
        registers = asyncio.run(self._hands.slots())
        return next(register.power_on_count for register in registers if register.slot == slot)

    def console(self, slot: SlotId, lines: int = 400) -> list[ConsoleLine]:
        return asyncio.run(self._hands.console_tail(slot, lines))

    def console_number(self, slot: SlotId) -> int:
        """The number of the newest console line: what comes later is numbered higher."""
        tail = self.console(slot, 1)
        return tail[-1].number if tail else 0

    def wait_for_line(self, slot: SlotId, text: str, *, after: int, within: float) -> ConsoleLine:
        return asyncio.run(self._hands.wait_for_line(slot, text, after=after, within=within))

    def take_out(self, slot: SlotId) -> None:
        """Cut the power and wait until the master knows: what it says later is then of the next life."""
        self.power(slot, PowerAction.OFF)
        wait_until(f"the master misses slot {slot}", lambda: self.card(slot)["state"] == "absent", 20.0)

    # What the master says.

    def cards(self) -> dict[SlotId, dict[str, Any]]:
        return {SlotId.parse(card["slot"]): card for card in self.client.get("/v1/cards")}

    def card(self, slot: SlotId) -> dict[str, Any]:
        """Everything that the master knows of one card."""
        card: dict[str, Any] = self.client.get("/v1/card", slot=str(slot))
        return card

    def refusals(self) -> list[dict[str, str]]:
        refusals: list[dict[str, str]] = self.client.get("/v1/status")["refusals"]
        return refusals

    def burns(self, slot: SlotId) -> list[dict[str, Any]]:
        """The record of what was burned into this slot's card, oldest first."""
        records = json.loads(self.client.get("/v1/record")["document"])["records"]
        return [record["burned"] for record in records if record["burned"]["slot"] == str(slot)]

    def operation(self, identifier: str) -> dict[str, Any]:
        operation: dict[str, Any] = self.client.get(f"/v1/operations/{identifier}")
        return operation

    def burn_all(self, **request: Any) -> str:
        """Begin it; its identifier."""
        return str(self.client.post("/v1/burn-all", request)["id"])

    def wait_burned(self, identifier: str, within: float = BURN_ALL) -> dict[str, Any]:
        """The operation once it is over; it must have ended well."""
        operation = wait_until(
            f"{identifier} is over",
            lambda: seen if (seen := self.operation(identifier))["finished"] else None,
            within,
            describe=self.situation,
        )
        assert operation["state"] == "done", f"{identifier}: {operation['state']}. {self.situation()}"
        assert operation["ready_for_use"]
        return operation

    def wait_in_service(self, slot: SlotId, within: float = IN_SERVICE) -> dict[str, Any]:
        """The card once it is in service. Take it out first, or the answer may be about its life before."""
        return wait_until(
            f"slot {slot} is in service",
            lambda: card if (card := self.card(slot))["in_service"] else None,
            within,
            describe=self.situation,
        )

    def wait_booted(self, slot: SlotId, version: str, within: float) -> dict[str, Any]:
        """The card once it is in service from its flash with this boot image."""
        return wait_until(
            f"slot {slot} is in service with boot image {version}",
            lambda: (
                card if (card := self.card(slot))["in_service"] and card["boot_version"] == version else None
            ),
            within,
            describe=self.situation,
        )

    def wait_reason(self, slot: SlotId, text: str, within: float = IN_SERVICE) -> str:
        """The master's reason for the card's state, once it holds `text`."""
        return wait_until(
            f"slot {slot}: {text}",
            lambda: reason if text in (reason := str(self.card(slot)["reason"])) else None,
            within,
            describe=self.situation,
        )

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

    def situation(self) -> str:
        try:
            cards = [f"slot {c['slot']}: {c['state']} ({c['reason']})" for c in self.client.get("/v1/cards")]
        except FwmgrError as e:
            cards = [str(e)]
        return "; ".join(cards) + "\nmaster's log:\n" + self.log_tail()

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
