"""The hands of a simulated chassis: slots with power, the netboot lever, and cards that can be taken out.

Knows who has power and what sits where. Refuses to know what cards do.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from firmware_mgr.lab.daemon import POWER_STEPS, Step
from firmware_mgr.lab.sim.card import Around, Hardware, SimCard
from firmware_mgr.model.errors import PeerError, UsageError
from firmware_mgr.model.ids import SlotId
from firmware_mgr.rack.hands import ConsoleLine, PowerAction, PowerState, SlotRegister

#: A power cycle leaves a card without power for so long.
OFF_SECONDS = 0.5
#: An answer of the hands takes so long.
ANSWER_SECONDS = 0.005


@dataclass(eq=False)
class Bay:
    """A slot. `card` is None while nothing sits in it."""

    slot: SlotId
    around: Around
    host: object
    directory: Path
    card: SimCard | None = None
    power_on_count: int = 0
    netboot_strap: bool = False
    lines: list[ConsoleLine] = field(default_factory=list)
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    register: SlotRegister | None = None


class SimChassis:
    """`unix` gives the time of day for console lines. `broken` is told what must never happen in a card."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        rng: random.Random,
        unix: Callable[[], float],
        broken: Callable[[BaseException], None],
    ) -> None:
        self.bays: dict[SlotId, Bay] = {}
        self._loop = loop
        self._rng = rng
        self._unix = unix
        self._broken = broken
        self.on_power: Callable[[Bay, bool], None] = lambda _bay, _on: None

    def add_slot(self, slot: SlotId, around: Around, host: object, directory: Path) -> Bay:
        bay = self.bays[slot] = Bay(slot, around, host, directory)
        return bay

    def insert(self, slot: SlotId, hardware: Hardware) -> SimCard:
        """Put a card into an empty slot. It has no power yet."""
        bay = self.bay(slot)
        assert bay.card is None, f"slot {slot} is not empty"
        bay.card = SimCard(
            slot,
            hardware,
            bay.around,
            loop=self._loop,
            directory=bay.directory,
            rng=random.Random(self._rng.getrandbits(64)),
            say=lambda text: self._said(bay, text),
            broken=self._broken,
        )
        return bay.card

    def remove(self, slot: SlotId) -> Hardware:
        """Pull the card, with or without power."""
        bay = self.bay(slot)
        assert bay.card is not None, f"slot {slot} is empty"
        self._off(bay)
        hardware, bay.card = bay.card.hardware, None
        return hardware

    def bay(self, slot: SlotId) -> Bay:
        bay = self.bays.get(slot)
        if bay is None:
            known = ", ".join(str(known) for known in self.bays)
            raise UsageError("no such slot", expected=f"one of {known}", found=slot)
        return bay

    def card(self, slot: SlotId) -> SimCard:
        card = self.bay(slot).card
        assert card is not None, f"slot {slot} is empty"
        return card

    # The hands.

    def slots(self) -> list[SlotRegister]:
        return [self.register(bay) for bay in self.bays.values()]

    def register(self, bay: Bay) -> SlotRegister:
        """What the backplane says. Of an empty slot it knows what was in it last."""
        if bay.card is not None:
            hardware = bay.card.hardware
            bay.register = SlotRegister(
                slot=bay.slot,
                mac=hardware.mac,
                board=hardware.board.name,
                present=True,
                power=PowerState.ON if bay.card.powered else PowerState.OFF,
                power_on_count=bay.power_on_count + bay.card.brownouts,
                netboot_strap=bay.netboot_strap,
            )
            return bay.register
        if bay.register is None:
            raise UsageError("nothing has ever been in this slot", where=f"slot {bay.slot}")
        known = bay.register
        return SlotRegister(known.slot, known.mac, known.board, False, PowerState.OFF, bay.power_on_count)

    async def power(self, slot: SlotId, action: PowerAction, *, netboot: bool = False) -> SlotRegister:
        """As the hands of a QEMU chassis."""
        bay = self.bay(slot)
        async with bay.lock:
            if bay.card is None:
                raise UsageError("there is no card in this slot", where=f"slot {slot}")
            state = PowerState.ON if bay.card.powered else PowerState.OFF
            for step in POWER_STEPS[state, action]:
                if step is Step.CUT:
                    self._off(bay)
                    await asyncio.sleep(OFF_SECONDS)
                else:
                    self._on(bay, netboot)
            return self.register(bay)

    def _on(self, bay: Bay, netboot: bool) -> None:
        if bay.card is not None:
            bay.power_on_count += 1
            bay.netboot_strap = netboot
            self._said(bay, f"power on {bay.power_on_count}" + (", netboot lever pulled" if netboot else ""))
            self.on_power(bay, True)
            bay.card.power_on(bay.host, netboot=netboot)

    def _off(self, bay: Bay) -> None:
        if bay.card is not None and bay.card.powered:
            bay.card.power_off()
            self.on_power(bay, False)
            self._said(bay, "power off")

    # Consoles.

    def _said(self, bay: Bay, text: str) -> None:
        at = datetime.fromtimestamp(self._unix(), UTC)
        bay.lines.append(ConsoleLine(len(bay.lines) + 1, at, text))

    def console_tail(self, slot: SlotId, lines: int) -> list[ConsoleLine]:
        return self.bay(slot).lines[-lines:] if lines else []

    async def wait_for_line(self, slot: SlotId, text: str, *, after: int, within: float) -> ConsoleLine:
        bay = self.bay(slot)
        try:
            async with asyncio.timeout(within):
                while True:
                    for line in bay.lines[after:]:
                        if text in line.text:
                            return line
                    await asyncio.sleep(0.1)
        except TimeoutError:
            raise PeerError(
                "the line did not come", where=f"slot {slot}'s console", expected=f"{text!r} in {within:g} s"
            ) from None
