"""What a scenario says to a chassis and asks of its master, of whatever kind the cards are.

Knows the master's API. How it is reached and what lets time pass is the rig's: QEMU cards or in-process ones.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from firmware_mgr.model.errors import FwmgrError
from firmware_mgr.model.ids import SlotId
from firmware_mgr.rack.hands import ConsoleLine, PowerAction, SlotRegister
from tests.scenarios.software import Said
from tests.scenarios.waiting import T

#: From power-on to service on a busy host: some ten times of what it takes on an idle one.
IN_SERVICE = 240.0
BURN_ALL = 480.0


class Words(ABC):
    """The abstract half is the rig's, the other half is the same for all."""

    slots: tuple[SlotId, ...]

    @property
    def one_of_each(self) -> tuple[SlotId, ...]:
        """What is done to a card is done to these, side by side."""
        return self.slots

    @abstractmethod
    def get(self, path: str, **query: str) -> Any: ...

    @abstractmethod
    def post(self, path: str, body: dict[str, Any]) -> Any: ...

    @abstractmethod
    def start_master(self, *options: str) -> None: ...

    @abstractmethod
    def kill_master(self) -> None:
        """kill -9: it can neither finish nor tidy up anything."""

    @abstractmethod
    def power(self, slot: SlotId, action: PowerAction) -> SlotRegister: ...

    @abstractmethod
    def power_ons(self, slot: SlotId) -> int: ...

    @abstractmethod
    def console(self, slot: SlotId, lines: int = 400) -> list[ConsoleLine]: ...

    @abstractmethod
    def wait_for_line(self, slot: SlotId, text: str, *, after: int, within: float) -> ConsoleLine: ...

    @abstractmethod
    def wait_until(
        self, what: str, look: Callable[[], T], within: float, *, describe: Callable[[], str] = str
    ) -> T:
        """The first true answer of `look`, within so many seconds of the rig's own time."""

    @abstractmethod
    def now(self) -> float:
        """Seconds of the rig's own time."""

    @abstractmethod
    def wait_moment(self, moment: float, over: Callable[[], bool]) -> bool:
        """Wait for `now()` to be `moment`; False when `over` came true before."""

    @abstractmethod
    def side_by_side(self, work: Callable[[SlotId], T], slots: Sequence[SlotId]) -> list[T]:
        """The work done for each slot; at the same time where the rig can."""

    @abstractmethod
    def page(self, slot: SlotId) -> str: ...

    @abstractmethod
    def show(self, slot: SlotId) -> str:
        """What `fwmgr card show` prints."""

    @abstractmethod
    def listed(self) -> str:
        """What `fwmgr cards` prints, at least below its table."""

    @abstractmethod
    def says(self, *words: str | Path) -> Said:
        """What `fwmgr` says that is asked to do something by the master."""

    @abstractmethod
    def bulk_bytes(self, slot: SlotId, first: int) -> int:
        """Bytes of blobs that went to the card from its `first` power-on on."""

    @abstractmethod
    def log_tail(self, lines: int = 40) -> str:
        """The master's log."""

    def all_off(self) -> None:
        for slot in self.slots:
            self.power(slot, PowerAction.OFF)

    def console_number(self, slot: SlotId) -> int:
        """The number of the newest console line: what comes later is numbered higher."""
        tail = self.console(slot, 1)
        return tail[-1].number if tail else 0

    def add_image(self, folder: str) -> None:
        self.post("/v1/images", {"path": folder})

    def want(self, slot: SlotId, image: str) -> None:
        self.post("/v1/card/want", {"slot": str(slot), "image": image})

    def take_out(self, slot: SlotId) -> None:
        """Cut the power and wait until the master knows: what it says later is then of the next life."""
        self.power(slot, PowerAction.OFF)
        self.wait_until(f"the master misses slot {slot}", lambda: self.card(slot)["state"] == "absent", 20.0)

    # What the master says.

    def cards(self) -> dict[SlotId, dict[str, Any]]:
        return {SlotId.parse(card["slot"]): card for card in self.get("/v1/cards")}

    def card(self, slot: SlotId) -> dict[str, Any]:
        """Everything that the master knows of one card."""
        card: dict[str, Any] = self.get("/v1/card", slot=str(slot))
        return card

    def refusals(self) -> list[dict[str, str]]:
        refusals: list[dict[str, str]] = self.get("/v1/status")["refusals"]
        return refusals

    def burns(self, slot: SlotId) -> list[dict[str, Any]]:
        """The record of what was burned into this slot's card, oldest first."""
        records = json.loads(self.get("/v1/record")["document"])["records"]
        return [record["burned"] for record in records if record["burned"]["slot"] == str(slot)]

    def operation(self, identifier: str) -> dict[str, Any]:
        operation: dict[str, Any] = self.get(f"/v1/operations/{identifier}")
        return operation

    def burn_all(self, **request: Any) -> str:
        """Begin it; its identifier."""
        return str(self.post("/v1/burn-all", request)["id"])

    def wait_burned(self, identifier: str, within: float = BURN_ALL) -> dict[str, Any]:
        """The operation once it is over; it must have ended well."""
        operation = self.wait_until(
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
        return self.wait_until(
            f"slot {slot} is in service",
            lambda: card if (card := self.card(slot))["in_service"] else None,
            within,
            describe=self.situation,
        )

    def wait_booted(self, slot: SlotId, version: str, within: float) -> dict[str, Any]:
        """The card once it is in service from its flash with this boot image."""
        return self.wait_until(
            f"slot {slot} is in service with boot image {version}",
            lambda: (
                card if (card := self.card(slot))["in_service"] and card["boot_version"] == version else None
            ),
            within,
            describe=self.situation,
        )

    def wait_reason(self, slot: SlotId, text: str, within: float = IN_SERVICE) -> str:
        """The master's reason for the card's state, once it holds `text`."""
        return self.wait_until(
            f"slot {slot}: {text}",
            lambda: reason if text in (reason := str(self.card(slot)["reason"])) else None,
            within,
            describe=self.situation,
        )

    # For people.

    def situation(self) -> str:
        try:
            cards = [f"slot {c['slot']}: {c['state']} ({c['reason']})" for c in self.get("/v1/cards")]
        except FwmgrError as e:
            cards = [str(e)]
        return "; ".join(cards) + "\nmaster's log:\n" + self.log_tail()
