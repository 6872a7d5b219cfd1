"""`fwmgr chassis`: a virtual chassis up, down, its status, and commands on its backplane.

Knows the options and how results are printed. Asks the chassis daemon for everything else.
"""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from firmware_mgr.cli.moments import moment
from firmware_mgr.lab.cards_api import CardsClient
from firmware_mgr.lab.launch import TakenDown, bring_up, take_down
from firmware_mgr.lab.plan import ChassisPaths, ChassisPlan
from firmware_mgr.model.errors import DeviceError, UsageError
from firmware_mgr.model.ids import SlotId
from firmware_mgr.rack.client import HandsClient
from firmware_mgr.rack.hands import HandsStatus, SlotRegister

app = typer.Typer(help="A virtual chassis of QEMU or in-process cards.", no_args_is_help=True)

#: Where a chassis lives when neither --dir nor this variable says so.
DIRECTORY_VARIABLE = "FWMGR_CHASSIS"
DEFAULT_DIRECTORY = Path("var/chassis")
#: The master gives each shelf 256 addresses.
ONE_SHELF_ADDRESS, SHELVES_ADDRESS = "10.77.0.1/24", "10.77.0.1/16"
DEFAULT_ADDRESSES = f"{ONE_SHELF_ADDRESS}, and {SHELVES_ADDRESS} with several shelves"
DEFAULT_BOARDS = ("qemu-aarch64",)
SIM_BOARDS = ("sim-aarch64", "sim-armv7", "sim-x86-64")

Directory = Annotated[
    Path, typer.Option("--dir", envvar=DIRECTORY_VARIABLE, help="The chassis directory.", show_default=True)
]


Slot = Annotated[str, typer.Argument(metavar="SLOT", help="A slot: 3, or 2/3 on shelf 2.")]


@app.command()
def up(
    *,
    directory: Directory = DEFAULT_DIRECTORY,
    cards: Annotated[int, typer.Option(help="How many slots a shelf has, each with a card.")] = 1,
    board: Annotated[
        list[str] | None,
        typer.Option(help="A board, or a board file; several are dealt out to the slots in turn."),
    ] = None,
    shelf: Annotated[int, typer.Option(help="The first shelf's number.")] = 1,
    shelves: Annotated[int, typer.Option(help="How many shelves.")] = 1,
    backplane: Annotated[
        bool, typer.Option("--backplane/--no-backplane", help="Whether cards can read their slots.")
    ] = True,
    address: Annotated[
        str, typer.Option(help="The master's address on the backplane.", show_default=DEFAULT_ADDRESSES)
    ] = "",
    capture: Annotated[
        bool, typer.Option("--capture", help="Write each card's frames to pcap files.")
    ] = False,
    record_writes: Annotated[
        bool, typer.Option("--record-writes", help="Log every write to each card's flash.")
    ] = False,
    memory: Annotated[int | None, typer.Option(help="MiB for each card, instead of the board's.")] = None,
    clock: Annotated[
        list[str] | None,
        typer.Option(
            metavar="MOMENT",
            help="What the cards' clocks show when their power comes; several are dealt out in turn.",
            show_default="1970-01-01",
        ),
    ] = None,
    pristine: Annotated[bool, typer.Option("--pristine", help="Blank every card's flash.")] = False,
    sim: Annotated[
        bool, typer.Option("--sim", help="In-process cards on simulated boards, without QEMU.")
    ] = False,
    rootless: Annotated[bool, typer.Option("--rootless", help="Use a user namespace also as root.")] = False,
) -> None:
    """Bring a chassis up. The cards have no power yet."""
    boards = tuple(_whole(name) for name in board or (SIM_BOARDS if sim else DEFAULT_BOARDS))
    plan = ChassisPlan(
        directory=directory.absolute(),
        cards=cards,
        boards=boards,
        shelf=shelf,
        shelves=shelves,
        backplane=backplane,
        address=address or (ONE_SHELF_ADDRESS if shelf == shelves == 1 else SHELVES_ADDRESS),
        capture=capture,
        memory_mib=memory,
        pristine=pristine,
        rootless=rootless or os.geteuid() != 0,
        sim=sim,
        clocks=tuple(map(moment, clock or ["@0"])),
        record_writes=record_writes,
    )
    status = asyncio.run(bring_up(plan).status())
    shape = f"{cards} slots" if shelves == 1 else f"{shelves} shelves of {cards} slots"
    kinds = ", ".join(dict.fromkeys(plan.board_of(slot) for slot in plan.slots))
    typer.echo(
        f"chassis up in {status.directory}: {shape} with {kinds}, network {status.network}, pid {status.pid}"
    )


