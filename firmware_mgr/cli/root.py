"""`fwmgr key root`: the root of trust: begin it, change it, have it signed, show it, adopt it.

Knows the options, where drafts are written, and words. What a change means is `packaging.root_drafts`.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from firmware_mgr.cli.key_passphrase import PassphraseFile, asker
from firmware_mgr.cli.master import DEFAULT_DIRECTORY, AsJson, Directory
from firmware_mgr.cli.moments import moment
from firmware_mgr.cli.root_screen import near_end, show_root, summary
from firmware_mgr.master.files import disk_errors, write_new, write_over
from firmware_mgr.master.site import MasterPaths
from firmware_mgr.master.site_root import adopt_root
from firmware_mgr.model.errors import UsageError
from firmware_mgr.package.keyring import PEM_SUFFIX, read_public_key
from firmware_mgr.package.root_chain import MAX_CHAIN, RootChain
from firmware_mgr.package.root_trust import day
from firmware_mgr.package.trust import Role
from firmware_mgr.packaging import root_drafts as drafts
from firmware_mgr.packaging.keys import load_key

app = typer.Typer(help="The root of trust: which keys may sign what.", no_args_is_help=True)

File = Annotated[Path, typer.Argument(metavar="FILE", help="A root document: a whole one, or a draft.")]
Key = Annotated[str, typer.Argument(metavar="KEY", help="A key's name, or the first 8 digits of its id.")]
Roles = Annotated[list[Role], typer.Option("--role", help="What it may do; may be repeated.")]
Out = Annotated[
    Path | None,
    typer.Option(help="Write the draft here [a draft in place; else root-VERSION.json beside FILE]."),
]
Publics = Annotated[list[Path] | None, typer.Option(metavar="PEM", help="A public key; may be repeated.")]

#: What `--until` and `minimum` take for "no such bound".
NONE = "none"


@app.command()
def init(
    out: Annotated[Path, typer.Argument(metavar="FILE", help="Where the draft is written.")],
    *,
    root: Publics = None,
    release: Publics = None,
    test: Publics = None,
    present: Annotated[
        Path | None,
        typer.Option(help="A folder of public keys that release today, such as var/master/package-keys."),
    ] = None,
    root_threshold: Annotated[int, typer.Option(help="How many root keys it takes.")] = 1,
    release_threshold: Annotated[int, typer.Option(help="How many release keys it takes.")] = 1,
    test_threshold: Annotated[int, typer.Option(help="How many test keys it takes.")] = 1,
    as_json: AsJson = False,
) -> None:
    """Begin a root of trust: a draft of version 1, to be signed by its root keys."""
    today = sorted(present.glob("*" + PEM_SUFFIX)) if present is not None else []
    if present is not None and not today:
        raise UsageError("no public keys", where=str(present), expected=f"*{PEM_SUFFIX} files")
    named = (
        (Role.ROOT, root or []),
        (Role.RELEASE, [*today, *(release or [])]),
        (Role.TEST, test or []),
    )
    founders = [
        drafts.Founder(drafts.listed(read_public_key(path), path.stem), frozenset({role}))
        for role, paths in named
        for path in paths
    ]
    if not root:
        hint = "make them with fwmgr key new NAME, and keep them apart from the keys that release"
        raise UsageError("a root of trust needs root keys", expected="--root NAME.pem", hint=hint)
    thresholds = {Role.ROOT: root_threshold, Role.RELEASE: release_threshold, Role.TEST: test_threshold}
    chain = drafts.first_draft(founders, thresholds, int(time.time()))
    _write(out, chain, new=True)
    _tell(out, chain, as_json)


@app.command()
def show(file: File, as_json: AsJson = False) -> None:
    """The newest root in a file: roles, thresholds, windows, revoked keys, minimums; who has signed it."""
    show_root(read_chain(file), as_json=as_json)


@app.command("add-key")
def add_key(
    file: File,
    public: Annotated[Path, typer.Argument(metavar="PEM", help="The public key.")],
    *,
    role: Roles,
    since: Annotated[str, typer.Option(help="What it signs counts from then on: 2025-06-01.")] = "@0",
    until: Annotated[str, typer.Option(help="… and before then.")] = NONE,
    name: Annotated[str | None, typer.Option(help="How it is called [the file's name].")] = None,
    out: Out = None,
    as_json: AsJson = False,
) -> None:
    """List a key in one or more roles."""
    key = drafts.listed(read_public_key(public), name or public.stem, moment(since), _until(until))
    _change(file, out, as_json, lambda chain, now: drafts.add_key(chain, key, role, now))


@app.command()
def retire(file: File, key: Key, *, role: Roles, out: Out = None, as_json: AsJson = False) -> None:
    """Take a key out of roles. What it signed does not count any more from this version on."""
    _change(
        file,
        out,
        as_json,
        lambda chain, now: drafts.retire(chain, drafts.find_key(chain.newest, key), role, now),
    )


@app.command()
def revoke(
    file: File,
    key: Key,
    *,
    reason: Annotated[str, typer.Option(help="Why: everybody will read it.")],
    out: Out = None,
    as_json: AsJson = False,
) -> None:
    """Nothing that this key has signed counts any more, whenever it was signed."""
    _change(
        file,
        out,
        as_json,
        lambda chain, now: drafts.revoke(chain, drafts.find_key(chain.newest, key), reason, now),
    )


@app.command()
def threshold(
    file: File,
    role: Annotated[Role, typer.Argument(help="root, release or test.")],
    number: Annotated[int, typer.Argument(help="How many of its keys it takes.")],
    *,
    out: Out = None,
    as_json: AsJson = False,
) -> None:
    """How many keys of a role have to sign."""
    _change(file, out, as_json, lambda chain, now: drafts.set_threshold(chain, role, number, now))


@app.command()
def window(
    file: File,
    key: Key,
    *,
    since: Annotated[str, typer.Option(help="What it signs counts from then on: 2025-06-01.")] = "@0",
    until: Annotated[str, typer.Option(help="… and before then; `none` for no end.")] = NONE,
    out: Out = None,
    as_json: AsJson = False,
) -> None:
    """From when to when a key may sign packages, by the package's own signing time."""
    start, end = moment(since), _until(until)
    _change(
        file,
        out,
        as_json,
        lambda chain, now: drafts.set_window(chain, drafts.find_key(chain.newest, key), start, end, now),
    )


