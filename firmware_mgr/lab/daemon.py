"""The virtual chassis: slots with power, consoles and a backplane register, behind the hands API.

Knows who has power and keeps the record true. Machines are handed in through a seam.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import Protocol

from firmware_mgr.lab.cards import Card, Cards
from firmware_mgr.lab.console_log import ConsoleLog
from firmware_mgr.lab.network import enter_command
from firmware_mgr.lab.plan import ChassisPlan
from firmware_mgr.lab.process import ProcessIdentity
from firmware_mgr.lab.record import ChassisRecord, NetworkRecord, SlotRecord
from firmware_mgr.model.errors import FwmgrError, UsageError
from firmware_mgr.model.ids import MacAddress, SlotId
from firmware_mgr.rack.hands import SIMULATED, ConsoleLine, HandsStatus, PowerAction, PowerState, SlotRegister

LOG = logging.getLogger(__name__)


class Machine(Protocol):
    """One power-on of one card. It is spawned stopped, and runs once released."""

    @property
    def identity(self) -> ProcessIdentity | None:
        """None for a card within the daemon's own process."""
        ...

    async def release(self) -> None: ...

    async def cut(self) -> None: ...

    async def quit(self) -> None: ...

    async def wait_ended(self) -> str: ...


class Machines(Protocol):
    """Where cards come from."""

    def make_flash(self, slot: SlotId, card: Card) -> None:
        """Give a card that has none its flash. Raises UsageError for a board that is not known here."""
        ...

    async def spawn(
        self, slot: SlotId, card: Card, count: int, netboot: bool, console: ConsoleLog
    ) -> Machine: ...


class Step(Enum):
    """What a change of power is made of."""

    CUT = "cut"
    START = "start"


#: What each action does in each state.
POWER_STEPS: dict[tuple[PowerState, PowerAction], tuple[Step, ...]] = {
    (PowerState.OFF, PowerAction.ON): (Step.START,),
    (PowerState.OFF, PowerAction.OFF): (),
    (PowerState.OFF, PowerAction.CYCLE): (Step.START,),
    (PowerState.ON, PowerAction.ON): (),
    (PowerState.ON, PowerAction.OFF): (Step.CUT,),
    (PowerState.ON, PowerAction.CYCLE): (Step.CUT, Step.START),
}


@dataclass(slots=True)
class _Bay:
    """A slot and what is in it now; `last` is the card that is or was in it."""

    slot: SlotId
    console: ConsoleLog
    card: Card | None
    last: Card
    machine: Machine | None = None
    watcher: asyncio.Task[None] | None = None
    power_on_count: int = 0
    netboot_strap: bool = False
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def power(self) -> PowerState:
        return PowerState.OFF if self.machine is None else PowerState.ON


