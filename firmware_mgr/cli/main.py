"""`fwmgr`: all commands in one tree, and one way for every error to reach a person.

Exit codes: 0 done, 1 refused or failed, 2 wrong usage, 3 nothing changed because of a veto.
"""

from __future__ import annotations

import json
import sys

import typer
from rich.console import Console
from rich.text import Text

from firmware_mgr.cli import (
    binding,
    board,
    card_class,
    cards,
    catalogue,
    chassis,
    check,
    collect,
    composite,
    export,
    flash,
    image,
    import_deb,
    kept,
    key,
    master,
    operations,
    package,
    power,
    settings,
)
from firmware_mgr.model.errors import FwmgrError, UsageError

app = typer.Typer(
    name="fwmgr",
    help="Firmware manager for chassis and test racks.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
app.add_typer(chassis.app, name="chassis")
app.add_typer(master.app, name="master")
app.add_typer(image.app, name="image")
app.add_typer(package.app, name="package")
app.add_typer(key.app, name="key")
app.add_typer(flash.app, name="flash")
app.add_typer(power.app, name="power")
app.add_typer(cards.card_app, name="card")
app.add_typer(settings.app, name="settings")
cards.card_app.command()(binding.bind)
cards.card_app.command()(binding.unbind)
cards.card_app.command()(kept.logs)
cards.card_app.command()(kept.cores)
cards.card_app.command()(kept.core)
app.add_typer(card_class.app, name="class")
app.add_typer(board.app, name="board")
app.command()(board.prefer)
app.command()(composite.sets)
image.app.command("add")(catalogue.add_image)
image.app.command("compose")(package.compose)
image.app.command("list")(catalogue.list_images)
image.app.command("remove")(catalogue.remove_image)
package.app.command("import-deb")(import_deb.import_deb)
package.app.command("add")(catalogue.add_package)
package.app.command("list")(catalogue.list_packages)
package.app.command("remove")(catalogue.remove_package)
package.app.command("collect")(collect.collect)
master.app.command("export")(export.export_master)
master.app.command("import")(export.import_master)
app.command("cards")(cards.cards)
app.command("check")(check.check)
app.command("burn-all")(operations.burn_all)
app.command("operations")(operations.operations)

FAILED = 1
WRONG_USAGE = 2


def main() -> None:
    """Run the command line. Every FwmgrError becomes a few lines on standard error, and an exit code."""
    try:
        app()
    except FwmgrError as e:
        show(e)
        sys.exit(WRONG_USAGE if isinstance(e, UsageError) else FAILED)
    except KeyboardInterrupt:
        sys.exit(130)


def show(error: FwmgrError) -> None:
    if "--json" in sys.argv:
        sys.stderr.write(json.dumps(error.document()) + "\n")
        return
    console = Console(stderr=True)
    where = f"{error.where}: " if error.where else ""
    # The terminal breaks long lines itself: a command to be copied has no line end in it.
    console.print(Text.assemble(("error ", "bold red"), f"{where}{error.what}"), soft_wrap=True)
    for name, value in (("expected", error.expected), ("found", error.found), ("next", error.hint)):
        if value:
            console.print(Text.assemble((f"  {name:<9}", "dim"), value), soft_wrap=True)
