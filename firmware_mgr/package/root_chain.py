"""All roots from the first one known to the newest, each with its signatures; and which chain is believed.

Knows what is signed, and when a root follows another (SPEC-trust §1, §3, §4). Refuses to know files and what
roots are good for.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from types import MappingProxyType
from typing import Any, Final, Self

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from firmware_mgr.model.software import canonical_json
from firmware_mgr.package import strict_json
from firmware_mgr.package.root import Root, RootRefused
from firmware_mgr.package.trust import Role

CHAIN_FORMAT: Final = 1
MAX_CHAIN: Final = 512 * 1024
MAX_ROOT: Final = 64 * 1024
MAX_ROOTS: Final = 256
SIGNATURE_SIZE: Final = 64
#: What is left to do with a chain that has come to its end.
BEGIN_ANEW: Final = (
    "a chain ends there, and the site begins anew (SPEC-trust §1): fwmgr key root init, "
    "fwmgr key root adopt --start-over, new boot images, fwmgr burn-all"
)
#: What a signature of a root begins with, so that it can be none of a package (SPEC-package §3).
CONTEXT: Final = b"fwmgr root of trust, format 1\0"
assert len(CONTEXT) == 30


@dataclass(frozen=True, slots=True)
class SignedRoot:
    """A root, and signatures by key id. That they are right is known only of those in a chain."""

    root: Root
    signatures: Mapping[str, bytes]

    def __post_init__(self) -> None:
        object.__setattr__(self, "signatures", MappingProxyType(dict(self.signatures)))

    @property
    def digest(self) -> bytes:
        """What is signed, without the context."""
        return hashlib.sha256(canonical_json(self.root.document())).digest()

    def document(self) -> dict[str, Any]:
        return {
            "root": self.root.document(),
            "signatures": {key: value.hex() for key, value in self.signatures.items()},
        }


@dataclass(frozen=True, slots=True)
class Shortfall:
    """A threshold that a root has not reached: of which root's keepers, how many of them, and who signed."""

    version: int
    threshold: int
    signed: frozenset[str]

    def __str__(self) -> str:
        return f"{len(self.signed)} of {self.threshold} signatures by root keys of version {self.version}"


