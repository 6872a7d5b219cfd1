"""`fwmgr master export | import`: the whole master in one file, and back.

Knows passphrases at a terminal, progress and words. Whether a master runs is asked of its API; the files are
its directory's.
"""

from __future__ import annotations

import datetime as dt
import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from firmware_mgr.cli.master import DEFAULT_DIRECTORY, AsJson, Directory
from firmware_mgr.cli.screen import plain, screen
from firmware_mgr.master.api_snapshot import snapshot_path
from firmware_mgr.master.client import MasterClient
from firmware_mgr.master.export.contents import Contents
from firmware_mgr.master.export.export_file import is_sealed, opened_export, write_export
from firmware_mgr.master.export.gather import copy_catalogue, gather, total_length
from firmware_mgr.master.export.restore import check_target, restore
from firmware_mgr.master.site import MasterPaths
from firmware_mgr.model.errors import PeerError, UsageError

#: Shorter ones are refused: whoever has the file may try them as fast as scrypt lets them.
MIN_PASSPHRASE = 8

PassphraseFile = Annotated[
    Path | None, typer.Option(help="The passphrase is the first line of this file (for scripts).")
]


def export_master(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The export; its usual name ends in .fwx.")],
    *,
    list_contents: Annotated[
        bool, typer.Option("--list", help="Check an export to its end and show what is in it.")
    ] = False,
    plain_text: Annotated[
        bool, typer.Option("--plain", help="Do not seal it: private keys stand in it readable.")
    ] = False,
    passphrase_file: PassphraseFile = None,
    replace: Annotated[bool, typer.Option("--replace", help="Put it in the place of a file.")] = False,
    directory: Directory = DEFAULT_DIRECTORY,
    as_json: AsJson = False,
) -> None:
    """Write the whole master to one file: catalogue, images, packages, keys, record. It may be running.

    The file holds the site's private keys: it is sealed with a passphrase, unless --plain is said.
    """
    if list_contents:
        _list(file, passphrase_file, as_json)
        return
    if plain_text and passphrase_file is not None:
        raise typer.BadParameter("--plain and --passphrase-file exclude each other")
    if file.exists() and not replace:
        raise UsageError("there is a file already", where=str(file), hint="another name, or --replace")
    paths = MasterPaths(directory.absolute())
    if not paths.catalogue.exists():
        raise UsageError(
            "there is no master", where=str(directory), expected=paths.catalogue.name, hint="say --dir"
        )
    passphrase = None if plain_text else _passphrase(passphrase_file, new=True)
    with _snapshot(paths) as snapshot:
        with _bar("reading", total_length(paths), as_json) as progress:
            gathered = gather(paths, snapshot, int(time.time()), progress)
        with _bar("writing", gathered.contents.length, as_json) as progress:
            length = write_export(file, gathered, passphrase, replace=replace, progress=progress)
    summary = {"file": str(file), "length": length, "sealed": passphrase is not None}
    if as_json:
        typer.echo(json.dumps({**summary, **_summary(gathered.contents)}, indent=1))
        return
    typer.echo(f"{file}: {_size(length)}, {'sealed' if passphrase else 'NOT sealed'}")
    typer.echo(_words(gathered.contents))
    if passphrase is None:
        typer.echo("it holds private keys: keep it where nobody else can read it", err=True)


def import_master(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="An export.")],
    *,
    replace: Annotated[
        bool, typer.Option("--replace", help="Also where a master is: the old one is kept beside it.")
    ] = False,
    passphrase_file: PassphraseFile = None,
    directory: Directory = DEFAULT_DIRECTORY,
    as_json: AsJson = False,
) -> None:
    """Make a master's directory from an export. All is checked before anything is put in place."""
    check_target(directory.absolute(), replace=replace)
    _check_no_master(MasterPaths(directory.absolute()))
    passphrase = _passphrase(passphrase_file, new=False) if is_sealed(file) else None
    with (
        opened_export(file, passphrase) as archive,
        _bar("checking and unpacking", archive.contents.length, as_json) as progress,
    ):
        restored = restore(archive, directory, replace=replace, progress=progress)
    kept = None if restored.replaced is None else str(restored.replaced)
    if as_json:
        answer = {"directory": str(directory.absolute()), "replaced": kept, **_summary(restored.contents)}
        typer.echo(json.dumps(answer, indent=1))
        return
    typer.echo(f"{directory}: {_words(restored.contents)}")
    if kept is not None:
        typer.echo(f"the master that was there: {kept}")
    typer.echo("start it with: fwmgr master run, or systemctl start fwmgr-master")
    typer.echo("never run it beside the master that the export was made of: both would answer the cards")