@app.command()
def minimum(
    file: File,
    name: Annotated[str, typer.Argument(metavar="PACKAGE", help="A package's name.")],
    version: Annotated[str, typer.Argument(help="The least version that is let in; `none` for no bound.")],
    *,
    out: Out = None,
    as_json: AsJson = False,
) -> None:
    """The least version of a package that is let in from outside."""
    least = None if version == NONE else version
    _change(file, out, as_json, lambda chain, now: drafts.set_minimum(chain, name, least, now))


@app.command()
def earliest(
    file: File,
    when: Annotated[str, typer.Argument(metavar="MOMENT", help="2025-06-01; @0 for no bound.")],
    *,
    out: Out = None,
    as_json: AsJson = False,
) -> None:
    """What was signed before this is not let in from outside."""
    bound = moment(when)
    _change(file, out, as_json, lambda chain, now: drafts.set_earliest(chain, bound, now))


@app.command()
def sign(
    file: File,
    *,
    key: Annotated[list[Path], typer.Option(help="A private key (NAME.key); may be repeated.")],
    passphrase_file: PassphraseFile = None,
    out: Annotated[Path | None, typer.Option(help="Write the signed draft here [in place].")] = None,
    as_json: AsJson = False,
) -> None:
    """Sign the newest root of a draft. Look at it first: fwmgr key root show FILE."""
    keys = [load_key(path, asker(passphrase_file)) for path in key]
    chain = drafts.sign(read_chain(file), keys)
    _write(out or file, chain, new=out is not None)
    _tell(out or file, chain, as_json)


