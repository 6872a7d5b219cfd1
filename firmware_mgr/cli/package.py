"""`fwmgr package build|build-set|inspect|verify|dump`, `fwmgr image compose`: package files at the desk.

Knows the options. Building, reading and showing are others' work.
"""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.text import Text

from firmware_mgr.cli.key_passphrase import PassphraseFile, asker
from firmware_mgr.cli.package_show import facts, moment, show_bundle, show_dump, show_package, size
from firmware_mgr.cli.package_signing import Keys, Root, TakesTest, request, seal, sign, trust_of
from firmware_mgr.model.errors import UsageError
from firmware_mgr.package.bundle import Bundle
from firmware_mgr.package.bundle_reader import BundleFile, kind_of
from firmware_mgr.package.byte_dump import MAX_DUMPED, dump_lines
from firmware_mgr.package.contents import TableOfContents
from firmware_mgr.package.dump import describe, describe_bundle
from firmware_mgr.package.head import signed_contents
from firmware_mgr.package.layout import EnvelopeKind
from firmware_mgr.package.reader import PackageFile
from firmware_mgr.package.substance_check import check_substance
from firmware_mgr.package.trust import Role
from firmware_mgr.packaging.assemble import build_from_manifest
from firmware_mgr.packaging.build import write_package
from firmware_mgr.packaging.compose import (
    BundleHead,
    build_bundle,
    image_member,
    information_member,
    package_member,
)
from firmware_mgr.packaging.compose_manifest import load_composite_manifest
from firmware_mgr.packaging.keys import SigningKey, keyring_of, load_key

app = typer.Typer(
    help="Package files, sets and composite images: build, sign, look into, verify.", no_args_is_help=True
)
app.command("sign-request")(request)
app.command("sign")(sign)
app.command("seal")(seal)

MANIFEST_NAME = "manifest.toml"
PACKAGE_SUFFIX = ".fwp"
SET_SUFFIX = ".fws"
COMPOSITE_SUFFIX = ".fwc"
CACHE_VARIABLE = "FWMGR_CACHE"
DEFAULT_CACHE = Path(".cache/fwmgr")