def _list(file: Path, passphrase_file: Path | None, as_json: bool) -> None:
    sealed = is_sealed(file)
    passphrase = _passphrase(passphrase_file, new=False) if sealed else None
    with (
        opened_export(file, passphrase) as archive,
        _bar("checking", archive.contents.length, as_json) as progress,
    ):
        for _, chunks in archive.files():
            for chunk in chunks:
                progress(len(chunk))
    contents = archive.contents
    if as_json:
        typer.echo(json.dumps({"sealed": sealed, **contents.document()}, indent=1))
        return
    table = Table("file", "bytes", "mode", "SHA-256")
    for item in contents.files:
        table.add_row(plain(item.path), f"{item.length:,}", f"{item.mode:03o}", item.digest.hex[:16])
    screen().print(table)
    typer.echo(f"{file}: whole, {'sealed' if sealed else 'not sealed'}; {_words(contents)}")


def _summary(contents: Contents) -> dict[str, Any]:
    document = contents.document()
    del document["files"]
    return {**document, "files": len(contents.files), "bytes": contents.length}


def _words(contents: Contents) -> str:
    made = dt.datetime.fromtimestamp(contents.made_at, dt.UTC)
    return (
        f"{len(contents.files)} files, {_size(contents.length)}, catalogue revision {contents.revision}, "
        f"site {contents.site[:12]}, made {made:%Y-%m-%d %H:%M:%S} UTC by fwmgr {plain(contents.fwmgr)}"
    )


def _size(length: int) -> str:
    return f"{length / 1e6:.1f} MB"


def _check_no_master(paths: MasterPaths) -> None:
    """Raises UsageError when a master answers for this directory."""
    try:
        pid = MasterClient(paths.api).get("/v1/status")["pid"]
    except PeerError:
        return
    raise UsageError(
        "a master is running on this directory",
        where=str(paths.directory),
        found=f"pid {pid}",
        hint="stop it",
    )


@contextmanager
def _snapshot(paths: MasterPaths) -> Iterator[Path]:
    """A copy of the catalogue: from the master when one runs, else from its file."""
    snapshot = snapshot_path(paths)
    try:
        if paths.api.exists():
            try:
                snapshot = Path(MasterClient(paths.api).post("/v1/snapshot")["path"])
            except PeerError:
                copy_catalogue(paths.catalogue, snapshot)  # the socket of a master that was killed
        else:
            copy_catalogue(paths.catalogue, snapshot)
        yield snapshot
    finally:
        snapshot.unlink(missing_ok=True)


def _passphrase(file: Path | None, *, new: bool) -> str:
    """From the file, or asked at the terminal; twice when it is new. Raises UsageError."""
    if file is not None:
        try:
            text = file.read_text(encoding="utf-8").partition("\n")[0].rstrip("\r")
        except (OSError, ValueError) as e:
            raise UsageError("the passphrase cannot be read", where=str(file), found=str(e)) from e
    elif sys.stdin.isatty():
        text = typer.prompt("Passphrase", hide_input=True, confirmation_prompt=new, err=True)
    else:
        hint = "--passphrase-file FILE" + (
            ", or --plain when what is written is protected otherwise" if new else ""
        )
        raise UsageError(
            "an export is sealed with a passphrase" if new else "this export is sealed with a passphrase",
            expected="a terminal to ask at, or a file",
            found="neither",
            hint=hint,
        )
    if new and len(text) < MIN_PASSPHRASE:
        raise UsageError(
            "the passphrase is too short", expected=f"{MIN_PASSPHRASE} characters", found=len(text)
        )
    return str(text)


@contextmanager
def _bar(what: str, total: int, quiet: bool) -> Iterator[Callable[[int], None]]:
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    with Progress(
        *columns, console=console, disable=quiet or not console.is_terminal, transient=True
    ) as bars:
        task = bars.add_task(what, total=total)
        yield lambda count: bars.advance(task, count)
