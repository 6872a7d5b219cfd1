"""Roots of trust of a small site, made the same each time: two keepers, two who release, one who tests."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from firmware_mgr.package.root import ListedKey, RevokedKey, RoleKeys, Root
from firmware_mgr.package.root_chain import RootChain, SignedRoot, signed_message
from firmware_mgr.package.trust import Role
from firmware_mgr.packaging.keys import SigningKey


def key(name: str) -> SigningKey:
    """The key of that name."""
    return SigningKey(Ed25519PrivateKey.from_private_bytes(name.encode().ljust(32, b".")))


ALICE, BOB, CAROL = key("alice"), key("bob"), key("carol")
RELEASE, SECOND, TESTER = key("release"), key("second"), key("tester")
STRANGER = key("stranger")
NAMES = {
    one.id: name
    for name, one in {
        "alice": ALICE,
        "bob": BOB,
        "carol": CAROL,
        "release": RELEASE,
        "second": SECOND,
        "tester": TESTER,
        "stranger": STRANGER,
    }.items()
}


def listed(one: SigningKey, since: int = 0, until: int | None = None) -> ListedKey:
    return ListedKey(one.public, NAMES[one.id], since, until)


def revoked(one: SigningKey, reason: str = "laptop stolen") -> RevokedKey:
    return RevokedKey(one.public, NAMES[one.id], reason)


def role(*keys: SigningKey, threshold: int = 1) -> RoleKeys:
    return RoleKeys(frozenset(one.id for one in keys), threshold)


def make_root(version: int = 1, **fields: Any) -> Root:
    """Alice and Bob keep it, both together; `release` and `second` release, alone; `tester` tests."""
    root = Root(
        version,
        1_700_000_000 + version,
        {one.id: listed(one) for one in (ALICE, BOB, RELEASE, SECOND, TESTER)},
        {
            Role.ROOT: role(ALICE, BOB, threshold=2),
            Role.RELEASE: role(RELEASE, SECOND),
            Role.TEST: role(TESTER),
        },
    )
    return replace(root, **fields)


def without(root: Root, *gone: SigningKey) -> Root:
    """The root with these keys revoked."""
    ids = {one.id for one in gone}
    roles = {name: replace(held, keys=held.keys - ids) for name, held in root.roles.items()}
    keys = {name: one for name, one in root.keys.items() if name not in ids}
    return replace(root, keys=keys, roles=roles, revoked={one.id: revoked(one) for one in gone})


def signed(root: Root, *signers: SigningKey) -> SignedRoot:
    bare = SignedRoot(root, {})
    return SignedRoot(root, {one.id: one.sign(signed_message(bare)) for one in signers})


def make_chain(*roots: Root, signers: Sequence[SigningKey] = (ALICE, BOB)) -> RootChain:
    """All signed by the same keepers."""
    return RootChain(tuple(signed(root, *signers) for root in roots))
