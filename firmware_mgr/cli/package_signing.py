"""`fwmgr package sign-request | sign | seal` and `fwmgr key sign`: signatures of one person or of several.

Knows files, options and what a signer is shown. How the parts fit is `packaging.cosign`.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from firmware_mgr.cli.key_passphrase import PassphraseFile, asker
from firmware_mgr.cli.master import AsJson
from firmware_mgr.cli.package_show import show_bundle, show_package
from firmware_mgr.cli.root import read_chain
from firmware_mgr.master.files import disk_errors, sync_directory, write_over
from firmware_mgr.model.errors import UsageError
from firmware_mgr.package.bundle import Bundle
from firmware_mgr.package.bundle_reader import BundleFile, kind_of
from firmware_mgr.package.contents import TableOfContents
from firmware_mgr.package.dump import describe, describe_bundle
from firmware_mgr.package.head import PackageHeader, parse_header, signed_contents
from firmware_mgr.package.keyring import Keyring
from firmware_mgr.package.layout import EnvelopeKind
from firmware_mgr.package.reader import PackageFile
from firmware_mgr.package.root_trust import RootTrust
from firmware_mgr.package.trust import Trust
from firmware_mgr.packaging import cosign
from firmware_mgr.packaging.keys import load_key

Package = Annotated[Path, typer.Argument(metavar="PACKAGE", help="A package, set or composite image.")]
PrivateKeys = Annotated[list[Path], typer.Option("--key", help="A private key (NAME.key); may be repeated.")]
Root = Annotated[Path | None, typer.Option(help="Judge by this root of trust.")]
Keys = Annotated[Path | None, typer.Option(help="Judge by a folder of trusted public keys (.pem).")]
TakesTest = Annotated[bool, typer.Option("--accept-test", help="Test packages are good, too.")]


def sign_package(
    file: Package,
    *,
    key: PrivateKeys,
    out: Annotated[Path | None, typer.Option(help="Write the signed package here [in place].")] = None,
    passphrase_file: PassphraseFile = None,
    as_json: AsJson = False,
) -> None:
    """Sign a package with all these keys, which are all at hand, in place of whoever signed it before.

    The number of signatures stands in what is signed: to add one, name all keys, or use a sign request.
    """
    keys = [load_key(path, asker(passphrase_file)) for path in key]
    with _to_show(file) as package:
        package.check_content()
        head = _head(file, package.header.head_length)
    target = out or file
    _replace_head(file, len(head), cosign.signed_head(head, keys, str(file)), target)
    _tell(target, sorted(key.id for key in keys), as_json)


def request(
    file: Package,
    *,
    signatures: Annotated[int, typer.Option(help="How many signatures the package shall have.")],
    out: Annotated[Path | None, typer.Option(help="Where [PACKAGE.request].")] = None,
    as_json: AsJson = False,
) -> None:
    """Write what several people are to sign, each on a machine of his own: header and table of contents."""
    with _to_show(file) as package:
        package.check_content()
        made = cosign.request_for(_head(file, package.header.head_length), signatures, str(file))
    target = out or file.with_name(file.name + ".request")
    _write(target, made.encode())
    if as_json:
        typer.echo(json.dumps({"file": str(target), "signatures": signatures}))
        return
    typer.echo(
        f"{target}: for {signatures} signatures. Each signer: fwmgr package sign {target.name} --key KEY"
    )


def sign(
    file: Annotated[Path, typer.Argument(metavar="REQUEST", help="A sign request.")],
    *,
    key: Annotated[Path, typer.Option(help="A private key (NAME.key).")],
    out: Annotated[Path | None, typer.Option(help="Where [REQUEST.KEYNAME.signature].")] = None,
    passphrase_file: PassphraseFile = None,
    as_json: AsJson = False,
) -> None:
    """Show what a request asks to sign, sign it, and write the signature to a file of its own."""
    asked = cosign.SignRequest.decode(_read(file, cosign.MAX_REQUEST), str(file))
    header, contents = parse_header(asked.header, str(file)), asked.contents(str(file))
    if not as_json:
        _show(file, header, contents)
    signing_key = load_key(key, asker(passphrase_file))
    target = out or file.with_name(f"{file.name}.{key.stem}.signature")
    _write(target, cosign.sign_request(asked, signing_key).encode())
    if as_json:
        said = {
            "kind": header.kind.words,
            "name": contents.name,
            "version": contents.version,
            "build_date": contents.build_date,
            "signed_at": signed_contents(header, contents).signed_at,
            "key": signing_key.id,
        }
        typer.echo(json.dumps({"file": str(target), **said}))
        return
    typer.echo(f"signed by {signing_key.id[:12]} as one of {asked.signatures}: {target}")


def seal(
    file: Package,
    signatures: Annotated[list[Path], typer.Argument(metavar="SIGNATURE…", help="Detached signatures.")],
    *,
    out: Annotated[Path | None, typer.Option(help="Write the package here [in place].")] = None,
    root: Root = None,
    keys: Keys = None,
    accept_test: TakesTest = False,
    as_json: AsJson = False,
) -> None:
    """Put detached signatures into a package, in place of those it had; with --root it is verified, too."""
    read = [
        cosign.DetachedSignature.decode(_read(path, cosign.MAX_DETACHED), str(path)) for path in signatures
    ]
    with _to_show(file) as package:
        package.check_content()
        head = _head(file, package.header.head_length)
    target = out or file
    made = cosign.new_head(head, read, str(file))
    trust = None if root is None and keys is None else trust_of(root, keys, takes_test=accept_test)
    _replace_head(file, len(head), made, target, trust)
    _tell(target, sorted(one.key for one in read), as_json)


def trust_of(root: Path | None, keys: Path | None, *, takes_test: bool = False) -> Trust:
    """What packages are judged by at the desk: one of the two. Raises UsageError."""
    if (root is None) == (keys is None):
        hint = "the root of trust: --root var/master/trust/root.json; or a folder of public keys: --keys DIR"
        raise UsageError("say by what to judge", expected="one of --root and --keys", hint=hint)
    if root is not None:
        return RootTrust(read_chain(root).require(str(root)).newest, takes_test)
    assert keys is not None
    return Keyring.from_directory(keys)


def _show(file: Path, header: PackageHeader, contents: TableOfContents | Bundle) -> None:
    """What is signed, as `package inspect` shows it."""
    if isinstance(contents, Bundle):
        show_bundle(Console(), file, describe_bundle(header, contents), None)
    else:
        show_package(Console(), file, describe(header, contents))


def _to_show(file: Path) -> PackageFile | BundleFile:
    """A file of any kind, whoever has signed it."""
    kind = PackageFile if kind_of(file) is EnvelopeKind.PACKAGE else BundleFile
    return kind.open_to_show(file)


def _tell(target: Path, signers: list[str], as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps({"file": str(target), "signed_by": signers}))
        return
    typer.echo(f"{target}: signed by " + ", ".join(key[:12] for key in signers))


def _head(file: Path, length: int) -> bytes:
    return _read(file, length, whole=False)


def _read(file: Path, limit: int, *, whole: bool = True) -> bytes:
    try:
        with file.open("rb") as stream:
            return stream.read(limit + 1 if whole else limit)
    except OSError as e:
        raise UsageError("cannot be read", where=str(file), found=e.strerror) from e


def _write(path: Path, data: bytes) -> None:
    with disk_errors("cannot be written", path):
        write_over(path, data, 0o644)


def _replace_head(source: Path, length: int, head: bytes, target: Path, trust: Trust | None = None) -> None:
    """The package with another head, in place whole or not at all, and only when it is good by `trust`."""
    draft = target.with_name(f".{target.name}.{os.getpid()}")
    with disk_errors("package cannot be written", target):
        try:
            with source.open("rb") as old, draft.open("wb") as new:
                old.seek(length)
                new.write(head)
                shutil.copyfileobj(old, new)
                new.flush()
                os.fsync(new.fileno())
            _check(draft, trust)
            draft.replace(target)
        finally:
            draft.unlink(missing_ok=True)
        sync_directory(target.absolute().parent)


def _check(draft: Path, trust: Trust | None) -> None:
    if trust is None:
        _to_show(draft).close()
        return
    kind = PackageFile if kind_of(draft) is EnvelopeKind.PACKAGE else BundleFile
    kind.open(draft, trust).close()