@app.command()
def join(
    file: File,
    copies: Annotated[list[Path], typer.Argument(metavar="COPY…", help="Copies that others have signed.")],
    *,
    as_json: AsJson = False,
) -> None:
    """Bring the signatures of copies of one draft together, in FILE."""
    chain = drafts.join(read_chain(file), [read_chain(copy) for copy in copies])
    _write(file, chain, new=False)
    _tell(file, chain, as_json)


@app.command()
def adopt(
    file: File,
    *,
    start_over: Annotated[
        bool, typer.Option("--start-over", help="Also when it does not follow the present one.")
    ] = False,
    directory: Directory = DEFAULT_DIRECTORY,
    as_json: AsJson = False,
) -> None:
    """Make it the master's root of trust, when its signatures allow it."""
    chain = read_chain(file)
    adopted = adopt_root(MasterPaths(directory.absolute()), chain, start_over=start_over)
    _warn(chain)
    if as_json:
        typer.echo(
            json.dumps({"file": str(adopted.file), "version": adopted.version, "before": adopted.before})
        )
        return
    before = "no root before" if adopted.before is None else f"before: version {adopted.before}"
    typer.echo(f"root of trust version {adopted.version}: {adopted.file} ({before})")
    if adopted.put_aside is not None:
        typer.echo(f"the keys that were trusted until now lie in {adopted.put_aside}")
    typer.echo("cards that believe an earlier version follow when they are burned next")
    typer.echo(f"boot images that are built now carry it: --trust {adopted.file.parent}")


def read_chain(path: Path) -> RootChain:
    """Raises UsageError when there is no such file, RootRefused when it is none."""
    try:
        with path.open("rb") as stream:
            data = stream.read(MAX_CHAIN + 1)
    except OSError as e:
        raise UsageError(
            "root of trust cannot be read",
            where=str(path),
            expected="a root document",
            found=e.strerror,
            hint="begin one with: fwmgr key root init FILE --root NAME.pem",
        ) from e
    return RootChain.decode(data, str(path))


def _change(file: Path, out: Path | None, as_json: bool, work: Callable[[RootChain, int], RootChain]) -> None:
    chain = read_chain(file)
    draft = work(chain, int(time.time()))
    target = out or (file if chain.shortfalls else file.with_name(f"root-{draft.newest.version}.json"))
    _write(target, draft, new=target != file)
    _tell(target, draft, as_json)


def _write(path: Path, chain: RootChain, *, new: bool) -> None:
    with disk_errors("root document cannot be written", path):
        if not new:
            write_over(path, chain.encode(), 0o644)
            return
        try:
            write_new(path, chain.encode(), 0o644)
        except FileExistsError as e:
            hint = "name that draft to change it, or another place: --out FILE"
            raise UsageError("there is a file already", where=str(path), hint=hint) from e


def _tell(path: Path, chain: RootChain, as_json: bool) -> None:
    _warn(chain)
    if as_json:
        typer.echo(json.dumps({"file": str(path), **summary(chain)}))
        return
    root = chain.newest
    typer.echo(f"{path}: root of trust version {root.version}, issued {day(root.issued)} UTC")
    if not chain.shortfalls:
        typer.echo("signed by all that it takes: fwmgr key root adopt " + str(path))
        return
    for shortfall in chain.shortfalls:
        typer.echo(f"draft: {shortfall}")
    typer.echo("who may sign: " + ", ".join(sorted(drafts.missing_keepers(chain).values())))


def _warn(chain: RootChain) -> None:
    if warning := near_end(chain):
        typer.echo(f"warning: {warning}", err=True)


def _until(text: str) -> int | None:
    return None if text == NONE else moment(text)
