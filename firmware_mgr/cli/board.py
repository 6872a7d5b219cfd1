"""`fwmgr board`, `fwmgr prefer`: what is said of all cards of a board, and which versions are preferred.

Knows words and tables. Asks the master for everything.
"""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer
from rich.table import Table

from firmware_mgr.cli import card_class
from firmware_mgr.cli.card_class import Clear, Features, Images, Order, Packages, SaveImage
from firmware_mgr.cli.check_words import tell_change
from firmware_mgr.cli.master import DEFAULT_DIRECTORY, AsJson, Directory, master_client
from firmware_mgr.cli.screen import plain, screen

app = typer.Typer(
    help="Boards: what their cards run when neither they nor their class say so.", no_args_is_help=True
)

Board = Annotated[str, typer.Argument(metavar="BOARD", help="A board's name.")]


@app.command("list")
def list_boards(directory: Directory = DEFAULT_DIRECTORY, as_json: AsJson = False) -> None:
    """All boards that the master knows."""
    answer = master_client(directory).get("/v1/boards")
    if as_json:
        typer.echo(json.dumps(answer, indent=1))
        return
    table = Table("board", "cards", "class", "packages", "boot image", "features")
    for one in answer:
        cards, texts = ", ".join(one["cards"]), (card_class.packages_text(one), _image(one))
        table.add_row(one["board"], cards, one["class"] or "", *texts, card_class.features_text(one))
    screen().print(table)


@app.command()
def show(board: Board, directory: Directory = DEFAULT_DIRECTORY, as_json: AsJson = False) -> None:
    """One board."""
    _show(master_client(directory).get(f"/v1/boards/{board}"), as_json)


@app.command("set")
def change(
    board: Board,
    *,
    package: Packages = None,
    image: Images = None,
    feature: Features = None,
    order: Order = None,
    save_image: SaveImage = None,
    name: Annotated[
        str | None, typer.Option("--class", help='The class of its cards that are in none; "" takes it away.')
    ] = None,
    location: Annotated[str | None, typer.Option(help="Where they are, for people.")] = None,
    clear: Clear = None,
    directory: Directory = DEFAULT_DIRECTORY,
    as_json: AsJson = False,
) -> None:
    """Change what is said of a board. Its cards are brought there when they next boot."""
    body = card_class.wishes(package, image, order, save_image, feature)
    also = {"class": name, "location": location, "clear": clear}
    _show(master_client(directory).post(f"/v1/boards/{board}", {**body, **also}), as_json)


@app.command()
def clear(board: Board, directory: Directory = DEFAULT_DIRECTORY, as_json: AsJson = False) -> None:
    """Say nothing of a board any more."""
    _show(master_client(directory).post(f"/v1/boards/{board}/clear"), as_json)


def _image(one: dict[str, Any]) -> str:
    return plain(one["images"].get(one["board"], "preferred or newest"))


def _show(one: dict[str, Any], as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(one, indent=1))
        return
    for warning in one["warnings"]:
        typer.echo(f"warning: {warning}", err=True)
    tell_change(one.get("check"))  # of a board that is only shown nothing has changed
    table = Table(title=f"board {one['board']}", show_header=False)
    table.add_row("cards", ", ".join(one["cards"]) or "none")
    table.add_row("class of those in none", one["class"] or "none")
    table.add_row("location", plain(one["location"]) or "not said")
    table.add_row("packages", card_class.packages_text(one))
    table.add_row("boot image", _image(one))
    table.add_row("features", card_class.features_text(one))
    table.add_row("pristine order", card_class.order_text(one))
    screen().print(table)


def prefer(
    versions: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME=VERSION]…", help="Packages and their versions.")
    ] = None,
    *,
    image: Annotated[
        list[str] | None, typer.Option("--image", help="Boot image, BOARD=VERSION; may be repeated.")
    ] = None,
    clear: Annotated[
        list[str] | None, typer.Option("--clear", help="A package or board: the newest again.")
    ] = None,
    directory: Directory = DEFAULT_DIRECTORY,
    as_json: AsJson = False,
) -> None:
    """Say which version is meant where none is named; without arguments, show them."""
    client = master_client(directory)
    if versions or image or clear:
        answer = client.post("/v1/preferred", {"packages": versions, "images": image, "clear": clear})
    else:
        answer = client.get("/v1/preferred")
    if as_json:
        typer.echo(json.dumps(answer, indent=1))
        return
    table = Table("", "name", "preferred version")
    for kind, key in (("package", "packages"), ("boot image", "images")):
        for name, version in sorted(answer[key].items()):
            table.add_row(kind, name, version)
    if table.row_count:
        screen().print(table)
    else:
        typer.echo("nothing is preferred: where no version is named, what was added last is meant")
