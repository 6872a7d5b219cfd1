"""What the master needs of a chassis or rack: who is in which slot, and its power. A seam.

Knows no API and no hardware; what implements it is handed in (a chassis client, a rack client, a twin).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from firmware_mgr.model.ids import MacAddress, SlotId


@dataclass(frozen=True, slots=True)
class SlotSight:
    """What the slot register says of one slot."""

    slot: SlotId
    mac: MacAddress
    board: str
    present: bool
    powered: bool
    power_ons: int = 0  # counts power-ons; a change means that the card started anew


class Hands(Protocol):
    async def slots(self) -> list[SlotSight]:
        """Raises FwmgrError when the daemon that holds the hands does not answer."""
        ...

    async def cycle(self, slot: SlotId, *, netboot: bool) -> None:
        """Power off, then on; with the board's lever for netboot set or not. Raises FwmgrError."""
        ...