File = Annotated[Path, typer.Argument(metavar="FILE", help="A package, set or composite image.")]
SigningKeys = Annotated[
    list[Path], typer.Option("--key", help="The private key that signs; more than one may.")
]
SignedAt = Annotated[
    str | None,
    typer.Option(metavar="DATE|now", help="When it is signed; the build date, if nothing else is said."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command()
def build(
    manifest: Annotated[Path, typer.Argument(metavar="MANIFEST", help="A manifest, or the folder it is in.")],
    *,
    key: SigningKeys,
    out: Annotated[Path | None, typer.Option(help="The package file; NAME_VERSION.fwp otherwise.")] = None,
    cache: Annotated[
        Path, typer.Option(envvar=CACHE_VARIABLE, help="Where fetched Debian packages are kept.")
    ] = DEFAULT_CACHE,
    refresh: Annotated[
        bool, typer.Option("--refresh", help="Write the lock files anew from what the archive holds.")
    ] = False,
    passphrase_file: PassphraseFile = None,
    signed_at: SignedAt = None,
    as_json: AsJson = False,
) -> None:
    """Build a package from its manifest and sign it."""
    path = manifest / MANIFEST_NAME if manifest.is_dir() else manifest
    keys = [load_key(file, asker(passphrase_file)) for file in key]
    package = build_from_manifest(path, keys, cache, refresh=refresh, signed_at=_time(signed_at))
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
        f"{out}: {reference.name} {reference.version}, {modules} modules, {size(reference.length)}, "
        f"SHA-256 {reference.digest}"
    )


@app.command("build-set")
def build_set(
    files: Annotated[list[Path], typer.Argument(metavar="FILE…", help="Package files.")],
    *,
    name: Annotated[str, typer.Option(help="What the set is called.")],
    version: Annotated[str, typer.Option(help="Its version.")],
    key: SigningKeys,
    out: Annotated[Path | None, typer.Option(help="The file; NAME_VERSION.fws otherwise.")] = None,
    passphrase_file: PassphraseFile = None,
    signed_at: SignedAt = None,
    as_json: AsJson = False,
) -> None:
    """Put several packages into one file. Each keeps its own signatures; the whole is signed too."""
    sources = [package_member(file) for file in files]
    keys = [load_key(file, asker(passphrase_file)) for file in key]
    data = build_bundle(BundleHead(EnvelopeKind.SET, name, version), sources, keys, _time(signed_at))
    _written(out or Path(f"{name}_{version}{SET_SUFFIX}"), data, keys, as_json=as_json)


def compose(
    manifest: Annotated[Path, typer.Argument(metavar="MANIFEST.toml", help="What the image is made of.")],
    *,
    key: SigningKeys,
    out: Annotated[Path | None, typer.Option(help="The file; NAME_VERSION.fwc otherwise.")] = None,
    passphrase_file: PassphraseFile = None,
    signed_at: SignedAt = None,
    as_json: AsJson = False,
) -> None:
    """Compose boot images, packages and card information into one signed file."""
    wanted = load_composite_manifest(manifest)
    sources = [image_member(folder) for folder in wanted.images]
    sources += [package_member(file) for file in wanted.packages]
    if wanted.information is not None:
        sources.append(information_member(wanted.information))
    keys = [load_key(file, asker(passphrase_file)) for file in key]
    data = build_bundle(wanted.head, sources, keys, _time(signed_at))
    out = out or Path(f"{wanted.head.name}_{wanted.head.version}{COMPOSITE_SUFFIX}")
    _written(out, data, keys, as_json=as_json)


@app.command()
def inspect(file: File, as_json: AsJson = False) -> None:
    """Show what a file says of itself, without a look at who signed it: that is `verify`."""
    console = Console()
    if kind_of(file) is EnvelopeKind.PACKAGE:
        with PackageFile.open_to_show(file) as package:
            document = describe(package.header, package.toc, package.signatures)
        if as_json:
            _print_json(document)
        else:
            show_package(console, file, document)
        return
    with BundleFile.open_to_show(file) as bundle:
        document = describe_bundle(bundle.header, bundle.bundle, bundle.signatures)
        found = bundle.card_information()
    information = None if found is None else found.document()
    if as_json:
        _print_json({**document, "card_information": information})
    else:
        show_bundle(console, file, document, information)


@app.command()
def verify(
    file: File,
    *,
    root: Root = None,
    keys: Keys = None,
    accept_test: TakesTest = False,
    as_json: AsJson = False,
) -> None:
    """Check signatures, table of contents and all content; of sets and composite images every member too.

    Substantive signatures are worked out again, but for those of very large modules.
    """
    trust = trust_of(root, keys, takes_test=accept_test)
    opened: PackageFile | BundleFile
    if kind_of(file) is EnvelopeKind.PACKAGE:
        opened = PackageFile.open(file, trust)
    else:
        opened = BundleFile.open(file, trust)
    with opened:
        opened.check_content()
        missed = [str(one) for one in check_substance(opened)]
        said = _checked(opened)
        judged = signed_contents(opened.header, _contents(opened))
    role = trust.check_package(judged, said["signed_by"], str(file))
    if as_json:
        typer.echo(
            json.dumps({"file": str(file), **said, "role": role.value, "substance_not_checked": missed})
        )
        return
    console = Console()
    console.print(Text(f"{file}: good", style="green"))
    table = facts()
    mark = " TEST" if role is Role.TEST else ""
    table.add_row(said["kind"], f"{said['name']} {said['version']}{mark}, format {said['format']}")
    table.add_row("signed", moment(said["signed_at"]))
    table.add_row("signed by", "\n".join(said["signed_by"]))
    if "modules" in said:
        table.add_row("modules", f"{said['modules']}, each with the exact hash of the signed table")
    for member in said.get("members", ()):
        table.add_row("member", member)
    for one in missed:
        table.add_row("substance not checked", Text(one))
    table.add_row("length", f"{said['length']} bytes")
    if "digest" in said:
        table.add_row("SHA-256", said["digest"])
    console.print(table)


@app.command()
def dump(file: File, as_json: AsJson = False) -> None:
    """Show header, signatures and tables byte by byte; of a damaged file, as far as it can be read."""
    try:
        with file.open("rb") as stream:
            lines = list(dump_lines(stream.read(MAX_DUMPED), file.stat().st_size))
    except OSError as e:
        raise UsageError("file cannot be read", where=str(file), found=e.strerror) from e
    if as_json:
        _print_json(
            [
                {
                    "offset": one.offset,
                    "length": one.length,
                    "bytes": one.raw.hex(),
                    "name": one.name,
                    "value": one.value,
                }
                for one in lines
            ]
        )
        return
    show_dump(Console(), lines)


def _contents(opened: PackageFile | BundleFile) -> TableOfContents | Bundle:
    return opened.toc if isinstance(opened, PackageFile) else opened.bundle


def _checked(opened: PackageFile | BundleFile) -> dict[str, Any]:
    """What was found good."""
    header = opened.header
    said: dict[str, Any] = {
        "kind": header.kind.words,
        "format": header.version,
        "signed_at": header.signed_at,
        "length": header.total_length,
        "signed_by": [signature.key for signature in opened.signatures],
    }
    if isinstance(opened, PackageFile):
        return {**said, **opened.reference().document(), "modules": len(opened.toc.modules)}
    bundle = opened.bundle
    members = [member.title for member in bundle.members]
    return {**said, "name": bundle.name, "version": bundle.version, "members": members}


def _written(out: Path, data: bytes, keys: list[SigningKey], *, as_json: bool) -> None:
    """Write it, read it back as one who trusts its signers, and say what it is."""
    write_package(out, data)
    with BundleFile.open(out, keyring_of(keys)) as made:
        said = _checked(made)
    if as_json:
        typer.echo(json.dumps({"file": str(out), **said}))
        return
    members = len(said["members"])
    typer.echo(
        f"{out}: {said['kind']} {said['name']} {said['version']}, {members} members, {size(len(data))}"
    )


def _time(text: str | None) -> int | None:
    """Seconds since 1970-01-01 UTC. Raises UsageError."""
    if text is None:
        return None
    if text == "now":
        return int(time.time())
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        raise UsageError(
            "not a date", where="--signed-at", expected="now, or such as 2025-06-01T00:00:00Z", found=text
        ) from None
    return int((found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp())


def _print_json(document: object) -> None:
    typer.echo(json.dumps(document, indent=2, ensure_ascii=False))
