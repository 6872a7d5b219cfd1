"""In-process cards for the chassis daemon: real time, real sockets, the slot's flash in its file.

Knows how a simulated card is made of a slot's files. Refuses to know who asks for power.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from firmware_mgr.imaging.board import Board
from firmware_mgr.lab.cards import Card
from firmware_mgr.lab.console_log import ConsoleLog
from firmware_mgr.lab.plan import SlotPaths
from firmware_mgr.lab.qemu import make_flash
from firmware_mgr.lab.sim.card import Hardware, SimCard
from firmware_mgr.lab.sim.file_flash import FileMedium
from firmware_mgr.lab.sim.loop import own_task
from firmware_mgr.lab.sim.process import PROCESS
from firmware_mgr.lab.sim.real_around import Bridge, KernelAround
from firmware_mgr.lab.sim.software import good_scripts, sim_boards
from firmware_mgr.model.errors import UsageError
from firmware_mgr.model.ids import SlotId

LOG = logging.getLogger(__name__)
#: Every card may be at a burn at once, which blocks, and at something else that does.
THREADS_PER_SLOT, LEAST_THREADS = 2, 16


class CardLog(logging.Handler):
    """What a card's agent logs goes to its console."""

    def emit(self, record: logging.LogRecord) -> None:
        process = PROCESS.get()
        if process is not None and process.say is not None and not process.dead:
            process.say(f"fwmgr-agent: {record.getMessage()}")


class SimMachine:
    """See daemon.Machine: it has no process of its own, and so no identity."""

    identity = None

    def __init__(
        self,
        card: Card,
        board: Board,
        *,
        slot: SlotId,
        netboot: bool,
        paths: SlotPaths,
        console: ConsoleLog,
        bridge: Bridge,
        rng: random.Random,
    ) -> None:
        loop = asyncio.get_running_loop()
        self._netboot = netboot
        self._console = console
        self._slot = slot
        self._ended: asyncio.Future[str] = loop.create_future()
        self._medium = FileMedium(paths.flash)
        self._card = SimCard(
            slot,
            Hardware(board, self._medium, card.mac, good_scripts()),
            KernelAround(bridge),
            loop=loop,
            directory=paths.directory,
            rng=rng,
            say=self._say,
            broken=self._broke,
        )
        self._loop = loop

    async def release(self) -> None:
        self._card.power_on(None, netboot=self._netboot)

    async def cut(self) -> None:
        self._end("power cut")

    async def quit(self) -> None:
        self._end("the chassis goes down")

    async def wait_ended(self) -> str:
        return await self._ended

    def _end(self, why: str) -> None:
        if not self._ended.done():
            self._card.power_off()
            self._medium.close()
            self._ended.set_result(why)

    def _say(self, line: str) -> None:
        """Agents log in threads also."""
        self._loop.call_soon_threadsafe(self._print, line)

    def _print(self, line: str) -> None:
        if not self._ended.done():
            self._console.receive(f"{line}\n".encode())

    def _broke(self, error: BaseException) -> None:
        self._say(f"the simulated card broke: {error!r}")
        LOG.error("slot %s broke", self._slot, exc_info=error)


class SimMachines:
    """See daemon.Machines. To be used within the daemon's network, once `begin` was called there.

    `slots` is how many cards there may be. By `seed` it is decided what a power cut leaves on flash.
    """

    def __init__(self, paths: Callable[[SlotId], SlotPaths], bridge: str, *, slots: int, seed: str) -> None:
        self._paths = paths
        self._threads = max(LEAST_THREADS, THREADS_PER_SLOT * slots)
        self._seed = seed
        self._boards = sim_boards()
        self._bridge_name = bridge
        self._bridge: Bridge | None = None

    def take(self, board: str) -> str:
        """Raises UsageError for a board that is not a simulated one."""
        if board not in self._boards:
            raise UsageError(
                "not a simulated board", expected=f"one of: {', '.join(self._boards)}", found=board
            )
        return board

    def begin(self) -> None:
        """In the running loop: cards are groups of its tasks."""
        loop = asyncio.get_running_loop()
        loop.set_task_factory(own_task)
        loop.set_default_executor(ThreadPoolExecutor(self._threads, "card"))
        for name in ("agent", "firmware_mgr.card"):
            logging.getLogger(name).addHandler(CardLog(logging.INFO))
            logging.getLogger(name).propagate = False
        self._bridge = Bridge(self._bridge_name)
        LOG.info("seed %s", self._seed)

    def make_flash(self, slot: SlotId, card: Card) -> None:
        make_flash(self._paths(slot).flash, self._boards[self.take(card.board)].flash.size)

    async def spawn(
        self, slot: SlotId, card: Card, count: int, netboot: bool, console: ConsoleLog
    ) -> SimMachine:
        assert self._bridge is not None, "the network is not there yet"
        return SimMachine(
            card,
            self._boards[self.take(card.board)],
            slot=slot,
            netboot=netboot,
            paths=self._paths(slot),
            console=console,
            bridge=self._bridge,
            rng=random.Random(f"{self._seed} {card.mac} {count}"),
        )
