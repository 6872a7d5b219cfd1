"""The next version of a root of trust, and changes to it: what the verbs of `fwmgr key root` do.

Pure: chains in, drafts out. Knows that a change drops signatures. Refuses to know files and where keys lie.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from firmware_mgr.model.errors import UsageError
from firmware_mgr.package.keyring import key_id
from firmware_mgr.package.root import ListedKey, RevokedKey, RoleKeys, Root
from firmware_mgr.package.root_chain import RootChain, SignedRoot, signed_message
from firmware_mgr.package.trust import Role
from firmware_mgr.packaging.keys import SigningKey


@dataclass(frozen=True, slots=True)
class Founder:
    """A key of the first root, and what it may do there."""

    key: ListedKey
    roles: frozenset[Role]


def first_draft(founders: Iterable[Founder], thresholds: Mapping[Role, int], issued: int) -> RootChain:
    """An unsigned root of version 1. A key that is named again gets all the roles. Raises UsageError."""
    keys: dict[str, ListedKey] = {}
    holders: dict[Role, set[str]] = {role: set() for role in Role}
    for founder in founders:
        keys.setdefault(founder.key.id, founder.key)
        for role in founder.roles:
            holders[role].add(founder.key.id)
    roles = {role: RoleKeys(frozenset(holders[role]), thresholds.get(role, 1)) for role in Role}
    return RootChain((SignedRoot(Root(1, issued, keys, roles), {}),))


def changed(chain: RootChain, issued: int, **fields: Any) -> RootChain:
    """A draft with these fields of its newest root changed, unsigned: the next version of a whole chain."""
    newest = chain.newest
    if chain.shortfalls:
        draft = replace(newest, issued=max(issued, newest.issued), **fields)
        return RootChain((*chain.roots[:-1], SignedRoot(draft, {})))
    draft = replace(newest, version=newest.version + 1, issued=max(issued, newest.issued), **fields)
    return RootChain((*chain.roots, SignedRoot(draft, {})))


def add_key(chain: RootChain, key: ListedKey, roles: Iterable[Role], issued: int) -> RootChain:
    """List a key, or give a listed one more roles. Raises UsageError, for a revoked key too."""
    root = chain.newest
    if key.id in root.revoked:
        raise UsageError(
            "key is revoked",
            where=f"key {root.revoked[key.id].name}",
            found=root.revoked[key.id].reason,
            hint="make a new key: fwmgr key new NAME",
        )
    wanted = set(roles)
    after = {
        role: replace(held, keys=held.keys | {key.id}) if role in wanted else held
        for role, held in root.roles.items()
    }
    listed = root.keys.get(key.id, key)
    return changed(chain, issued, keys={**root.keys, key.id: listed}, roles=after)


def retire(chain: RootChain, key: str, roles: Iterable[Role], issued: int) -> RootChain:
    """Take a key out of roles; it stays listed, so that what it signed is recognised."""
    return changed(chain, issued, roles=_without(chain.newest, key, set(roles)))


def revoke(chain: RootChain, key: str, reason: str, issued: int) -> RootChain:
    """Nothing that this key has signed counts any more, whenever it was signed."""
    root = chain.newest
    if key in root.revoked:
        raise UsageError("key is revoked already", found=root.revoked[key].reason)
    gone = root.keys[key]
    return changed(
        chain,
        issued,
        keys={name: one for name, one in root.keys.items() if name != key},
        revoked={**root.revoked, key: RevokedKey(gone.public, gone.name, reason)},
        roles=_without(root, key, set(Role)),
    )


def set_threshold(chain: RootChain, role: Role, threshold: int, issued: int) -> RootChain:
    root = chain.newest
    return changed(chain, issued, roles={**root.roles, role: replace(root.roles[role], threshold=threshold)})


def set_window(chain: RootChain, key: str, since: int, until: int | None, issued: int) -> RootChain:
    root = chain.newest
    if key not in root.keys:
        raise UsageError("a revoked key has no window", where=f"key {root.revoked[key].name}")
    listed = replace(root.keys[key], since=since, until=until)
    return changed(chain, issued, keys={**root.keys, key: listed})


def set_minimum(chain: RootChain, name: str, version: str | None, issued: int) -> RootChain:
    """None: there is no minimum for that package any more."""
    after = {other: least for other, least in chain.newest.minimum_versions.items() if other != name}
    if version is not None:
        after[name] = version
    return changed(chain, issued, minimum_versions=after)


def set_earliest(chain: RootChain, moment: int, issued: int) -> RootChain:
    return changed(chain, issued, earliest=moment)


def find_key(root: Root, text: str) -> str:
    """The id of the key that a name, or the first digits of an id, mean. Raises UsageError."""
    listed: dict[str, ListedKey | RevokedKey] = {**root.keys, **root.revoked}
    named = [key for key, one in root.keys.items() if one.name == text]
    found = named or [
        key for key, one in listed.items() if one.name == text or (len(text) >= 8 and key.startswith(text))
    ]
    if len(found) != 1:
        known = ", ".join(sorted(f"{one.name} {key[:12]}" for key, one in listed.items()))
        raise UsageError(
            "no such key" if not found else "more than one key is meant",
            expected=f"a name, or 8 digits of an id: {known}",
            found=text,
        )
    return found[0]


def sign(chain: RootChain, keys: Iterable[SigningKey]) -> RootChain:
    """With these signatures too. Raises UsageError when a key may not sign this root."""
    signed = chain.roots[-1]
    keepers = _keepers(chain)
    signatures = dict(signed.signatures)
    for key in keys:
        if key.id not in keepers:
            known = ", ".join(sorted(f"{name} {key[:12]}" for key, name in keepers.items()))
            raise UsageError(
                "this key may not sign this root",
                where=f"root of trust, version {signed.root.version}",
                expected=f"one of {known}",
                found=f"key {key.id[:12]}",
            )
        signatures[key.id] = key.sign(signed_message(signed))
    return RootChain((*chain.roots[:-1], SignedRoot(signed.root, signatures)))


def join(chain: RootChain, others: Iterable[RootChain]) -> RootChain:
    """The signatures of copies of one draft together. Raises UsageError for copies of something else."""
    signed = chain.roots[-1]
    signatures = dict(signed.signatures)
    for other in others:
        theirs = other.roots[-1]
        if theirs.root.version != signed.root.version or theirs.digest != signed.digest:
            raise UsageError(
                "not copies of one draft",
                expected=f"version {signed.root.version}, {signed.digest.hex()[:12]}",
                found=f"version {theirs.root.version}, {theirs.digest.hex()[:12]}",
                hint="all have to sign the same draft",
            )
        signatures |= theirs.signatures
    return RootChain((*chain.roots[:-1], SignedRoot(signed.root, signatures)))


def missing_keepers(chain: RootChain) -> dict[str, str]:
    """Who could still sign the newest root: id to name."""
    return {key: name for key, name in _keepers(chain).items() if key not in chain.roots[-1].signatures}


def listed(public: bytes, name: str, since: int = 0, until: int | None = None) -> ListedKey:
    """A key as a root lists it; without a name that fits, by the start of its id."""
    try:
        return ListedKey(public, name, since, until)
    except UsageError:
        return ListedKey(public, key_id(public)[:12], since, until)


def _keepers(chain: RootChain) -> dict[str, str]:
    """Who may sign the newest root: keepers of this version and of the one before."""
    found: dict[str, str] = {}
    for signed in chain.roots[-2:]:
        root = signed.root
        found |= {key: root.keys[key].name for key in root.roles[Role.ROOT].keys}
    return found


def _without(root: Root, key: str, roles: set[Role]) -> dict[Role, RoleKeys]:
    """Raises UsageError, by name, when a threshold could not be reached any more."""
    after = {}
    for role, held in root.roles.items():
        keys = held.keys - {key} if role in roles else held.keys
        if keys != held.keys and keys and len(keys) < held.threshold:
            raise UsageError(
                f"role {role.value} would have fewer keys than its threshold",
                expected=f"{held.threshold} keys at least",
                found=len(keys),
                hint=f"add a key first, or lower it: fwmgr key root threshold FILE {role.value} {len(keys)}",
            )
        after[role] = replace(held, keys=keys, threshold=held.threshold if keys else 1)
    return after
