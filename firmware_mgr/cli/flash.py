"""`fwmgr flash show FILE`: what a card's flash holds, from an image file or a device. Reads only.

Knows how the dump is shown; the formats are described by the flash room.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from firmware_mgr.cli.screen import screen
from firmware_mgr.flash import gpt
from firmware_mgr.flash.device import FileDevice, FlashDevice, bad_offsets
from firmware_mgr.flash.dump import describe_control, describe_store, describe_table
from firmware_mgr.flash.erase_block_device import EraseBlockDevice
from firmware_mgr.flash.mtd import MtdChip
from firmware_mgr.flash.mtd_areas import parse_areas
from firmware_mgr.flash.skip_bad import ControlBlocks
from firmware_mgr.model.errors import DeviceError

#: The one name by which `--areas` knows the device.
_ALL = "flash"

app = typer.Typer(help="Look into a card's flash.", no_args_is_help=True)


@app.command()
def show(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="An image file, a block device, or an MTD device.")
    ],
    *,
    areas: Annotated[
        str, typer.Option("--areas", help="Areas of flash without a partition table, as mtdparts=flash:…")
    ] = "",
    erase_block: Annotated[
        int, typer.Option("--erase-block", help="Of an image of MTD flash: bytes of its erase blocks.")
    ] = 0,
    check: Annotated[bool, typer.Option("--check", help="Read back and hash every blob.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Partition table, control record, store and state."""
    with _opened(file, erase_block) as device:
        if areas or erase_block or bad_offsets(device) is not None:
            document = _describe_areas(device, areas or f"mtdparts={_ALL}:-(store)", check=check)
        else:
            document = _describe(device, check=check)
    if as_json:
        typer.echo(json.dumps(document, indent=1))
        return
    for name, part in document.items():
        table = Table(title=name, title_justify="left", show_header=False)
        for key, value in _rows(part):
            table.add_row(key, value)
        screen().print(table)


@contextmanager
def _opened(file: Path, erase_block: int) -> Iterator[FlashDevice]:
    if file.is_char_device():
        with MtdChip(file) as chip:
            yield EraseBlockDevice(chip, chip.path)
    else:
        with FileDevice(file, block_size=erase_block or None) as device:
            yield device


def _describe_areas(device: FlashDevice, text: str, *, check: bool) -> dict[str, Any]:
    """Flash without a table: its areas by name, those that are ours."""
    document: dict[str, Any] = {}
    for area in parse_areas(text, _ALL, device.size):
        window = area.window(device)
        if area.name == gpt.CONTROL:
            document[area.name] = describe_control(ControlBlocks(window))
        elif area.name in (gpt.STORE, gpt.STATE):
            document[area.name] = describe_store(window, check=check)
    return document


def _describe(device: FlashDevice, *, check: bool) -> dict[str, Any]:
    document: dict[str, Any] = {"table": describe_table(device)}
    try:
        partitions = gpt.read_table(device)
    except DeviceError:
        return document
    document["control"] = describe_control(gpt.find(partitions, gpt.CONTROL).window(device))
    for name in (gpt.STORE, gpt.STATE):
        document[name] = describe_store(gpt.find(partitions, name).window(device), check=check)
    return document


def _rows(value: Any, prefix: str = "") -> list[tuple[str, str]]:
    """Nested values as lines: the path of keys, and the value."""
    if isinstance(value, dict):
        return [
            row
            for key, inner in value.items()
            for row in _rows(inner, f"{prefix}.{key}" if prefix else str(key))
        ]
    if isinstance(value, list) and any(isinstance(item, dict | list) for item in value):
        return [row for n, inner in enumerate(value) for row in _rows(inner, f"{prefix}[{n}]")]
    return [(prefix, ", ".join(map(str, value)) if isinstance(value, list) else str(value))]