@dataclass(frozen=True, slots=True)
class RootChain:
    """Every signature in it is right, and every root but perhaps the newest has all that it needs.

    A chain whose newest root has not is a *draft*: see `shortfalls`.
    """

    roots: tuple[SignedRoot, ...]

    def __post_init__(self) -> None:
        if not 1 <= len(self.roots) <= MAX_ROOTS:
            raise RootRefused(
                "not a chain of roots",
                expected=f"1 to {MAX_ROOTS}",
                found=len(self.roots),
                hint=BEGIN_ANEW if self.roots else "",
            )
        for before, after in pairwise((None, *self.roots)):
            assert after is not None
            _check_size(after)
            _check_step(None if before is None else before.root, after)
            _check_signatures(None if before is None else before.root, after)
        for index in range(len(self.roots) - 1):
            _check_reached(self._shortfalls(index), self.roots[index].root.version)
        length = len(self.encode())
        if length > MAX_CHAIN:
            raise RootRefused(
                "chain of roots is too long",
                where=f"root of trust, version {self.newest.version}",
                expected=f"{MAX_CHAIN} bytes at most",
                found=length,
                hint=BEGIN_ANEW,
            )

    @property
    def newest(self) -> Root:
        return self.roots[-1].root

    @property
    def used(self) -> float:
        """How much of what a chain may be this one is, from 0 to 1: of the bytes or of the versions."""
        return max(len(self.encode()) / MAX_CHAIN, len(self.roots) / MAX_ROOTS)

    @property
    def versions_left(self) -> int:
        """How many more versions fit that are as long as the newest."""
        another = len(strict_json.encode(self.roots[-1].document()))
        return min((MAX_CHAIN - len(self.encode())) // another, MAX_ROOTS - len(self.roots))

    @property
    def shortfalls(self) -> tuple[Shortfall, ...]:
        """The thresholds that the newest root has not reached; none when it is to be believed."""
        return self._shortfalls(len(self.roots) - 1)

    def _shortfalls(self, index: int) -> tuple[Shortfall, ...]:
        judges = [signed.root for signed in self.roots[max(0, index - 1) : index + 1]]
        found = []
        for judge in judges:
            role = judge.roles[Role.ROOT]
            signed = frozenset(self.roots[index].signatures) & role.keys
            if len(signed) < role.threshold:
                found.append(Shortfall(judge.version, role.threshold, signed))
        return tuple(found)

    def require(self, where: str = "root of trust") -> Self:
        """The chain, when it is no draft. Raises RootRefused."""
        _check_reached(self.shortfalls, self.newest.version, where)
        return self

    def encode(self) -> bytes:
        roots = [signed.document() for signed in self.roots]
        return strict_json.encode({"format": CHAIN_FORMAT, "roots": roots})

    @classmethod
    def decode(cls, data: bytes, where: str = "root of trust") -> Self:
        """A chain or a draft of one. Raises RootRefused for whatever is not exactly that."""
        try:
            document = strict_json.decode(data, MAX_CHAIN)
            if not isinstance(document, dict) or document.keys() != {"format", "roots"}:
                raise ValueError("not an object with format and roots")
            if type(document["format"]) is not int or document["format"] != CHAIN_FORMAT:
                raise RootRefused(
                    "root of trust of another format",
                    where=where,
                    expected=CHAIN_FORMAT,
                    found=document["format"],
                    hint="a newer fwmgr may know it",
                )
            if not isinstance(document["roots"], list):
                raise ValueError("roots are no list")
            return cls(tuple(_signed_root(item, where) for item in document["roots"][: MAX_ROOTS + 1]))
        except ValueError as e:
            raise RootRefused("not a root of trust", where=where, found=str(e)) from e


def signed_message(root: SignedRoot) -> bytes:
    """The bytes that a keeper signs."""
    return CONTEXT + root.digest


def newer_chain(known: RootChain, offered: RootChain, where: str = "root of trust") -> RootChain | None:
    """The one that is believed by who knows one and is offered another; None when they are not of one line.

    Raises RootRefused for a draft, and when two roots of one version were signed.
    """
    known.require(where)
    offered.require(where)
    have = {signed.root.version: signed.digest for signed in known.roots}
    shared = [signed for signed in offered.roots if signed.root.version in have]
    other = [signed for signed in shared if have[signed.root.version] != signed.digest]
    if not shared or len(other) == len(shared):
        return None
    if other:
        raise RootRefused(
            "two different roots of trust have the same version",
            where=f"{where}, version {other[0].root.version}",
            expected=have[other[0].root.version].hex()[:12],
            found=other[0].digest.hex()[:12],
            hint="both were signed by keepers of root keys: find out which is meant, and follow that one",
        )
    return offered if offered.newest.version > known.newest.version else known


def _signed_root(item: Any, where: str) -> SignedRoot:
    if not isinstance(item, dict) or item.keys() != {"root", "signatures"}:
        raise ValueError("not an object with root and signatures")
    signatures = item["signatures"]
    if not isinstance(signatures, dict) or not all(isinstance(value, str) for value in signatures.values()):
        raise ValueError("signatures are no object of texts")
    raw = {key: bytes.fromhex(value) for key, value in signatures.items()}
    if any(value.hex() != signatures[key] for key, value in raw.items()):
        raise ValueError("hex digits are not in the canonical form")
    return SignedRoot(Root.from_document(item["root"], where), raw)


def _check_size(signed: SignedRoot) -> None:
    length = len(canonical_json(signed.root.document()))
    if length > MAX_ROOT:
        raise RootRefused(
            "root of trust is too long",
            where=f"version {signed.root.version}",
            expected=f"{MAX_ROOT} bytes at most",
            found=length,
        )


def _check_step(before: Root | None, after: SignedRoot) -> None:
    root, where = after.root, f"root of trust, version {after.root.version}"
    if root.version == 0:
        raise RootRefused("a flat keyring is no root that could be signed", where=where)
    if before is None:
        return
    if root.version != before.version + 1:
        raise RootRefused(
            "roots do not follow each other",
            where=where,
            expected=f"version {before.version + 1} after {before.version}",
            found=root.version,
        )
    if root.issued < before.issued:
        raise RootRefused(
            "root was issued before the one that it follows",
            where=where,
            expected=f"{before.issued} or later",
            found=root.issued,
        )


def _check_signatures(before: Root | None, after: SignedRoot) -> None:
    """Every signature that stands there is by a keeper of this version or the one before, and right."""
    where = f"root of trust, version {after.root.version}"
    message = signed_message(after)
    for key, signature in after.signatures.items():
        judge = next(
            (one for one in (after.root, before) if one is not None and key in one.roles[Role.ROOT].keys),
            None,
        )
        if judge is None:
            raise RootRefused(
                "signed by a key that may not sign roots",
                where=where,
                expected="root keys of this version or the one before",
                found=key[:12],
            )
        try:
            if len(signature) != SIGNATURE_SIZE:
                raise ValueError("another length")
            Ed25519PublicKey.from_public_bytes(judge.keys[key].public).verify(signature, message)
        except (InvalidSignature, ValueError) as e:
            raise RootRefused(
                "signature is wrong: the root was altered after it was signed",
                where=where,
                expected=f"a signature by key {judge.keys[key].name} {key[:12]}",
                found="one that does not fit",
            ) from e


def _check_reached(shortfalls: tuple[Shortfall, ...], version: int, where: str = "root of trust") -> None:
    if shortfalls:
        raise RootRefused(
            "not signed by enough keepers of root keys",
            where=f"{where}, version {version}",
            expected="the threshold of the version before, and its own",
            found="; ".join(str(one) for one in shortfalls),
            hint="who is missing: fwmgr key root show FILE; they sign: fwmgr key root sign FILE --key KEY",
        )