class VirtualChassis:
    """The hands of a virtual chassis. To be made inside a running event loop."""

    def __init__(
        self,
        plan: ChassisPlan,
        *,
        cards: Cards,
        network: NetworkRecord,
        machines: Machines,
        save: Callable[[ChassisRecord], None],
        daemon: ProcessIdentity,
    ) -> None:
        self._plan = plan
        self._cards = cards
        self._network = network
        self._machines = machines
        self._save = save
        self._daemon = daemon
        self._bays = {}
        for slot in plan.slots:
            card = cards.in_slot(slot)
            if card is None:
                raise UsageError("a slot has no card to begin with", where=f"slot {slot}")
            console = ConsoleLog(plan.paths.slot(slot).console_log)
            self._bays[slot] = _Bay(slot, console, card, last=card)
        self._down = asyncio.Event()

    def status(self) -> HandsStatus:
        return HandsStatus(
            kind=SIMULATED if self._plan.sim else "virtual chassis",
            pid=self._daemon.pid,
            directory=self._plan.directory,
            network=self._network.name or "user namespace",
            address=self._network.address,
            enter=enter_command(self._network, self._daemon.pid),
        )

    def slots(self) -> list[SlotRegister]:
        return [self._register(bay) for bay in self._bays.values()]

    async def power(self, slot: SlotId, action: PowerAction, *, netboot: bool) -> SlotRegister:
        """Do it. Asking for what is so already changes nothing."""
        bay = self._bay(slot)
        async with bay.lock:
            steps = POWER_STEPS[bay.power, action]
            if action is PowerAction.OFF and netboot:
                raise UsageError("the netboot lever is read at power-on only", where=f"slot {slot}")
            if action is PowerAction.ON and not steps and netboot and not bay.netboot_strap:
                raise UsageError(
                    "the card has power already, and the netboot lever is read at power-on only",
                    where=f"slot {slot}",
                    hint="use cycle",
                )
            for step in steps:
                match step:
                    case Step.CUT:
                        await self._cut(bay)
                    case Step.START:
                        await self._start(bay, netboot)
            return self._register(bay)

    async def insert(
        self,
        slot: SlotId,
        *,
        name: str | None = None,
        board: str | None = None,
        mac: MacAddress | None = None,
    ) -> SlotRegister:
        """Put the card `name` from the drawer, or a new one of `board`, into an empty slot."""
        bay = self._bay(slot)
        async with bay.lock:
            if (name is None) == (board is None):
                raise UsageError("which card?", where=f"slot {slot}", expected="a name or a board")
            if board is not None:
                card = self._cards.new(slot, board, mac)
            else:
                card = self._cards.put_in(slot, name or "", mac)
            try:
                self._machines.make_flash(slot, card)
            except FwmgrError:
                self._cards.take_out(slot)
                raise
            bay.card = bay.last = card
            bay.console.note(f"card {card.name} put in: {card.board}, {card.mac}")
            return self._register(bay)

    async def remove(self, slot: SlotId) -> Card:
        """Cut the power and take the card out, into the drawer."""
        bay = self._bay(slot)
        async with bay.lock:
            await self._cut(bay)
            card = self._cards.take_out(slot)
            bay.card = None
            bay.netboot_strap = False
            bay.console.note(f"card {card.name} taken out")
            return card

    def drawer(self) -> list[Card]:
        """The cards that were taken out."""
        return list(self._cards.in_drawer().values())

    def console_tail(self, slot: SlotId, lines: int) -> list[ConsoleLine]:
        return self._bay(slot).console.tail(lines)

    async def wait_for_line(self, slot: SlotId, text: str, *, after: int, within: float) -> ConsoleLine:
        return await self._bay(slot).console.wait_for_line(text, after=after, within=within)

    def request_shutdown(self) -> None:
        self._down.set()

    async def wait_shutdown_requested(self) -> None:
        await self._down.wait()

    async def end(self) -> None:
        """Let every machine quit and close the consoles. Nothing can be powered afterwards."""
        await asyncio.gather(*(self._end_bay(bay) for bay in self._bays.values()))

    def record(self) -> ChassisRecord:
        """What would have to be ended if this process died now."""
        return ChassisRecord(
            self._daemon,
            self._network,
            tuple(
                SlotRecord(
                    bay.slot, None if bay.machine is None else bay.machine.identity, bay.power_on_count
                )
                for bay in self._bays.values()
            ),
        )

    async def _start(self, bay: _Bay, netboot: bool) -> None:
        if self._down.is_set():
            raise UsageError("the chassis is going down", where=f"slot {bay.slot}")
        if bay.card is None:
            raise UsageError("the slot is empty", where=f"slot {bay.slot}", hint="fwmgr chassis insert")
        count = bay.power_on_count + 1
        machine = await self._machines.spawn(bay.slot, bay.card, count, netboot, bay.console)
        bay.machine, bay.power_on_count, bay.netboot_strap = machine, count, netboot
        self._save(self.record())
        bay.console.note(f"power on {count}" + (", netboot lever pulled" if netboot else ""))
        identity = machine.identity
        LOG.info("slot %s: power on %s, pid %s", bay.slot, count, identity and identity.pid)
        bay.watcher = asyncio.create_task(self._watch(bay, machine))
        try:
            await machine.release()
        except FwmgrError:
            await self._cut(bay)
            raise

    async def _cut(self, bay: _Bay) -> None:
        machine, watcher = bay.machine, bay.watcher
        if machine is not None and watcher is not None:
            await machine.cut()
            await watcher

    async def _watch(self, bay: _Bay, machine: Machine) -> None:
        """Follow one machine to its end, however that comes."""
        reason = await machine.wait_ended()
        bay.console.note(f"power off: {reason}")
        LOG.info("slot %s: power off: %s", bay.slot, reason)
        bay.machine = bay.watcher = None
        self._save(self.record())

    async def _end_bay(self, bay: _Bay) -> None:
        async with bay.lock:
            machine, watcher = bay.machine, bay.watcher
            if machine is not None and watcher is not None:
                await machine.quit()
                await watcher
            bay.console.close()

    def _bay(self, slot: SlotId) -> _Bay:
        bay = self._bays.get(slot)
        if bay is None:
            raise UsageError(
                "no such slot", expected=f"one of {', '.join(str(known) for known in self._bays)}", found=slot
            )
        return bay

    def _register(self, bay: _Bay) -> SlotRegister:
        identity = None if bay.machine is None else bay.machine.identity
        return SlotRegister(
            slot=bay.slot,
            mac=bay.last.mac,
            board=bay.last.board,
            present=bay.card is not None,
            power=bay.power,
            power_on_count=bay.power_on_count,
            netboot_strap=bay.netboot_strap,
            qemu_pid=None if identity is None else identity.pid,
        )
