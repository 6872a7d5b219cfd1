"""What a person reads of a slot's power, of cards that are machines and of cards that are not."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from firmware_mgr.cli.chassis import slot_table
from firmware_mgr.cli.power import power_line
from firmware_mgr.model.ids import MacAddress, SlotId
from firmware_mgr.rack.hands import PowerState, SlotRegister


def register(power: PowerState, pid: int | None) -> SlotRegister:
    return SlotRegister(SlotId(1), MacAddress("52:54:00:f7:01:01"), "b", True, power, 1, True, pid)


@pytest.mark.parametrize(
    ("power", "pid", "line", "cell"),
    [
        (PowerState.ON, 4711, "slot 1: power on, netboot lever pulled", "on, pid 4711"),
        (PowerState.ON, None, "slot 1: power on, netboot lever pulled", "on"),
        (PowerState.OFF, None, "slot 1: power off", "off"),
    ],
)
def test_power_is_told_by_the_register_and_a_pid_only_where_there_is_one(
    power: PowerState, pid: int | None, line: str, cell: str
) -> None:
    assert power_line(register(power, pid)) == line
    out = io.StringIO()
    Console(file=out, width=200).print(slot_table([register(power, pid)]))
    assert cell in [each.strip() for each in out.getvalue().splitlines()[3].split("│")]
