"""`fwmgr image add FILE`, `fwmgr sets`: composite images that come, and the sets that cards should run.

Knows tables, words and a progress bar. The master reads the file: paths are of its machine.
"""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import typer
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn
from rich.table import Table

from firmware_mgr.cli.check_words import tell_change
from firmware_mgr.cli.master import DEFAULT_DIRECTORY, AsJson, Directory, master_client
from firmware_mgr.cli.screen import plain, screen
from firmware_mgr.model.errors import FwmgrError

#: Between two looks at how far the master has come, in seconds.
LOOK_SECONDS = 0.3


def add_composite(file: Path, directory: Path, as_json: bool) -> None:
    """A set or composite image, with a bar while the master reads it."""
    with _Watching(directory, quiet=as_json):
        answer = master_client(directory).post("/v1/composites", {"path": str(file)}, patience=None)
    if as_json:
        typer.echo(json.dumps(answer, indent=1))
        return
    for warning in answer["warnings"]:
        typer.echo(f"warning: {warning}", err=True)
    one = answer["composite"]
    again = ", which came before" if answer["known"] else ""
    console = screen()
    console.print(
        f"{one['kind']} {one['name']} {one['version']}{again}: {one['length'] / 1e6:.1f} MB", style="bold"
    )
    console.print(_members(answer["members"]))
    for title, names in (("classes", answer["classes"]), ("boards", answer["boards"])):
        if names:
            console.print(f"{title} that say something new: {', '.join(names)}")
    if answer["slots"]:
        console.print(f"slots with something new to run: {', '.join(answer['slots'])}")
    for name, version in sorted(answer["preferred"].items()):
        console.print(f"preferred from now on: {name} {version}")
    if one["targets"]["packages"]:
        named = ", ".join(one["targets"]["packages"])
        console.print(
            f"packages that it is meant to update: {named} (noted; every card gets what it should run)"
        )
    tell_change(answer["check"])
    typer.echo("what each class and slot will run: fwmgr sets")
    at_once = f"fwmgr burn-all --cards composite:{one['name']}={one['version']}"
    if answer["slots"]:
        typer.echo(f"each of these is brought there when it next boots; at once with: {at_once}")
    else:
        typer.echo(f"no card was touched; to burn those that it is for: {at_once}")


def _members(members: list[dict[str, Any]]) -> Table:
    table = Table("member", "name", "version", "MB", "digest", "")
    for one in members:
        news = one["news"] + (f" as {one['same_as']}" if one.get("same_as") else "")
        size = f"{one['length'] / 1e6:.1f}"
        table.add_row(one["kind"], one["name"], one["version"], size, one["digest"][:12], news)
    return table


class _Watching:
    """A bar on standard error while the master reads."""

    def __init__(self, directory: Path, *, quiet: bool) -> None:
        self._client = master_client(directory)
        self._over = threading.Event()
        columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn())
        self._progress = Progress(*columns, console=Console(stderr=True), disable=quiet, transient=True)
        self._task = self._progress.add_task("checking", total=None)
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> None:
        self._progress.start()
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        self._progress.stop()

    def _look(self) -> None:
        while not self._over.wait(LOOK_SECONDS):
            try:
                reading = self._client.get("/v1/composites/reading")
            except FwmgrError:
                continue
            if reading is not None:
                text = plain(reading["member"])
                self._progress.update(
                    self._task, description=text, completed=reading["done"], total=reading["total"]
                )


def composites_table(composites: list[dict[str, Any]], date: Any) -> Table:
    """What came, the newest last."""
    table = Table("composite", "version", "digest", "MB", "boot images", "packages", "added")
    for one in composites:
        images = ", ".join(f"{image['board']} {image['version']}" for image in one["images"])
        packages = ", ".join(f"{package['name']} {package['version']}" for package in one["packages"])
        size, digest = f"{one['length'] / 1e6:.1f}", one["digest"][:12]
        version = f"{one['version']} TEST" if one["role"] == "test" else one["version"]
        table.add_row(one["name"], version, digest, size, images, packages, date(one["added_at"]))
    return table


def sets(directory: Directory = DEFAULT_DIRECTORY, as_json: AsJson = False) -> None:
    """What each class and slot should run: boot image, packages in their order, features."""
    answer = master_client(directory).get("/v1/sets")
    if as_json:
        typer.echo(json.dumps(answer, indent=1))
        return
    table = Table("class", "board", "slots", "boot image", "packages (the first wins a file)", "features")
    for row in answer:
        slots = ", ".join(row["slots"]) or "no card yet"
        table.add_row(row["card_class"] or "", row["board"] or "not seen yet", slots, *_software(row))
    screen().print(table)


def _software(row: dict[str, Any]) -> tuple[str, str, str]:
    software = row["software"]
    if software is None:
        return "", plain(row["error"]) or "decided when a card is seen", ""
    packages = ", ".join(f"{one['name']} {one['version']}" for one in software["packages"]) or "none"
    features = software.get("features")
    asked = "those wanted" if features is None else ", ".join(features) or "none"
    return software["boot_image"]["version"], packages, asked
