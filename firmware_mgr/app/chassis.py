"""The virtual chassis daemon: puts plan, network, machines and API together, and takes them apart again.

Started by `fwmgr chassis up` as `python -m firmware_mgr.app.chassis PLAN FD`: PLAN is the plan as JSON, FD a
pipe that takes the first word: `{}` when the API answers, or an error document.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import secrets
import signal
import sys
from collections.abc import Mapping

from firmware_mgr.imaging.board import load_board
from firmware_mgr.lab.cards import Card, Cards
from firmware_mgr.lab.cards_api import add_card_routes
from firmware_mgr.lab.console_log import ConsoleLog
from firmware_mgr.lab.daemon import VirtualChassis
from firmware_mgr.lab.leftovers import end_leftovers
from firmware_mgr.lab.machine import QemuBoard
from firmware_mgr.lab.network import BRIDGE, make_network, plan_network
from firmware_mgr.lab.plan import ChassisPlan
from firmware_mgr.lab.process import PidFile, ProcessIdentity
from firmware_mgr.lab.qemu import QemuMachine, QemuMachines
from firmware_mgr.lab.record import ChassisRecord, SlotRecord, save_record
from firmware_mgr.lab.sim.machines import SimMachines
from firmware_mgr.model.errors import DeviceError, FwmgrError
from firmware_mgr.model.ids import SlotId
from firmware_mgr.rack.api import hands_application, serve_on_socket

LOG = logging.getLogger("firmware_mgr.chassis")
#: Decides, for in-process cards, what power cuts leave on flash.
SEED_VARIABLE = "FWMGR_SEED"


class FirstWord:
    """The pipe to whoever started the daemon: says one thing, once."""

    def __init__(self, fd: int) -> None:
        self._fd: int | None = fd

    def say(self, document: dict[str, str]) -> None:
        if self._fd is not None:
            with os.fdopen(self._fd, "w", encoding="utf-8") as pipe:
                json.dump(document, pipe)
            self._fd = None


def main(arguments: list[str]) -> int:
    """Run until told to go down; the exit code."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    word = FirstWord(int(arguments[1]))
    os.set_inheritable(int(arguments[1]), False)
    try:
        plan = ChassisPlan.from_document(json.loads(arguments[0]))
        machines = _sim_machines(plan) if plan.sim else BoardMachines(plan)
        names = {board: machines.take(board) for board in plan.boards}
        # Its sockets give power over the cards, and its files hold what they burn: for their owner alone.
        os.umask(0o077)
        os.chdir(plan.directory)
        _run_locked(plan, machines, names, word)
    except FwmgrError as e:
        LOG.error("%s", e)
        word.say(e.document())
        return 1
    return 0


class BoardMachines:
    """The machines of all boards in a chassis. See daemon.Machines."""

    def __init__(self, plan: ChassisPlan) -> None:
        self._plan = plan
        self._machines: dict[str, QemuMachines] = {}

    def take(self, board: str) -> str:
        """The name of the board, given by name or as a file. Raises FwmgrError when it cannot be here."""
        plan = self._plan
        if board not in self._machines:
            qemu = QemuBoard.of(load_board(board), memory_mib=plan.memory_mib)
            _check_firmware(qemu)
            self._machines[qemu.name] = QemuMachines(
                qemu,
                plan.paths.slot,
                capture=plan.capture,
                backplane=plan.backplane,
                clock_of=plan.clock_of,
                record_writes=plan.record_writes,
            )
            return qemu.name
        return board

    def begin(self) -> None:
        """Machines are processes of their own: nothing has to be there before them."""

    def make_flash(self, slot: SlotId, card: Card) -> None:
        self._machines[self.take(card.board)].make_flash(slot)

    async def spawn(
        self, slot: SlotId, card: Card, count: int, netboot: bool, console: ConsoleLog
    ) -> QemuMachine:
        machines = self._machines[self.take(card.board)]
        return await machines.spawn(slot, card, count, netboot, console)


def _sim_machines(plan: ChassisPlan) -> SimMachines:
    seed = os.environ.get(SEED_VARIABLE) or secrets.token_hex(4)
    return SimMachines(plan.paths.slot, BRIDGE, slots=len(plan.slots), seed=seed)


def _run_locked(
    plan: ChassisPlan, machines: BoardMachines | SimMachines, names: Mapping[str, str], word: FirstWord
) -> None:
    pid_file = PidFile(plan.paths.pid)
    pid_file.acquire()
    try:
        if end_leftovers(plan.paths):
            LOG.warning("cleaned up after a daemon that had died")
        cards = Cards(plan.paths)
        for slot in plan.slots:
            card = cards.first(slot, names[plan.board_of(slot)], pristine=plan.pristine)
            machines.make_flash(slot, card)
        daemon = ProcessIdentity.of(os.getpid())
        network = plan_network(plan)
        slots = tuple(SlotRecord(slot) for slot in plan.slots)
        record = ChassisRecord(daemon, network, slots)
        save_record(plan.paths.record, record)
        try:
            make_network(network)
            asyncio.run(_serve(plan, machines, cards, record, word))
        finally:
            # Every machine has quit; what the record still names is the network and the sockets.
            end_leftovers(plan.paths)
            LOG.info("down")
    finally:
        pid_file.release()


async def _serve(
    plan: ChassisPlan,
    machines: BoardMachines | SimMachines,
    cards: Cards,
    record: ChassisRecord,
    word: FirstWord,
) -> None:
    paths = plan.paths
    machines.begin()
    chassis = VirtualChassis(
        plan,
        cards=cards,
        network=record.network,
        machines=machines,
        save=lambda now: save_record(paths.record, now),
        daemon=record.daemon,
    )
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, chassis.request_shutdown)
    try:
        application = hands_application(chassis)
        add_card_routes(application, chassis)
        api = await serve_on_socket(application, paths.api_socket)
        LOG.info("up: %s slots, network %s", len(plan.slots), record.network.name or "user namespace")
        word.say({})
        await chassis.wait_shutdown_requested()
        await api.cleanup()
    finally:
        await chassis.end()


def _check_firmware(board: QemuBoard) -> None:
    if not board.firmware.is_file():
        hint = f"apt install {board.firmware_package}" if board.firmware_package else ""
        raise DeviceError("the board's firmware is not installed", where=str(board.firmware), hint=hint)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
