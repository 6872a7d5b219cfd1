"""Power and slots of a chassis, on in-process cards."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from firmware_mgr.lab.cards import Cards
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
        plan = ChassisPlan(directory, 2, ("qemu-aarch64",))
        self.cards = Cards(plan.paths)
        for slot in plan.slots:
            self.cards.first(slot, plan.board_of(slot), pristine=True)
        self.chassis = VirtualChassis(
            plan,
            cards=self.cards,
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


async def test_a_card_that_is_taken_out_is_cut_and_leaves_an_empty_slot(bench: Bench) -> None:
    await bench.power(PowerAction.ON)
    card = await bench.chassis.remove(ONE)
    register = bench.chassis.slots()[0]
    assert (card.name, register.present, register.power) == ("card-1", False, PowerState.OFF)
    assert [card.name for card in bench.chassis.drawer()] == ["card-1"]
    with pytest.raises(UsageError, match=r"slot 1: the slot is empty"):
        await bench.power(PowerAction.ON)


async def test_the_very_card_goes_into_another_slot_with_its_mac_address(bench: Bench) -> None:
    await bench.chassis.remove(ONE)
    await bench.chassis.remove(TWO)
    register = await bench.chassis.insert(TWO, name="card-1")
    assert (str(register.mac), register.present, bench.chassis.drawer()[0].name) == (
        "52:54:00:f7:01:01",
        True,
        "card-2",
    )


async def test_a_new_card_of_another_board_has_an_address_of_its_own(bench: Bench) -> None:
    await bench.chassis.remove(ONE)
    register = await bench.chassis.insert(ONE, board="qemu-armv7")
    assert (register.board, str(register.mac)) == ("qemu-armv7", "52:54:00:f8:00:01")
    assert bench.machines.flashes == ["new-1"]


async def test_a_card_of_an_unknown_board_goes_nowhere(bench: Bench) -> None:
    await bench.chassis.remove(ONE)
    with pytest.raises(UsageError, match="no such board"):
        await bench.chassis.insert(ONE, board="nosuch")
    assert not bench.chassis.slots()[0].present


async def test_a_slot_takes_one_card(bench: Bench) -> None:
    with pytest.raises(UsageError, match=r"a card is in the slot.*chassis remove 1"):
        await bench.chassis.insert(ONE, board="qemu-armv7")
    with pytest.raises(UsageError, match="which card"):
        await bench.chassis.insert(ONE)


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
