"""`fwmgr power on|off|cycle SLOT`: the power of one slot, of a virtual chassis or a real rack.

Knows the words and how the answer is printed. The hands do it.
"""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Annotated

import typer

from firmware_mgr.cli.chassis import DEFAULT_DIRECTORY, DIRECTORY_VARIABLE, client_for
from firmware_mgr.model.ids import SlotId
from firmware_mgr.rack.hands import PowerAction, PowerState, SlotRegister

app = typer.Typer(help="The power of a slot.", no_args_is_help=True)

Slot = Annotated[str, typer.Argument(metavar="SLOT", help="A slot: 3, or 2/3 on shelf 2.")]
Directory = Annotated[Path, typer.Option("--dir", envvar=DIRECTORY_VARIABLE, help="The chassis directory.")]
Netboot = Annotated[bool, typer.Option("--netboot", help="Pull the lever that forces netboot.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command()
def on(
    slot: Slot, directory: Directory = DEFAULT_DIRECTORY, netboot: Netboot = False, as_json: AsJson = False
) -> None:
    """Give the slot power."""
    _power(slot, PowerAction.ON, directory, netboot=netboot, as_json=as_json)


@app.command()
def off(slot: Slot, directory: Directory = DEFAULT_DIRECTORY, as_json: AsJson = False) -> None:
    """Cut the slot's power, as if the card were pulled."""
    _power(slot, PowerAction.OFF, directory, netboot=False, as_json=as_json)


@app.command()
def cycle(
    slot: Slot, directory: Directory = DEFAULT_DIRECTORY, netboot: Netboot = False, as_json: AsJson = False
) -> None:
    """Cut the slot's power and give it again."""
    _power(slot, PowerAction.CYCLE, directory, netboot=netboot, as_json=as_json)


def _power(text: str, action: PowerAction, directory: Path, *, netboot: bool, as_json: bool) -> None:
    register = asyncio.run(client_for(directory).power(SlotId.parse(text), action, netboot=netboot))
    if as_json:
        typer.echo(json.dumps(register.document()))
        return
    typer.echo(power_line(register))


def power_line(register: SlotRegister) -> str:
    """The slot's power, for people. The lever's position is of no interest while there is none."""
    lever = ", netboot lever pulled" if register.netboot_strap and register.power is PowerState.ON else ""
    return f"slot {register.slot}: power {register.power.value}{lever}"