@app.command()
def insert(
    slot: Slot,
    *,
    card: Annotated[str | None, typer.Argument(help="A card in the drawer, by name.")] = None,
    board: Annotated[str | None, typer.Option(help="A new card of this board instead.")] = None,
    mac: Annotated[
        str | None, typer.Option(help="The card's MAC address, when it is not the usual one.")
    ] = None,
    directory: Directory = DEFAULT_DIRECTORY,
) -> None:
    """Put a card into an empty slot: one that was taken out, or a new one with empty flash."""
    client = CardsClient(ChassisPaths(directory.absolute()).api_socket)
    register = asyncio.run(
        client.insert(SlotId.parse(slot), name=card, board=board and _whole(board), mac=mac)
    )
    typer.echo(f"slot {register.slot}: {register.board}, {register.mac}, no power yet")


@app.command()
def remove(slot: Slot, directory: Directory = DEFAULT_DIRECTORY) -> None:
    """Pull the card out of a slot, whatever it is doing, and keep it in the drawer."""
    client = CardsClient(ChassisPaths(directory.absolute()).api_socket)
    card = asyncio.run(client.remove(SlotId.parse(slot)))
    typer.echo(f"slot {slot}: empty; {card['name']} ({card['board']}, {card['mac']}) lies in the drawer")
    typer.echo(f"  next  fwmgr chassis insert SLOT {card['name']}")


@app.command()
def down(directory: Directory = DEFAULT_DIRECTORY) -> None:
    """End the chassis: machines, network, daemon. Flash and logs stay."""
    found = take_down(directory.absolute())
    where = directory.absolute()
    typer.echo(
        f"{where}: {found.value}" if found is TakenDown.NOTHING else f"chassis down in {where}: {found.value}"
    )


@app.command()
def status(
    directory: Directory = DEFAULT_DIRECTORY,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show the slots and where the network is."""
    client = CardsClient(ChassisPaths(directory.absolute()).api_socket)
    answer, registers, drawer = asyncio.run(_ask(client))
    if as_json:
        slots = [register.document() for register in registers]
        typer.echo(json.dumps({**answer.document(), "slots": slots, "drawer": drawer}, indent=1))
        return
    typer.echo(f"{answer.kind} in {answer.directory}, pid {answer.pid}")
    typer.echo(f"network {answer.network}, master's address {answer.address}")
    Console().print(slot_table(registers))
    for card in drawer:
        typer.echo(f"in the drawer: {card['name']}, {card['board']}, {card['mac']}")


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def enter(
    command: Annotated[list[str], typer.Argument(help="The command, after --.")],
    directory: Directory = DEFAULT_DIRECTORY,
) -> None:
    """Run a command on the chassis network, in this terminal."""
    prefix = asyncio.run(client_for(directory).status()).enter
    if not prefix:
        raise UsageError("these hands have no network of their own", where=str(directory))
    try:
        os.execvp(prefix[0], [*prefix, *command])
    except FileNotFoundError as e:
        raise DeviceError("not installed", where=prefix[0], hint="apt install util-linux") from e


def client_for(directory: Path) -> HandsClient:
    """The client of the chassis in `directory`."""
    return HandsClient(ChassisPaths(directory.absolute()).api_socket)


def _whole(board: str) -> str:
    """A board file with its whole path: the daemon works in a directory of its own."""
    return str(Path(board).absolute()) if board.endswith(".toml") else board


async def _ask(client: CardsClient) -> tuple[HandsStatus, list[SlotRegister], list[dict[str, Any]]]:
    return await client.status(), await client.slots(), await client.drawer()


def slot_table(registers: list[SlotRegister]) -> Table:
    """What is in the slots, for people. A card within the daemon has no pid of its own."""
    table = Table("slot", "card", "MAC address", "power", "times on", "netboot lever")
    table.columns[2].min_width = len("52:54:00:f7:01:01")
    for register in registers:
        power = register.power.value if register.qemu_pid is None else f"on, pid {register.qemu_pid}"
        lever = "pulled" if register.netboot_strap else ""
        count = str(register.power_on_count)
        card = register.board if register.present else "empty"
        table.add_row(str(register.slot), card, str(register.mac), power, count, lever)
    return table
