"""The site's root of trust on the master: replaced when its signatures allow it, and what follows from it.

Knows the file, and that all is checked before anything is written (SPEC-trust §4, §7). Refuses to know who
asks.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from firmware_mgr.master.files import disk_errors, make_directories, sync_directory, write_over
from firmware_mgr.master.site import MasterPaths, write_trust
from firmware_mgr.model.errors import UsageError
from firmware_mgr.package.keyring import PEM_SUFFIX, Keyring
from firmware_mgr.package.root import RootRefused
from firmware_mgr.package.root_chain import RootChain, newer_chain
from firmware_mgr.package.root_trust import RootTrust
from firmware_mgr.package.trust import Trust

#: Where public keys lie that were trusted before there was a root.
ASIDE = "before-root"


@dataclass(frozen=True, slots=True)
class Adopted:
    """`before`: the version that was there; `put_aside`: the folder of keys that a first root replaced."""

    file: Path
    version: int
    before: int | None
    put_aside: Path | None


def adopt_root(paths: MasterPaths, offered: RootChain, *, start_over: bool = False) -> Adopted:
    """Put it in the place of the present one. May be done twice. Raises UsageError or RootRefused.

    `start_over`: also when it does not follow the present one, or that cannot be read any more.
    """
    offered.require("offered root of trust")
    present = _present(paths, start_over)
    if present is not None:
        _check_follows(paths, present, offered, start_over)
    paths.make()
    with disk_errors("cannot replace the root of trust", paths.root):
        write_over(paths.root, offered.encode(), 0o644)
        put_aside = _put_keys_aside(paths)
    write_trust(paths)
    before = None if present is None else present.newest.version
    return Adopted(paths.root, offered.newest.version, before, put_aside)


def site_trust(paths: MasterPaths, *, takes_test: bool = False) -> Trust:
    """Whose packages the master accepts now. Raises RootRefused for a root that is damaged."""
    chain = paths.read_root()
    if chain is None:
        return Keyring.from_directory(paths.keys)
    return RootTrust(chain.newest, takes_test)


def _present(paths: MasterPaths, start_over: bool) -> RootChain | None:
    try:
        return paths.read_root()
    except RootRefused:
        if start_over:
            return None
        raise


def _check_follows(paths: MasterPaths, present: RootChain, offered: RootChain, start_over: bool) -> None:
    newer = None if start_over else newer_chain(present, offered, "offered root of trust")
    if newer is None and not start_over:
        raise UsageError(
            "root of trust does not follow the site's present one",
            where=str(paths.root),
            expected=f"one that begins like version {present.newest.version}",
            found=f"version {offered.newest.version} of another line",
            hint="change the present one: fwmgr key root … FILE; or begin anew: --start-over",
        )
    if newer is present and offered.newest.version < present.newest.version:
        raise UsageError(
            "root of trust is older than the site's present one",
            where=str(paths.root),
            expected=f"version {present.newest.version} or later",
            found=f"version {offered.newest.version}",
            hint="an old root never comes back: make a new version that says the same",
        )


def _put_keys_aside(paths: MasterPaths) -> Path | None:
    """The flat keys of before: no key at all is what shall be left if the root is ever lost."""
    keys = sorted(paths.keys.glob("*" + PEM_SUFFIX))
    if not keys:
        return None
    aside = paths.keys / ASIDE
    make_directories(aside, 0o700)
    for key in keys:
        key.replace(aside / key.name)
    sync_directory(aside)
    sync_directory(paths.keys)
    return aside
