"""In-process cards and master, with the words of a rig of QEMU cards; all waiting is in virtual time."""

from __future__ import annotations

import argparse
import io
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from firmware_mgr.app.sim_system import SimSystem
from firmware_mgr.cli.cards import card_notes, card_table
from firmware_mgr.link.messages import BULK_PORT
from firmware_mgr.master.card_life import Deadlines
from firmware_mgr.model.errors import FwmgrError, UsageError
from firmware_mgr.model.ids import SlotId
from firmware_mgr.rack.hands import ConsoleLine, PowerAction, SlotRegister
from tests.scenarios.software import Said
from tests.scenarios.waiting import T
from tests.scenarios.words import Words


class SimRig(Words):
    def __init__(self, system: SimSystem) -> None:
        self.system = system
        self.slots = system.slots
        self._bulk: dict[SlotId, list[tuple[int, int]]] = {slot: [] for slot in self.slots}
        system.wire.on_bytes = self._counted

    def _counted(self, sender: str, receiver: str, port: int, length: int) -> None:
        """Bytes on their way back from one of the master's ports."""
        if port == BULK_PORT and sender == "master":
            slot = SlotId.parse(receiver.removeprefix("slot "))
            self._bulk[slot].append((self.power_ons(slot), length))

    def get(self, path: str, **query: str) -> Any:
        return self.system.get(path, **query)

    def post(self, path: str, body: dict[str, Any]) -> Any:
        return self.system.post(path, body)

    def start_master(self, *options: str) -> None:
        """With the options of `fwmgr master run` that scenarios use."""
        parser = argparse.ArgumentParser()
        parser.add_argument("--no-master-policy", default="wait")
        parser.add_argument("--no-master-seconds", type=float, default=0.0)
        parser.add_argument("--deadlines", type=json.loads, default={})
        parser.add_argument("--accept-test", action="store_true")
        read = vars(parser.parse_args(options))
        self.system.start_master(**{**read, "deadlines": Deadlines(**read["deadlines"])})

    def kill_master(self) -> None:
        self.system.kill_master()

    def power(self, slot: SlotId, action: PowerAction) -> SlotRegister:
        return self.system.run(self.system.chassis.power(slot, action))

    def power_ons(self, slot: SlotId) -> int:
        return self.system.chassis.bay(slot).power_on_count

    def console(self, slot: SlotId, lines: int = 400) -> list[ConsoleLine]:
        return self.system.chassis.console_tail(slot, lines)

    def wait_for_line(self, slot: SlotId, text: str, *, after: int, within: float) -> ConsoleLine:
        return self.system.run(self.system.chassis.wait_for_line(slot, text, after=after, within=within))

    def wait_until(
        self, what: str, look: Callable[[], T], within: float, *, describe: Callable[[], str] = str
    ) -> T:
        return self.system.wait_until(what, look, within, describe=describe)

    def now(self) -> float:
        return self.system.loop.time()

    def wait_moment(self, moment: float, over: Callable[[], bool]) -> bool:
        while self.now() < moment:
            if over():
                return False
            self.system.pass_time(min(0.2, moment - self.now()))
        return not over()

    def side_by_side(self, work: Callable[[SlotId], T], slots: Sequence[SlotId]) -> list[T]:
        """One after the other: nobody waits for it in virtual time."""
        return [work(slot) for slot in slots]

    def page(self, slot: SlotId) -> str:
        return self.system.page(slot)

    def says(self, *words: str | Path) -> Said:
        """The few commands that scenarios give, by the API that the command line uses."""
        try:
            match [str(word) for word in words]:
                case ["package", "add", path]:
                    answers = [self.post("/v1/packages", {"path": path})]
                case ["card", "set", slot, *wishes]:
                    body = {"cards": [slot], "packages": [word for word in wishes if word != "--package"]}
                    answers = self.post("/v1/card/set", body)
                case ["card", "approve", slot]:
                    self.post("/v1/card/approve", {"slot": slot})
                    answers = []
                case ["burn-all"]:
                    answers = [{"warnings": [], **self.post("/v1/burn-all", {})}]
                case _:
                    raise AssertionError(f"no scenario has said this before: {words}")
        except FwmgrError as e:
            return Said(2 if isinstance(e, UsageError) else 1, "", str(e))
        warnings = [warning for answer in answers for warning in answer["warnings"]]
        return Said(0, "", "\n".join(f"warning: {warning}" for warning in warnings))

    def show(self, slot: SlotId) -> str:
        out = io.StringIO()
        Console(file=out, width=140).print(card_table(self.card(slot)))
        return out.getvalue()

    def listed(self) -> str:
        return "\n".join(card_notes(self.get("/v1/cards")))

    def bulk_bytes(self, slot: SlotId, first: int) -> int:
        return sum(length for number, length in self._bulk[slot] if number >= first)

    def log_tail(self, lines: int = 40) -> str:
        return "\n".join(self.system.log[-lines:])
