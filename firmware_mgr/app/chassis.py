"""The virtual chassis daemon: puts plan, network, machines and API together, and takes them apart again.

Started by `fwmgr chassis up` as `python -m firmware_mgr.app.chassis PLAN FD`: PLAN is the plan as JSON, FD a
pipe that takes the first word: `{}` when the API answers, or an error document.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import sys

from firmware_mgr.imaging.board import load_board
from firmware_mgr.lab.daemon import VirtualChassis
from firmware_mgr.lab.leftovers import end_leftovers
from firmware_mgr.lab.machine import QemuBoard
from firmware_mgr.lab.network import make_network, plan_network
from firmware_mgr.lab.plan import ChassisPlan
from firmware_mgr.lab.process import PidFile, ProcessIdentity
from firmware_mgr.lab.qemu import QemuMachines, make_flash
from firmware_mgr.lab.record import ChassisRecord, NetworkRecord, SlotRecord, save_record
from firmware_mgr.model.errors import DeviceError, FwmgrError
from firmware_mgr.rack.api import hands_application, serve_on_socket

LOG = logging.getLogger("firmware_mgr.chassis")


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
        board = QemuBoard.of(load_board(plan.board), memory_mib=plan.memory_mib)
        _check_firmware(board)
        # Its sockets give power over the cards, and its files hold what they burn: for their owner alone.
        os.umask(0o077)
        os.chdir(plan.directory)
        _run_locked(plan, board, word)
    except FwmgrError as e:
        LOG.error("%s", e)
        word.say(e.document())
        return 1
    return 0


def _run_locked(plan: ChassisPlan, board: QemuBoard, word: FirstWord) -> None:
    pid_file = PidFile(plan.paths.pid)
    pid_file.acquire()
    try:
        if end_leftovers(plan.paths):
            LOG.warning("cleaned up after a daemon that had died")
        for slot in plan.slots:
            paths = plan.paths.slot(slot)
            paths.directory.mkdir(exist_ok=True)
            make_flash(paths.flash, board.flash_bytes, pristine=plan.pristine)
            if plan.pristine:
                paths.variables.unlink(missing_ok=True)
        daemon = ProcessIdentity.of(os.getpid())
        network = plan_network(plan)
        slots = tuple(SlotRecord(slot) for slot in plan.slots)
        save_record(plan.paths.record, ChassisRecord(daemon, network, slots))
        try:
            make_network(network)
            asyncio.run(_serve(plan, board, network, daemon, word))
        finally:
            # Every machine has quit; what the record still names is the network and the sockets.
            end_leftovers(plan.paths)
            LOG.info("down")
    finally:
        pid_file.release()


async def _serve(
    plan: ChassisPlan, board: QemuBoard, network: NetworkRecord, daemon: ProcessIdentity, word: FirstWord
) -> None:
    paths = plan.paths
    chassis = VirtualChassis(
        plan,
        board=board.name,
        network=network,
        machines=QemuMachines(board, paths.slot, capture=plan.capture),
        save=lambda record: save_record(paths.record, record),
        daemon=daemon,
    )
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, chassis.request_shutdown)
    try:
        api = await serve_on_socket(hands_application(chassis), paths.api_socket)
        LOG.info("up: %s slots, network %s", len(plan.slots), network.name or "user namespace")
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
