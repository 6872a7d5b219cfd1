"""What the hands saw before a power cycle, told after it, is no news."""

from __future__ import annotations

import asyncio
from pathlib import Path

from firmware_mgr.master.hands import SlotSight

from .rack_twin import Rack, TwinHands


class SlowHands(TwinHands):
    """While `closed`, an answer is what was seen when it was asked for, and is kept back."""

    def __init__(self, slots: int) -> None:
        super().__init__(slots)
        self.gate = asyncio.Event()
        self.gate.set()
        self.kept_back = asyncio.Event()

    async def slots(self) -> list[SlotSight]:
        seen = await super().slots()
        if not self.gate.is_set():
            self.kept_back.set()
        await self.gate.wait()
        return seen


async def test_a_card_seen_off_before_its_power_cycle_is_not_taken_for_switched_off(tmp_path: Path) -> None:
    rack = Rack(tmp_path)
    hands = SlowHands(2)
    rack.hands = hands
    rack.master = rack._make()
    async with rack:
        hands.gate.clear()
        async with asyncio.timeout(5):
            await hands.kept_back.wait()
        await rack.master.burn_all(None, False)
        await rack.wait(lambda: len(hands.cycles) == 2)
        await rack.settle()
        hands.gate.set()
        await rack.settle()
        assert (rack.state(1), rack.state(2)) == ("reset", "reset")
