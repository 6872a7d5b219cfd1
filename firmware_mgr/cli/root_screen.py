"""How a root of trust is shown: as a table for people, as one document for scripts."""

from __future__ import annotations

import json
from typing import Any

import typer
from rich.table import Table
from rich.text import Text

from firmware_mgr.cli.screen import plain, screen
from firmware_mgr.package.root import Root
from firmware_mgr.package.root_chain import BEGIN_ANEW, RootChain
from firmware_mgr.package.root_trust import day, window
from firmware_mgr.package.trust import Role
from firmware_mgr.packaging.root_drafts import missing_keepers

#: From then on people are warned: chains do not become shorter.
NEAR_END = 0.75


def summary(chain: RootChain) -> dict[str, Any]:
    """The newest root, who signed it, and what is missing."""
    return {
        "root": chain.newest.document(),
        "signed_by": sorted(chain.roots[-1].signatures),
        "draft": bool(chain.shortfalls),
        "missing": [
            {"version": one.version, "threshold": one.threshold, "signed": sorted(one.signed)}
            for one in chain.shortfalls
        ],
        "versions": [signed.root.version for signed in chain.roots],
        "used": round(chain.used, 3),
        "versions_left": chain.versions_left,
    }


def near_end(chain: RootChain) -> str:
    """A warning, when little of what a chain may be is left; empty otherwise."""
    if chain.used < NEAR_END:
        return ""
    return (
        f"the chain is {chain.used:.0%} of what it may be, and {chain.versions_left} more versions like this "
        f"one fit; fewer minimums make them shorter; {BEGIN_ANEW}"
    )


def show_root(chain: RootChain, *, as_json: bool = False) -> None:
    if as_json:
        typer.echo(json.dumps(summary(chain), indent=1))
        return
    root, console = chain.newest, screen()
    state = Text("draft", style="yellow") if chain.shortfalls else Text("good", style="green")
    head = Text(f"root of trust version {root.version}, issued {day(root.issued)} UTC: ")
    console.print(head + state)
    console.print(_roles(root))
    console.print(_keys(chain))
    if root.revoked:
        console.print(_revoked(root))
    if root.minimum_versions or root.earliest:
        console.print(_minimums(root))
    for shortfall in chain.shortfalls:
        console.print(f"missing: {shortfall}")
    if chain.shortfalls:
        console.print("who may sign: " + ", ".join(sorted(missing_keepers(chain).values())))
    if near_end(chain):
        console.print(f"warning: {near_end(chain)}")


def _roles(root: Root) -> Table:
    table = Table("role", "threshold", "keys", title="roles", title_justify="left")
    for role in Role:
        held = root.roles[role]
        names = ", ".join(sorted(root.keys[key].name for key in held.keys)) or "none: nothing is accepted"
        table.add_row(role.value, f"{held.threshold} of {len(held.keys)}", names)
    return table


def _keys(chain: RootChain) -> Table:
    root, signed = chain.newest, chain.roots[-1].signatures
    table = Table("key", "id", "roles", "signs packages", "signed this", title="keys", title_justify="left")
    for identifier, key in sorted(root.keys.items(), key=lambda item: item[1].name):
        roles = [role.value for role in Role if identifier in root.roles[role].keys]
        packages = [role for role in roles if role != Role.ROOT.value]
        table.add_row(
            key.name,
            identifier[:12],
            ", ".join(roles) or "retired",
            window(key.since, key.until) if packages else "no",
            "yes" if identifier in signed else "",
        )
    return table


def _revoked(root: Root) -> Table:
    table = Table("key", "id", "reason", title="revoked", title_justify="left")
    for identifier, key in sorted(root.revoked.items(), key=lambda item: item[1].name):
        table.add_row(key.name, identifier[:12], plain(key.reason))
    return table


def _minimums(root: Root) -> Table:
    table = Table("package", "let in from", title="let in from outside", title_justify="left")
    for name, version in sorted(root.minimum_versions.items()):
        table.add_row(name, f"version {version}")
    if root.earliest:
        table.add_row("every package", f"signed {day(root.earliest)} UTC")
    return table
