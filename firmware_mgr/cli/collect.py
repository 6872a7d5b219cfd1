"""`fwmgr package collect`: versions that nobody refers to leave the catalogue. Knows the table."""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer
from rich.table import Table

from firmware_mgr.cli.master import DEFAULT_DIRECTORY, AsJson, Directory, master_client
from firmware_mgr.cli.screen import plain, screen


def collect(
    *,
    keep: Annotated[int, typer.Option(help="Versions of each name that stay in any case.", min=1)] = 2,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would go.")] = False,
    directory: Directory = DEFAULT_DIRECTORY,
    as_json: AsJson = False,
) -> None:
    """Remove packages and boot images that no card, set or class refers to, but the newest of each name."""
    answer = master_client(directory).post("/v1/packages/collect", {"keep": keep, "dry_run": dry_run})
    if as_json:
        typer.echo(json.dumps(answer, indent=1))
        return
    if not answer["images"] and not answer["packages"]:
        typer.echo(f"nothing to remove: the newest {keep} of each name stay, and what is referred to")
        return
    screen().print(collect_table(answer))
    typer.echo(f"{answer['freed'] / 1e6:.1f} MB {'would be' if dry_run else 'are'} freed")


def collect_table(answer: dict[str, Any]) -> Table:
    table = Table("what", "name", "version", "for", "digest", "MB")
    for image in answer["images"]:
        table.add_row("boot image", "", image["version"], image["board"], *_size(image))
    for package in answer["packages"]:
        cpus = ", ".join(package["cpus"])
        table.add_row("package", plain(package["name"]), package["version"], cpus, *_size(package))
    return table


def _size(one: dict[str, Any]) -> tuple[str, str]:
    return one["digest"][:12], f"{one['length'] / 1e6:.1f}"
