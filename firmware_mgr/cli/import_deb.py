"""`fwmgr package import-deb`: Debian packages of several CPUs become one package of ours.

Knows the options and how the report is shown. Working it out is others' work.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from firmware_mgr.cli.key_passphrase import PassphraseFile, asker
from firmware_mgr.cli.screen import plain, screen
from firmware_mgr.model.errors import UsageError
from firmware_mgr.model.ids import NEUTRAL_CPU, check_name, check_version
from firmware_mgr.package.reader import PackageFile
from firmware_mgr.packaging.build import write_package
from firmware_mgr.packaging.deb_import import ImportOrder, import_debs
from firmware_mgr.packaging.deb_needs import Met
from firmware_mgr.packaging.import_kinds import Found
from firmware_mgr.packaging.import_manifest import ExtraManifest, load_extra
from firmware_mgr.packaging.import_notes import Note, NoteKind
from firmware_mgr.packaging.import_report import ImportReport, cpu_text
from firmware_mgr.packaging.keys import keyring_of, load_key

SOURCE_DATE = "SOURCE_DATE_EPOCH"
PACKAGE_SUFFIX = ".fwp"
_DIGITS = 12  # of a time; what a package has room for is checked when it is made
#: What heads each group of notes on the screen.
_HEADINGS = {
    NoteKind.LEFT_OUT: "Left out",
    NoteKind.CHANGED: "Changed",
    NoteKind.SCRIPT: "Not run: maintainer scripts and triggers",
    NoteKind.HINT: "To know",
}


def import_deb(
    debs: Annotated[
        list[Path], typer.Argument(metavar="FILE.deb…", help=".debs for amd64, arm64, armhf and all.")
    ],
    *,
    name: Annotated[str, typer.Option(help="The name of the package.")],
    version: Annotated[str, typer.Option(help="The version of the package.")],
    key: Annotated[list[Path], typer.Option(help="The private key that signs; more than one may.")],
    out: Annotated[Path | None, typer.Option(help="The package file; NAME_VERSION.fwp otherwise.")] = None,
    manifest: Annotated[
        Path | None, typer.Option(help="An extra manifest: marks, processes, what to drop or rename.")
    ] = None,
    depend: Annotated[
        list[str] | None,
        typer.Option(
            help="DEB=PACKAGE: another package of the card has what this Debian package would bring."
        ),
    ] = None,
    assume: Annotated[
        list[str] | None,
        typer.Option(help="A Debian package that the boot image has, or that no card needs."),
    ] = None,
    passphrase_file: PassphraseFile = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the whole report as JSON.")] = False,
) -> None:
    """Make one signed package out of Debian packages of several CPUs. Nothing of them is run."""
    check_name(name, "package")
    check_version(version)
    keys = [load_key(file, asker(passphrase_file)) for file in key]
    extra = load_extra(manifest) if manifest else ExtraManifest()
    outside = extra.outside(tuple(assume or ()), tuple(depend or ()))
    imported = import_debs(ImportOrder(tuple(debs), name, version, outside, extra, _source_date()))
    out = out or Path(f"{name}_{version}{PACKAGE_SUFFIX}")
    write_package(out, imported.build(keys))
    with PackageFile.open(out, keyring_of(keys)) as package:
        reference = package.reference()
    if as_json:
        document = {"file": str(out), **reference.document(), **imported.report.document()}
        typer.echo(json.dumps(document, indent=2))
        return
    console = screen()
    _show(console, imported.report)
    megabytes = f"{reference.length / (1 << 20):.1f} MiB"
    typer.echo(
        f"{out}: {name} {version}, {len(imported.sources)} modules, {megabytes}, SHA-256 {reference.digest}"
    )
    typer.echo(f"Next: fwmgr package inspect {out}; fwmgr package add {out}")


def _source_date() -> int | None:
    """SOURCE_DATE_EPOCH, as reproducible-builds.org specifies it. Raises UsageError."""
    text = os.environ.get(SOURCE_DATE)
    if not text:
        return None
    if not (text.isascii() and text.isdigit() and len(text) <= _DIGITS):
        raise UsageError(
            "not a time", where=f"${SOURCE_DATE}", expected="seconds since 1970", found=repr(text)
        )
    return int(text)


def _show(console: Console, report: ImportReport) -> None:
    _show_debs(console, report)
    _show_kinds(console, report)
    _show_libraries(console, report)
    _show_needs(console, report)
    for kind, heading in _HEADINGS.items():
        notes = [note for note in report.notes if note.kind is kind]
        if notes:
            console.print(Text(f"{heading}: {len(notes)}", style="bold"))
            for note in notes:
                console.print(_note_line(note, report), soft_wrap=True)


def _show_debs(console: Console, report: ImportReport) -> None:
    table = _table("Debian package", "version", "for")
    architectures: dict[tuple[str, str], list[str]] = {}
    for deb in report.debs:
        architectures.setdefault((deb.name, deb.version), []).append(deb.architecture)
    for (name, version), found in architectures.items():
        table.add_row(name, version, " ".join(found))
    console.print(table)
    built = datetime.fromtimestamp(report.build_date, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    console.print(Text(f"Built {built}, by {report.date_from}\n"))


def _show_kinds(console: Console, report: ImportReport) -> None:
    columns = [NEUTRAL_CPU, *(cpu.value for cpu in report.cpus)]
    counts = Counter((module.found, cpu_text(module.source.cpu)) for module in report.modules)
    table = _table("module", *columns, numbers=True)
    for found in Found:
        row = [counts[found, column] for column in columns]
        if any(row):
            table.add_row(found.value, *(str(count) if count else "·" for count in row))
    console.print(table)
    console.print()


def _show_libraries(console: Console, report: ImportReport) -> None:
    names = {
        name for cpu in report.cpus for name in (*report.held_libraries(cpu), *report.outside_libraries(cpu))
    }
    if not names:
        return
    table = _table("library", *(cpu.value for cpu in report.cpus), numbers=True)
    held = {cpu: report.held_libraries(cpu) for cpu in report.cpus}
    outside = {cpu: report.outside_libraries(cpu) for cpu in report.cpus}
    for name in sorted(names):
        cells = []
        for cpu in report.cpus:
            inside, beyond = held[cpu].get(name), outside[cpu].get(name)
            cells.append(f"{inside[1]}" if inside else f"{len(beyond)}, from outside" if beyond else "·")
        table.add_row(plain(name), *cells)
    console.print(table)
    console.print(
        Text("How many files get each library; one from outside, how many ask for it.\n", style="dim")
    )


def _show_needs(console: Console, report: ImportReport) -> None:
    met: dict[tuple[Met, str], set[str]] = {}
    for needs in report.needs.values():
        for need in needs:
            if need.met is not Met.MERGED:
                met.setdefault((need.met, need.by), set()).add(need.text)
    if not met:
        return
    table = _table("met by", "", "what Debian packages depend on")
    for (how, by), texts in sorted(met.items(), key=lambda item: (item[0][0].value, item[0][1])):
        table.add_row(how.value, by, ", ".join(sorted(texts)))
    console.print(table)
    console.print()


def _note_line(note: Note, report: ImportReport) -> Text:
    line = Text("  ")
    line.append(plain(note.subject), style="cyan")
    line.append(f"  {plain(note.text)}")
    if note.count > 1:
        line.append(f"  × {note.count}", style="dim")
    if note.cpus != report.cpus:
        line.append(f"  ({', '.join(cpu.value for cpu in note.cpus)})", style="dim")
    return line


def _table(*columns: str, numbers: bool = False) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for place, column in enumerate(columns):
        table.add_column(column, justify="right" if numbers and place else "left")
    return table
