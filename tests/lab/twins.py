"""In-process cards: machines that keep to the order of calls more strictly than QEMU does."""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass, field

from firmware_mgr.lab.cards import Card
from firmware_mgr.lab.console_log import ConsoleLog
from firmware_mgr.lab.process import ProcessIdentity
from firmware_mgr.model.errors import DeviceError, UsageError
from firmware_mgr.model.ids import SlotId


class TwinMachine:
    """A card without a process: it lends its identity from the test itself."""

    def __init__(self, console: ConsoleLog, *, refuses: bool) -> None:
        self.identity = ProcessIdentity.of(os.getpid())
        self.console = console
        self.released = False
        self._refuses = refuses
        self._ended: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def release(self) -> None:
        assert not self.released, "released twice"
        assert not self._ended.done(), "released after its end"
        if self._refuses:
            raise DeviceError("the machine refuses to start")
        self.released = True

    async def cut(self) -> None:
        assert not self._ended.done(), "cut after its end"
        self._ended.set_result("power cut")

    async def quit(self) -> None:
        assert not self._ended.done(), "asked to quit after its end"
        self._ended.set_result("quit")

    async def wait_ended(self) -> str:
        return await self._ended

    @property
    def ended(self) -> bool:
        return self._ended.done()

    def switch_off(self) -> None:
        """As a card does that shuts itself down."""
        self._ended.set_result("the card switched itself off")


@dataclass
class TwinMachines:
    """Remembers what was asked of it."""

    spawned: list[tuple[SlotId, int, bool]] = field(default_factory=list)
    machines: dict[SlotId, TwinMachine] = field(default_factory=dict)
    refuses: bool = False

    boards: tuple[str, ...] = ("qemu-aarch64", "qemu-armv7")
    flashes: list[str] = field(default_factory=list)

    def make_flash(self, slot: SlotId, card: Card) -> None:
        if card.board not in self.boards:
            raise UsageError("no such board", found=card.board)
        self.flashes.append(card.name)

    async def spawn(
        self, slot: SlotId, card: Card, count: int, netboot: bool, console: ConsoleLog
    ) -> TwinMachine:
        assert slot not in self.machines or self.machines[slot].ended, "two cards in one slot"
        self.spawned.append((slot, count, netboot))
        self.machines[slot] = TwinMachine(console, refuses=self.refuses)
        return self.machines[slot]
