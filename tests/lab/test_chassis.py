"""Power and slots of a chassis, on in-process cards."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from firmware_mgr.lab.daemon import POWER_STEPS, VirtualChassis
from firmware_mgr.lab.plan import ChassisPlan
from firmware_mgr.lab.process import ProcessIdentity
from firmware_mgr.lab.record import ChassisRecord, NetworkRecord
from firmware_mgr.model.errors import DeviceError, UsageError
from firmware_mgr.model.ids import SlotId
from firmware_mgr.rack.hands import PowerAction, PowerState
from tests.lab.twins import TwinMachines

ONE, TWO = SlotId(1), SlotId(2)


class Bench:
    """A chassis of two in-process cards, with all that it saved."""

    def __init__(self, directory: Path) -> None:
        self.machines = TwinMachines()
        self.saved: list[ChassisRecord] = []
        plan = ChassisPlan(directory, 2, "qemu-aarch64")
        for slot in plan.slots:
            plan.paths.slot(slot).directory.mkdir()
        self.chassis = VirtualChassis(
            plan,
            board="qemu-aarch64",
            network=NetworkRecord("fwmgr-0123abcd", "br0", ("slot1", "slot2"), plan.address),
            machines=self.machines,
            save=self.saved.append,
            daemon=ProcessIdentity(77, 1, "boot"),
        )

    async def power(self, action: PowerAction, *, netboot: bool = False) -> PowerState:
        return (await self.chassis.power(ONE, action, netboot=netboot)).power

    def console(self) -> list[str]:
        return [line.text for line in self.chassis.console_tail(ONE, 100)]


@pytest_asyncio.fixture
async def bench(short_path: Path) -> AsyncIterator[Bench]:
    bench = Bench(short_path)
    yield bench
    bench.chassis.request_shutdown()
    await bench.chassis.end()


def test_every_action_has_its_steps_in_every_state() -> None:
    assert set(POWER_STEPS) == {(state, action) for state in PowerState for action in PowerAction}


async def test_cards_have_no_power_at_first(bench: Bench) -> None:
    first, second = bench.chassis.slots()
    assert (first.slot, str(first.mac), first.power) == (ONE, "52:54:00:f7:01:01", PowerState.OFF)
    assert (second.slot, second.power_on_count, second.qemu_pid) == (TWO, 0, None)


async def test_power_on_spawns_records_and_then_releases(bench: Bench) -> None:
    assert await bench.power(PowerAction.ON) is PowerState.ON
    assert bench.machines.spawned == [(ONE, 1, False)]
    assert bench.machines.machines[ONE].released
    assert bench.saved[0].slots[0].machine == bench.machines.machines[ONE].identity
    assert bench.console() == ["[fwmgr] power on 1"]


async def test_power_on_twice_is_power_on_once(bench: Bench) -> None:
    await bench.power(PowerAction.ON)
    assert await bench.power(PowerAction.ON) is PowerState.ON
    assert len(bench.machines.spawned) == 1


async def test_power_off_is_a_cut(bench: Bench) -> None:
    await bench.power(PowerAction.ON)
    assert await bench.power(PowerAction.OFF) is PowerState.OFF
    assert await bench.power(PowerAction.OFF) is PowerState.OFF
    assert bench.console()[-1] == "[fwmgr] power off: power cut"
    assert bench.saved[-1].slots[0].machine is None


async def test_cycle_gives_power_again_and_counts(bench: Bench) -> None:
    await bench.power(PowerAction.CYCLE)
    await bench.power(PowerAction.CYCLE, netboot=True)
    assert bench.machines.spawned == [(ONE, 1, False), (ONE, 2, True)]
    assert bench.chassis.slots()[0].power_on_count == 2
    assert bench.saved[-1].slots[0].power_on_count == 2


async def test_netboot_lever_is_pulled_for_one_power_on(bench: Bench) -> None:
    await bench.power(PowerAction.ON, netboot=True)
    assert bench.chassis.slots()[0].netboot_strap
    await bench.power(PowerAction.CYCLE)
    assert not bench.chassis.slots()[0].netboot_strap


async def test_lever_cannot_be_pulled_while_the_card_runs(bench: Bench) -> None:
    await bench.power(PowerAction.ON)
    with pytest.raises(UsageError, match=r"slot 1: .*read at power-on only.*use cycle"):
        await bench.power(PowerAction.ON, netboot=True)


async def test_lever_makes_no_sense_with_off(bench: Bench) -> None:
    with pytest.raises(UsageError, match="at power-on only"):
        await bench.power(PowerAction.OFF, netboot=True)


async def test_card_that_switches_itself_off_is_off(bench: Bench) -> None:
    await bench.power(PowerAction.ON)
    bench.machines.machines[ONE].switch_off()
    line = await bench.chassis.wait_for_line(ONE, "power off", after=0, within=10)
    assert line.text == "[fwmgr] power off: the card switched itself off"
    assert bench.chassis.slots()[0].power is PowerState.OFF
    assert await bench.power(PowerAction.ON) is PowerState.ON


async def test_machine_that_does_not_start_leaves_the_slot_without_power(bench: Bench) -> None:
    bench.machines.refuses = True
    with pytest.raises(DeviceError, match="refuses to start"):
        await bench.power(PowerAction.ON)
    assert bench.chassis.slots()[0].power is PowerState.OFF
    assert bench.saved[-1].slots[0].machine is None


async def test_unknown_slot_is_refused_with_the_known_ones(bench: Bench) -> None:
    with pytest.raises(UsageError, match="expected one of 1, 2, found 9"):
        await bench.chassis.power(SlotId(9), PowerAction.ON, netboot=False)


async def test_going_down_lets_machines_quit_and_starts_no_more(short_path: Path) -> None:
    bench = Bench(short_path)
    await bench.power(PowerAction.ON)
    bench.chassis.request_shutdown()
    await bench.chassis.wait_shutdown_requested()
    await bench.chassis.end()
    assert bench.saved[-1].slots[0].machine is None
    with pytest.raises(UsageError, match="going down"):
        await bench.power(PowerAction.ON)
    assert "[fwmgr] power off: quit" in (short_path / "slot-1" / "console.log").read_text()


async def test_status_says_how_to_enter_the_network(bench: Bench) -> None:
    status = bench.chassis.status()
    assert status.enter == ("nsenter", "-t", "77", "-n", "--")
    assert (status.network, status.address) == ("fwmgr-0123abcd", "10.77.0.1/24")
