"""Real machines in a real chassis: daemon, namespace, U-Boot. Without root, the user namespace alone."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from firmware_mgr.lab.cards import Card
from firmware_mgr.lab.console_log import ConsoleLog
from firmware_mgr.lab.launch import TakenDown, bring_up, take_down
from firmware_mgr.lab.machine import QemuBoard
from firmware_mgr.lab.network import NAMESPACES
from firmware_mgr.lab.plan import ChassisPaths, ChassisPlan, mac_of
from firmware_mgr.lab.process import ProcessIdentity
from firmware_mgr.lab.qemu import QemuMachines, make_flash
from firmware_mgr.lab.record import ChassisRecord, load_record
from firmware_mgr.model.errors import DeviceError, PeerError, UsageError
from firmware_mgr.model.ids import SlotId
from firmware_mgr.rack.hands import PowerAction, PowerState

ONE, TWO = SlotId(1), SlotId(2)
#: Two loaders start on a host that may be busy with others, in seconds.
PATIENCE = 60.0
KINDS = [False, True] if os.geteuid() == 0 else [True]


@pytest.fixture(params=KINDS, ids=lambda rootless: "rootless" if rootless else "named")
def plan(request: pytest.FixtureRequest, short_path: Path) -> Iterator[ChassisPlan]:
    yield ChassisPlan(short_path, 2, ("qemu-aarch64",), capture=True, rootless=request.param)
    take_down(short_path)


def recorded(plan: ChassisPlan) -> ChassisRecord:
    record = load_record(plan.paths.record)
    assert record is not None
    return record


def assert_nothing_left(plan: ChassisPlan, record: ChassisRecord, machines: list[ProcessIdentity]) -> None:
    assert not record.daemon.alive()
    assert not any(machine.alive() for machine in machines)
    assert record.network.name is None or not (NAMESPACES / record.network.name).exists()
    kept = {"daemon.log", "slot-1", "slot-2"}
    assert {path.name for path in plan.directory.iterdir()} == kept
    assert not [path for path in plan.directory.rglob("*.sock")]


def links_inside(enter: tuple[str, ...]) -> set[str]:
    table = subprocess.run([*enter, "cat", "/proc/net/dev"], capture_output=True, text=True, check=True)
    return {line.split(":")[0].strip() for line in table.stdout.splitlines()[2:]}


@pytest.mark.qemu
async def test_chassis_comes_up_its_cards_boot_and_nothing_is_left(plan: ChassisPlan) -> None:
    client = await asyncio.to_thread(bring_up, plan)
    for slot in (ONE, TWO):
        await client.power(slot, PowerAction.ON, netboot=slot == TWO)
    record = recorded(plan)
    machines = [slot.machine for slot in record.slots if slot.machine is not None]
    assert len(machines) == 2
    banners = await asyncio.gather(
        *(client.wait_for_line(slot, "U-Boot 20", within=PATIENCE) for slot in (ONE, TWO))
    )
    assert all(line.text.startswith("U-Boot") for line in banners)

    # At rest the lever lets the loader look into its flash first; pulled, it asks the network at once.
    await client.wait_for_line(ONE, "VirtIO Block Device", within=PATIENCE)
    await client.wait_for_line(TWO, "BOOTP broadcast 2", within=PATIENCE)
    said = [line.text for line in await client.console_tail(TWO, 100)]
    assert not any("VirtIO Block Device" in text for text in said)
    broadcast_from_card = b"\xff" * 6 + bytes.fromhex("525400f70102") + b"\x08\x00"
    assert broadcast_from_card in plan.paths.slot(TWO).last_capture.read_bytes()
    assert links_inside((await client.status()).enter) == {"lo", "br0", "slot1", "slot2"}

    assert (await client.power(ONE, PowerAction.OFF)).power is PowerState.OFF
    assert not machines[0].alive()
    assert machines[1].alive()
    assert await asyncio.to_thread(take_down, plan.directory) is TakenDown.ENDED
    assert_nothing_left(plan, record, machines)


@pytest.mark.qemu
async def test_daemon_that_died_is_cleaned_up_after_by_down_and_by_up(plan: ChassisPlan) -> None:
    client = await asyncio.to_thread(bring_up, plan)
    with pytest.raises(UsageError, match="at work here already"):
        await asyncio.to_thread(bring_up, plan)
    await client.power(ONE, PowerAction.ON)
    first = recorded(plan)
    first.daemon.signal(signal.SIGKILL)
    assert first.daemon.wait_ended(PATIENCE)
    with pytest.raises(PeerError, match="nothing answers here"):
        await client.slots()
    machine = first.slots[0].machine
    assert machine is not None
    assert machine.alive(), "cards outlive the daemon"

    client = await asyncio.to_thread(bring_up, plan)
    assert not machine.alive()
    await client.power(TWO, PowerAction.ON)
    second = recorded(plan)
    second.daemon.signal(signal.SIGKILL)
    assert second.daemon.wait_ended(PATIENCE)
    assert await asyncio.to_thread(take_down, plan.directory) is TakenDown.CLEANED
    left = [slot.machine for slot in second.slots if slot.machine is not None]
    assert_nothing_left(plan, second, left)
    assert first.network.name is None or not (NAMESPACES / first.network.name).exists()
    assert take_down(plan.directory) is TakenDown.NOTHING


async def test_unknown_board_is_refused_and_nothing_stays(short_path: Path) -> None:
    plan = ChassisPlan(short_path, 1, ("no-such-board",), rootless=os.geteuid() != 0)
    with pytest.raises(UsageError, match="no such board"):
        await asyncio.to_thread(bring_up, plan)
    assert [path.name for path in short_path.iterdir()] == ["daemon.log"]


@pytest.mark.parametrize(
    ("binary", "complaint"), [("false", "QEMU did not start"), ("no-such-qemu", "QEMU is not installed")]
)
async def test_qemu_that_does_not_start_is_told_of(short_path: Path, binary: str, complaint: str) -> None:
    board = replace(QemuBoard("qemu-aarch64", 1 << 20), binary=binary)
    paths = ChassisPaths(short_path)
    paths.slot(ONE).directory.mkdir()
    console = ConsoleLog(paths.slot(ONE).console_log)
    card = Card("card-1", "qemu-aarch64", mac_of(ONE))
    with pytest.raises(DeviceError, match=complaint):
        machine = await QemuMachines(board, paths.slot, capture=False).spawn(ONE, card, 1, False, console)
        await machine.release()
    console.close()


def test_flash_is_made_once_and_kept(tmp_path: Path) -> None:
    flash = tmp_path / "flash.img"
    make_flash(flash, 1 << 20)
    assert flash.stat().st_size == 1 << 20
    assert flash.stat().st_blocks == 0
    with flash.open("r+b") as file:
        file.write(b"burned")
    make_flash(flash, 1 << 20)
    assert flash.read_bytes().startswith(b"burned")
    with pytest.raises(UsageError, match=r"another size.*--pristine"):
        make_flash(flash, 2 << 20)
