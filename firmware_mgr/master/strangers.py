"""Clients that ask for an address and fit no card: who they are, why, and what to do about each.

Knows what netboot tells of them. In memory, and bounded: whoever floods the network fills neither memory nor
catalogue; after a start of the master they are seen again when they ask again.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from firmware_mgr.master.settings import BoardFacts
from firmware_mgr.model.ids import MacAddress
from firmware_mgr.netboot.events import DhcpDecided
from firmware_mgr.netboot.quarantine import Misfit

MAX_STRANGERS = 256
#: Who was seen several times keeps its place for so long (seconds); who was seen once, until it is needed.
KEPT_SECONDS = 60.0


@dataclass(slots=True)
class Stranger:
    """One MAC. `event` is the last that was decided of it; moments are seconds since 1970."""

    event: DhcpDecided
    first_seen: float
    last_seen: float
    asked: int


#: Why → what a person can do about it. `{…}` are fields of the event, and the boards that would fit.
NEXT_STEPS: Mapping[Misfit, str] = MappingProxyType(
    {
        Misfit.UNKNOWN: "if it is a card: see that its slot is reported with this MAC (fwmgr cards), "
        "or, where no register tells of slots: fwmgr card bind SLOT --mac {mac}",
        Misfit.WRONG_ARCHITECTURE: "see that the right card is in slot {slot}; this one looks like: {boards}",
        Misfit.WRONG_SUBNET: "connect it where slot {slot} is, or give the shelf that subnet (--subnet)",
        Misfit.NO_IMAGE: "add a boot image for slot {slot}: fwmgr image add DIR",
        Misfit.ADDRESS_IN_USE: "find the other machine at {address}; the card asks again by itself",
        Misfit.ADDRESS_UNUSABLE: "change the address of the server, router or relay at {address}",
    }
)
_BIND = "if it is a card: fwmgr card bind SLOT --port {port}"


class Strangers:
    """Strangers by MAC. `clock` gives seconds since 1970."""

    def __init__(self, boards: Mapping[str, BoardFacts], clock: Callable[[], float]) -> None:
        self._boards = boards
        self._clock = clock
        self._met: OrderedDict[MacAddress, Stranger] = OrderedDict()
        self.overlooked = 0  # for whom there was no place

    def __len__(self) -> int:
        return len(self._met)

    def met(self, event: DhcpDecided) -> None:
        """Netboot decided. Who is served as a card is no stranger any more."""
        if event.mac is None:
            return
        if event.misfit is None:
            if event.decision in ("offer", "ack"):
                self._met.pop(event.mac, None)
            return
        now = self._clock()
        known = self._met.pop(event.mac, None)
        if known is None and len(self._met) >= MAX_STRANGERS and not self._make_room(now):
            self.overlooked += 1
            return
        stranger = known or Stranger(event, now, now, 0)
        stranger.event, stranger.last_seen = event, now
        stranger.asked += 1
        self._met[event.mac] = stranger

    def _make_room(self, now: float) -> bool:
        """Drop the one unused for longest among those seen once, else the one unused for longest of all."""
        mac, oldest = next(
            (item for item in self._met.items() if item[1].asked == 1), next(iter(self._met.items()))
        )
        if oldest.asked > 1 and now - oldest.last_seen < KEPT_SECONDS:
            return False
        del self._met[mac]
        return True

    def document(self) -> dict[str, Any]:
        """JSON-ready; the latest first."""
        strangers = [self._one(stranger) for stranger in reversed(self._met.values())]
        return {"strangers": strangers, "overlooked": self.overlooked}

    def _one(self, stranger: Stranger) -> dict[str, Any]:
        event = stranger.event
        said = event.document()
        boards = self.fitting(event)
        assert event.misfit is not None
        step = _BIND if event.misfit is Misfit.UNKNOWN and event.port else NEXT_STEPS[event.misfit]
        address = said["address"] if event.decision in ("offer", "ack") else None
        return {
            **{name: said[name] for name in _SHOWN},
            "first_seen": stranger.first_seen,
            "last_seen": stranger.last_seen,
            "asked": stranger.asked,
            "has_address": address,
            "boards": boards,
            "next_step": step.format(
                slot=event.slot,
                mac=event.mac,
                address=event.address,
                port=event.port,
                boards=", ".join(boards) or "no board",
            ),
        }

    def boards_of(self, mac: MacAddress) -> list[str]:
        """What a stranger could be, by its own words; nothing for who was not met."""
        stranger = self._met.get(mac)
        return [] if stranger is None else self.fitting(stranger.event)

    def fitting(self, event: DhcpDecided) -> list[str]:
        """The boards that say of themselves what the client said: by 60 and 93, as far as they came."""
        return sorted(
            board.name
            for board in self._boards.values()
            if (event.vendor_class or event.architectures)
            and (not event.vendor_class or event.vendor_class.startswith(board.vendor_classes))
            and (not event.architectures or not board.client_architectures.isdisjoint(event.architectures))
        )


_SHOWN = (
    "mac",
    "slot",
    "misfit",
    "reason",
    "decision",
    "client",
    "vendor_class",
    "architectures",
    "uuid",
    "relay",
    "port",
)
