"""`fwmgr package build|inspect|verify`: package files at the desk.

Knows the options and how a package is shown. Building and reading are others' work.
"""

from __future__ import annotations

import json
import shlex
import unicodedata
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from firmware_mgr.cli.key_passphrase import PassphraseFile, asker
from firmware_mgr.cli.package_signing import Keys, Root, TakesTest, request, seal, sign, trust_of
from firmware_mgr.model.ids import NEUTRAL_CPU
from firmware_mgr.package.dump import describe
from firmware_mgr.package.reader import PackageFile
from firmware_mgr.package.trust import Role, SignedPackage
from firmware_mgr.packaging.assemble import build_from_manifest
from firmware_mgr.packaging.build import write_package
from firmware_mgr.packaging.keys import keyring_of, load_key

app = typer.Typer(help="Package files: build, sign, look into, verify.", no_args_is_help=True)
app.command("sign-request")(request)
app.command("sign")(sign)
app.command("seal")(seal)

MANIFEST_NAME = "manifest.toml"
PACKAGE_SUFFIX = ".fwp"
CACHE_VARIABLE = "FWMGR_CACHE"
DEFAULT_CACHE = Path(".cache/fwmgr")

File = Annotated[Path, typer.Argument(metavar="FILE", help="A package file.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command()
def build(
    manifest: Annotated[Path, typer.Argument(metavar="MANIFEST", help="A manifest, or the folder it is in.")],
    *,
    key: Annotated[list[Path], typer.Option(help="The private key that signs; more than one may.")],
    out: Annotated[Path | None, typer.Option(help="The package file; NAME_VERSION.fwp otherwise.")] = None,
    cache: Annotated[
        Path, typer.Option(envvar=CACHE_VARIABLE, help="Where fetched Debian packages are kept.")
    ] = DEFAULT_CACHE,
    refresh: Annotated[
        bool, typer.Option("--refresh", help="Write the lock files anew from what the archive holds.")
    ] = False,
    passphrase_file: PassphraseFile = None,
    as_json: AsJson = False,
) -> None:
    """Build a package from its manifest and sign it."""
    path = manifest / MANIFEST_NAME if manifest.is_dir() else manifest
    keys = [load_key(file, asker(passphrase_file)) for file in key]
    package = build_from_manifest(path, keys, cache, refresh=refresh)
    draft = out or Path(f".{path.parent.absolute().name}.draft{PACKAGE_SUFFIX}")
    write_package(draft, package)
    with PackageFile.open(draft, keyring_of(keys)) as built:
        reference = built.reference()
        modules = len(built.toc.modules)
    if out is None:
        out = draft.replace(Path(f"{reference.name}_{reference.version}{PACKAGE_SUFFIX}"))
    if as_json:
        typer.echo(json.dumps({"file": str(out), **reference.document()}))
        return
    typer.echo(
        f"{out}: {reference.name} {reference.version}, {modules} modules, {_size(reference.length)}, "
        f"SHA-256 {reference.digest}"
    )


@app.command()
def inspect(file: File, as_json: AsJson = False) -> None:
    """Show what a package says of itself. Who signed it is not checked: that is `verify`."""
    with PackageFile.open_to_show(file) as package:
        document = describe(package.header, package.toc, package.signatures)
    if as_json:
        typer.echo(json.dumps(document, indent=2, ensure_ascii=False))
        return
    console = Console()
    _show_head(console, file, document)
    _show_modules(console, document)
    _show_processes(console, document)


@app.command()
def verify(
    file: File,
    *,
    root: Root = None,
    keys: Keys = None,
    accept_test: TakesTest = False,
    as_json: AsJson = False,
) -> None:
    """Check signatures, table of contents and every module's content."""
    trust = trust_of(root, keys, takes_test=accept_test)
    with PackageFile.open(file, trust) as package:
        package.check_content()
        reference = package.reference()
        signed_by = [signature.key for signature in package.signatures]
        modules = len(package.toc.modules)
        said = SignedPackage(reference.name, reference.version, package.toc.build_date)
    role = trust.check_package(said, signed_by, str(file))
    if as_json:
        document = {"file": str(file), **reference.document(), "signed_by": signed_by, "role": role.value}
        typer.echo(json.dumps(document))
        return
    console = Console()
    console.print(Text(f"{file}: good", style="green"))
    table = _facts()
    mark = " TEST" if role is Role.TEST else ""
    table.add_row("package", f"{reference.name} {reference.version}{mark}")
    table.add_row("signed by", "\n".join(signed_by))
    table.add_row("modules", f"{modules}, each with the exact hash of the signed table")
    table.add_row("length", f"{reference.length} bytes")
    table.add_row("SHA-256", reference.digest.hex)
    console.print(table)


def _show_head(console: Console, file: Path, document: dict[str, Any]) -> None:
    table = _facts()
    table.add_row("package", Text(f"{document['name']} {document['version']}", style="bold"))
    table.add_row("file", f"{file}, format {document['format']}, {_size(document['length'])}")
    built = datetime.fromtimestamp(document["build_date"], UTC)
    table.add_row("built", built.strftime("%Y-%m-%d %H:%M:%S UTC"))
    table.add_row("signed by", Text("\n".join(document["signed_by"]) + "\n(not checked)"))
    for title, key in (
        ("needs on the card", "local_dependencies"),
        ("needs elsewhere", "remote_dependencies"),
        ("upgrades", "upgrades"),
    ):
        lines = [f"{item['name']} {item['constraint']}".strip() for item in document[key]]
        if lines:
            table.add_row(title, Text("\n".join(lines)))
    console.print(table)


def _show_modules(console: Console, document: dict[str, Any]) -> None:
    """A line for each module, path last, so that a narrow terminal breaks nothing but long paths."""
    modules = document["modules"]
    for cpu in sorted({module["cpu"] for module in modules}, key=lambda name: (name == NEUTRAL_CPU, name)):
        group = [module for module in modules if module["cpu"] == cpu]
        title = "For every CPU" if cpu == NEUTRAL_CPU else f"For {cpu}"
        length, stored = (sum(m[key] for m in group) for key in ("length", "stored_length"))
        sizes = f"{_size(length)}, stored {_size(stored)}"
        console.print(Text(f"{title}: {len(group)} modules, {sizes}", style="bold"))
        console.print(Text(f"  {'mode':4}  {'size':>9}  {'kind':14}  {'substantive':12}  path", style="dim"))
        for module in group:
            console.print(_module_line(module), soft_wrap=True)


def _module_line(module: dict[str, Any]) -> Text:
    bare = module["kind"] in ("symlink", "directory")
    size = "" if bare else _size(module["length"])
    line = Text(f"  {module['mode']}  {size:>9}  {module['kind']:14}  {module['substantive'][:12]}  ")
    line.append(module["path"], style="cyan")
    if module["link_target"]:
        line.append(f" -> {module['link_target']}")
    if module["function"]:
        line.append(f"  ({module['function']})", style="green")
    return line


def _show_processes(console: Console, document: dict[str, Any]) -> None:
    for process in document["processes"]:
        console.print(Text(f"Process {process['name']}", style="italic"))
        table = _facts()
        table.add_row("runs", Text(_plain(shlex.join(process["argv"]))))
        table.add_row("program", Text(process["module"]))
        table.add_row("as", f"{process['user']} in {process['working_directory']}")
        variables = [f"{name}={value}" for name, value in process["environment"].items()]
        if variables:
            table.add_row("environment", Text(_plain(" ".join(variables))))
        table.add_row("ready", process["readiness"])
        table.add_row("stopped by", f"{process['stop_signal']}, killed after {process['grace_s']} s")
        table.add_row("restarted", process["restart"])
        table.add_row("updates", "manages itself" if process["self_managing"] else "simple")
        console.print(table)


def _facts() -> Table:
    table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
    table.add_column(style="dim")
    table.add_column(overflow="fold")
    return table


def _plain(text: str) -> str:
    """Control characters as escapes, since a terminal would obey them."""
    return "".join(
        character.encode("unicode_escape").decode() if unicodedata.category(character) == "Cc" else character
        for character in text
    )


def _size(length: int) -> str:
    if length < 1 << 10:
        return f"{length} B"
    if length < 1 << 20:
        return f"{length / (1 << 10):.1f} KiB"
    return f"{length / (1 << 20):.1f} MiB"
