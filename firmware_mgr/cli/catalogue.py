"""`fwmgr image` and `fwmgr package add|list|remove`: what the master's catalogue holds.

Knows tables and words. The master reads the files itself: paths are of its machine.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from firmware_mgr.cli.composite import add_composite, composites_table
from firmware_mgr.cli.master import DEFAULT_DIRECTORY, AsJson, Directory, master_client
from firmware_mgr.cli.screen import screen

#: What became of a package that did not simply come (docs/COMPOSITES.md).
_NEWS = {
    "there already": "it was there already",
    "built again": "the same was built again: the stored one stays",
    "same files": "its files are those of {same_as}: next to nothing will travel",
}


def add_image(
    folder: Annotated[
        Path,
        typer.Argument(
            metavar="DIR|FILE", help="A folder made by `fwmgr image build`, or a composite image or set."
        ),
    ],
    directory: Directory = DEFAULT_DIRECTORY,
    as_json: AsJson = False,
) -> None:
    """Add a boot image, or all of a composite image, to the master's catalogue."""
    if folder.is_file():
        add_composite(folder.absolute(), directory, as_json)
        return
    answer = master_client(directory).post("/v1/images", {"path": str(folder.absolute())})
    if as_json:
        typer.echo(json.dumps(answer, indent=1))
        return
    for warning in answer["warnings"]:
        typer.echo(f"warning: {warning}", err=True)
    size = answer["length"] / 1e6
    typer.echo(
        f"boot image {answer['version']} for {answer['board']}: {size:.1f} MB, {answer['digest'][:12]}"
    )


def list_images(directory: Directory = DEFAULT_DIRECTORY, as_json: AsJson = False) -> None:
    """The boot images of the catalogue, and the composite images that came."""
    client = master_client(directory)
    answer, composites = client.get("/v1/images"), client.get("/v1/composites")
    if as_json:
        typer.echo(json.dumps(answer, indent=1))
        return
    table = Table("board", "version", "digest", "MB", "root of trust", "added")
    for image in sorted(answer, key=lambda image: (image["board"], image["added_at"])):
        size = f"{image['length'] / 1e6:.1f}"
        root = "keyring" if image["root_version"] is None else f"version {image['root_version']}"
        root += ", takes TEST" if image["takes_test"] else ""
        digest, added = image["digest"][:12], _date(image["added_at"])
        table.add_row(image["board"], image["version"], digest, size, root, added)
    screen().print(table)
    if composites:
        screen().print(composites_table(composites, _date))


def add_package(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A signed package file.")],
    directory: Directory = DEFAULT_DIRECTORY,
    as_json: AsJson = False,
) -> None:
    """Add a package to the master's catalogue. It is checked whole; a bad one is refused."""
    answer = master_client(directory).post("/v1/packages", {"path": str(file.absolute())})
    if as_json:
        typer.echo(json.dumps(answer, indent=1))
        return
    for warning in answer["warnings"]:
        typer.echo(f"warning: {warning}", err=True)
    size = answer["length"] / 1e6
    cpus = ", ".join(answer["cpus"])
    version = f"{answer['version']}{_test(answer)}"
    typer.echo(f"package {answer['name']} {version} for {cpus}: {size:.1f} MB, {answer['digest'][:12]}")
    if (said := _NEWS.get(answer["news"])) is not None:
        typer.echo(said.format(**answer))


def list_packages(directory: Directory = DEFAULT_DIRECTORY, as_json: AsJson = False) -> None:
    """The packages of the catalogue."""
    answer = master_client(directory).get("/v1/packages")
    if as_json:
        typer.echo(json.dumps(answer, indent=1))
        return
    table = Table("package", "version", "CPUs", "digest", "MB", "modules", "processes", "added")
    for package in sorted(answer, key=lambda package: (package["name"], package["added_at"])):
        contents = package["contents"]
        table.add_row(
            package["name"],
            f"{package['version']}{_test(package)}",
            ", ".join(package["cpus"]),
            package["digest"][:12],
            f"{package['length'] / 1e6:.1f}",
            str(contents.get("modules", "")),
            ", ".join(contents.get("processes", [])),
            _date(package["added_at"]),
        )
    screen().print(table)
    for package in answer:
        for warning in package["warnings"]:
            screen().print(f"warning: {warning}")


def remove_image(
    board: Annotated[str, typer.Argument(metavar="BOARD", help="The board that it is for.")],
    version: Annotated[
        str, typer.Argument(metavar="VERSION", help="A version, or the digest's first digits.")
    ],
    directory: Directory = DEFAULT_DIRECTORY,
) -> None:
    """Remove a boot image from the catalogue; refused while somebody refers to it."""
    body = {"board": board, "version": version}
    gone = master_client(directory).post("/v1/images/remove", body)
    typer.echo(f"boot image {gone['version']} for {gone['board']} is gone")


def remove_package(
    package: Annotated[str, typer.Argument(metavar="NAME=VERSION", help="A package and its version.")],
    directory: Directory = DEFAULT_DIRECTORY,
) -> None:
    """Remove a version of a package from the catalogue; refused while somebody refers to it."""
    name, equals, version = package.partition("=")
    if not equals:
        raise typer.BadParameter("name the version too: NAME=VERSION")
    gone = master_client(directory).post("/v1/packages/remove", {"name": name, "version": version})
    typer.echo(f"package {gone['name']} {gone['version']} for {', '.join(gone['cpus'])} is gone")


def _test(package: dict[str, Any]) -> str:
    return " TEST" if package["contents"].get("role") == "test" else ""


def _date(moment: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(moment))
