"""`fwmgr flash show FILE`: what a card's flash holds, read from an image file or a block device. Reads only.

Knows how the dump is shown; the formats are described by the flash room.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from firmware_mgr.cli.screen import screen
from firmware_mgr.flash import gpt
from firmware_mgr.flash.device import FileDevice
from firmware_mgr.flash.dump import describe_control, describe_store, describe_table
from firmware_mgr.model.errors import DeviceError

app = typer.Typer(help="Look into a card's flash.", no_args_is_help=True)


@app.command()
def show(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="An image file or a block device.")],
    *,
    check: Annotated[bool, typer.Option("--check", help="Read back and hash every blob.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Partition table, control record, store and state."""
    with FileDevice(file) as device:
        document = _describe(device, check=check)
    if as_json:
        typer.echo(json.dumps(document, indent=1))
        return
    for name, part in document.items():
        table = Table(title=name, title_justify="left", show_header=False)
        for key, value in _rows(part):
            table.add_row(key, value)
        screen().print(table)


def _describe(device: FileDevice, *, check: bool) -> dict[str, Any]:
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
