"""`fwmgr class`: groups of cards, what their cards should run, and who is in them.

Knows words and tables. Asks the master for everything.
"""

from __future__ import annotations

import json
from typing import Annotated, Any

import typer
from rich.table import Table

from firmware_mgr.cli.check_words import tell_change
from firmware_mgr.cli.master import DEFAULT_DIRECTORY, AsJson, Directory, master_client
from firmware_mgr.cli.screen import plain, screen
from firmware_mgr.model.selection import check_class_name

app = typer.Typer(help="Classes: groups of cards that share software.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(metavar="NAME", help="A class: a letter, then letters, digits, + . -")]
Cards = Annotated[
    list[str], typer.Argument(metavar="CARDS…", help="Slots (3, 2/3, 1-4, 2/*), all, board:NAME, a class.")
]
Packages = Annotated[
    list[str] | None,
    typer.Option(
        "--package", help="NAME (the newest) or NAME=VERSION; may be repeated; the first wins a file."
    ),
]
Images = Annotated[
    list[str] | None, typer.Option("--image", help="Boot image, BOARD=VERSION; may be repeated.")
]
Order = Annotated[str | None, typer.Option(help="Pristine order: store-first, image-first or from-ram.")]
SaveImage = Annotated[
    bool | None, typer.Option("--save-image/--no-save-image", help="With from-ram: burn the boot image too.")
]
Clear = Annotated[
    list[str] | None,
    typer.Option("--clear", help="Say no more of: packages, images, features, order or save_image."),
]
Features = Annotated[
    list[str] | None,
    typer.Option("--feature", help="A group of modules that is asked for; may be repeated; names all."),
]


@app.command()
def create(
    name: Name,
    *,
    package: Packages = None,
    image: Images = None,
    feature: Features = None,
    order: Order = None,
    save_image: SaveImage = None,
    directory: Directory = DEFAULT_DIRECTORY,
    as_json: AsJson = False,
) -> None:
    """Make a class. What it does not say is left to the boards and to what is newest."""
    body = wishes(package, image, order, save_image, feature)
    _show(master_client(directory).post("/v1/classes", {"name": name, **body}), as_json)


@app.command("set")
def change(
    name: Name,
    *,
    package: Packages = None,
    image: Images = None,
    feature: Features = None,
    order: Order = None,
    save_image: SaveImage = None,
    clear: Clear = None,
    directory: Directory = DEFAULT_DIRECTORY,
    as_json: AsJson = False,
) -> None:
    """Change what a class says. Its cards are brought there when they next boot."""
    check_class_name(name)
    body = {**wishes(package, image, order, save_image, feature), "clear": clear}
    _show(master_client(directory).post(f"/v1/classes/{name}", body), as_json)


@app.command()
def assign(
    name: Name, cards: Cards, directory: Directory = DEFAULT_DIRECTORY, as_json: AsJson = False
) -> None:
    """Put cards into a class, out of the one they were in."""
    _assign(check_class_name(name), cards, directory, as_json)


@app.command()
def unassign(cards: Cards, directory: Directory = DEFAULT_DIRECTORY, as_json: AsJson = False) -> None:
    """Take cards out of their classes."""
    _assign(None, cards, directory, as_json)


def _assign(name: str | None, cards: list[str], directory: Directory, as_json: bool) -> None:
    answer = master_client(directory).post("/v1/assign", {"class": name, "cards": cards})
    if as_json:
        typer.echo(json.dumps(answer, indent=1))
        return
    for warning in answer["warnings"]:
        typer.echo(f"warning: {warning}", err=True)
    tell_change(answer["check"])
    slots = ", ".join(answer["slots"])
    typer.echo(f"slots {slots}: " + ("in no class" if name is None else f"in class {name}"))
    typer.echo("each is brought there when it next boots; at once with: fwmgr burn-all --cards …")


@app.command("list")
def list_classes(directory: Directory = DEFAULT_DIRECTORY, as_json: AsJson = False) -> None:
    """All classes."""
    answer = master_client(directory).get("/v1/classes")
    if as_json:
        typer.echo(json.dumps(answer, indent=1))
        return
    table = Table("class", "cards", "packages", "boot images", "features", "order")
    for one in answer:
        texts = (packages_text(one), images_text(one), features_text(one), order_text(one))
        table.add_row(one["name"], ", ".join(one["cards"]), *texts)
    screen().print(table)


@app.command()
def show(name: Name, directory: Directory = DEFAULT_DIRECTORY, as_json: AsJson = False) -> None:
    """One class."""
    _show(master_client(directory).get(f"/v1/classes/{check_class_name(name)}"), as_json)


@app.command()
def remove(name: Name, directory: Directory = DEFAULT_DIRECTORY) -> None:
    """Remove a class that no card is in."""
    master_client(directory).post(f"/v1/classes/{check_class_name(name)}/remove")
    typer.echo(f"class {name} is gone")


def wishes(
    package: list[str] | None,
    image: list[str] | None,
    order: str | None,
    save_image: bool | None,
    feature: list[str] | None,
) -> dict[str, Any]:
    """A configuration as the API takes it: what is None is not changed."""
    said = {"packages": package, "images": image, "order": order}
    return {**said, "save_image": save_image, "features": feature}


def _show(one: dict[str, Any], as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(one, indent=1))
        return
    for warning in one["warnings"]:
        typer.echo(f"warning: {warning}", err=True)
    tell_change(one.get("check"))  # of a class that is only shown nothing has changed
    table = Table(title=f"class {one['name']}", show_header=False)
    table.add_row("cards", ", ".join(one["cards"]) or "none")
    table.add_row("packages", packages_text(one))
    table.add_row("boot images", images_text(one))
    table.add_row("features", features_text(one))
    table.add_row("pristine order", order_text(one))
    screen().print(table)


def packages_text(one: dict[str, Any]) -> str:
    if one["packages"] is None:
        return "newest of all"
    return plain(", ".join(_wish(text) for text in one["packages"]) or "no packages")


def _wish(text: str) -> str:
    name, equals, version = text.partition("=")
    return f"{name} {version}" if equals else f"{name} (newest)"


def images_text(one: dict[str, Any]) -> str:
    named = [f"{board} {version}" for board, version in sorted(one["images"].items())]
    return plain(", ".join([*named, "others newest"] if named else ["newest"]))


def features_text(one: dict[str, Any]) -> str:
    if one["features"] is None:
        return "those wanted"
    return plain(", ".join(one["features"]) or "none")


def order_text(one: dict[str, Any]) -> str:
    order = one["order"] or "as the board says"
    if one["save_image"] is None:
        return str(order)
    return f"{order}, image {'saved' if one['save_image'] else 'not saved'}"
