"""`fwmgr image build | inspect`: boot images in folders, as a person at a desk makes and looks at them.

Knows the options and how a manifest is shown. The imaging room does the work.
"""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from firmware_mgr.imaging.board import load_board
from firmware_mgr.imaging.build import build_boot_image
from firmware_mgr.imaging.cache import CACHE_VARIABLE, DEFAULT_CACHE
from firmware_mgr.imaging.manifest import BootImage, read_boot_image
from firmware_mgr.lab.sim.image import place_sim_image
from firmware_mgr.lab.sim.software import sim_boards
from firmware_mgr.model.errors import UsageError

app = typer.Typer(help="Boot images and composite images.", no_args_is_help=True)

_MIB = 1 << 20
#: Of an image for a simulated board that was given none: it is not made from anything that changes.
SIM_VERSION = "1.0"
AsJson = Annotated[bool, typer.Option("--json", help="Print the manifest as JSON.")]
CacheFolder = Annotated[
    Path, typer.Option("--cache", envvar=CACHE_VARIABLE, help="What builds leave for others.")
]


@app.command()
def build(
    *,
    board: Annotated[
        str, typer.Option(help="A board's name, also a simulated one's, or a board file (.toml).")
    ],
    trust: Annotated[Path, typer.Option(help="Folder with the site's authority.pem and keys.json.")],
    out: Annotated[Path, typer.Option(help="Folder for the image; an older image in it is replaced.")],
    version: Annotated[
        str | None, typer.Option(help="The image's version; made from its content if not given.")
    ] = None,
    kernel: Annotated[Path | None, typer.Option(help="Your own kernel: folder, tar or deb.")] = None,
    rootfs: Annotated[Path | None, typer.Option(help="Your own root file system: folder or tar.")] = None,
    refresh: Annotated[
        bool, typer.Option("--refresh", help="Take the newest packages of the archive.")
    ] = False,
    test: Annotated[
        bool, typer.Option("--test", help="Its cards take packages that are signed for tests.")
    ] = False,
    cache: CacheFolder = DEFAULT_CACHE,
    as_json: AsJson = False,
) -> None:
    """Build a board's boot image, or take it from the cache."""
    simulated = sim_boards().get(board)
    if simulated is None:
        image = build_boot_image(
            load_board(board),
            trust=trust,
            out=out,
            cache=cache,
            version=version,
            kernel=kernel,
            rootfs=rootfs,
            refresh=refresh,
            takes_test=test,
        )
    elif kernel or rootfs or refresh:
        raise UsageError(
            "a simulated board has neither kernel nor packages",
            where=f"board {board}",
            expected="none of --kernel, --rootfs and --refresh",
        )
    else:
        image = place_sim_image(
            simulated, trust=trust, out=out, version=version or SIM_VERSION, takes_test=test
        )
    if as_json:
        typer.echo(json.dumps(image.manifest.document()))
        return
    reference = image.reference
    size = f"{reference.length / _MIB:.1f} MiB"
    said = f"{out}: boot image {reference.board} {reference.version}, {size}, digest {reference.digest.short}"
    typer.echo(f"{said}, takes TEST packages" if test else said)


@app.command()
def inspect(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The folder of a boot image.")],
    as_json: AsJson = False,
) -> None:
    """Check a boot image against its manifest and show it."""
    image = read_boot_image(folder)
    if as_json:
        typer.echo(json.dumps(image.manifest.document()))
        return
    manifest = image.manifest
    built = dt.datetime.fromtimestamp(manifest.build_date, dt.UTC)
    typer.echo(f"boot image {manifest.board} {manifest.version} for {manifest.cpu.value}")
    typer.echo(f"kernel {manifest.kernel}, build date {built:%Y-%m-%d %H:%M:%S} UTC")
    typer.echo(f"inputs {manifest.inputs}")
    if manifest.trust is not None:
        root = "a flat keyring" if manifest.trust.root is None else f"version {manifest.trust.root.version}"
        tests = ", takes TEST packages" if manifest.trust.takes_test else ""
        typer.echo(f"root of trust: {root}{tests}")
    console = Console()
    console.print(_files(image))
    console.print(_packages(image))


def _files(image: BootImage) -> Table:
    table = Table("file", "MiB", "pieces", "SHA-256")
    for name, summary in sorted(image.manifest.files.items()):
        table.add_row(name, f"{summary.length / _MIB:.2f}", str(len(summary.pieces)), summary.digest.hex[:16])
    return table


def _packages(image: BootImage) -> Table:
    table = Table("package", "version", "CPU", "SHA-256")
    for package in image.manifest.packages:
        table.add_row(package.name, package.version, package.arch, package.sha256[:16])
    return table
