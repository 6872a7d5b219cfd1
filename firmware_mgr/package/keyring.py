"""Which keys are trusted, and whether a signature is by one of them.

Knows raw Ed25519 public keys by their id, the SHA-256 of the key. An empty keyring refuses everything. It is
what there is before a site has a root of trust: each key may release, alone and for ever (SPEC-trust §7).
Refuses to know private keys; what is signed is the caller's business.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Self

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key

from firmware_mgr.model.errors import UsageError
from firmware_mgr.package.errors import PackageRefused
from firmware_mgr.package.trust import Role, SignedPackage

KEYRING_FORMAT = 1
KEY_SIZE = 32
PEM_SUFFIX = ".pem"


def key_id(public: bytes) -> str:
    """The id of a raw public key: its SHA-256 in hex."""
    return hashlib.sha256(public).hexdigest()


@dataclass(frozen=True, slots=True)
class Keyring:
    """Trusted keys: id in hex to raw public key of 32 bytes."""

    keys: Mapping[str, bytes]

    def __post_init__(self) -> None:
        for name, public in self.keys.items():
            if len(public) != KEY_SIZE or key_id(public) != name:
                raise UsageError(
                    "key does not fit its id", where=f"key {name[:12]}", expected=name, found=key_id(public)
                )
        object.__setattr__(self, "keys", MappingProxyType(dict(self.keys)))

    @classmethod
    def load(cls, document: Any) -> Self:
        """Read a keyring document (SPEC-package §7). Raises UsageError: damaged is not empty."""
        try:
            if document["format"] != KEYRING_FORMAT:
                raise UsageError(
                    "keyring of another format", expected=KEYRING_FORMAT, found=document["format"]
                )
            return cls({str(item["id"]): bytes.fromhex(item["public"]) for item in document["keys"]})
        except (KeyError, TypeError, ValueError) as e:
            raise UsageError("not a keyring", expected='{"format": 1, "keys": […]}', found=repr(e)) from e

    @classmethod
    def from_directory(cls, folder: Path) -> Self:
        """The public keys in the `.pem` files of a directory; none is an empty keyring. Raises UsageError."""
        if not folder.is_dir():
            hint = "make a key there: fwmgr key new NAME"
            raise UsageError(
                "no directory of public keys", where=str(folder), expected="a directory", hint=hint
            )
        found = [read_public_key(path) for path in sorted(folder.glob("*" + PEM_SUFFIX))]
        return cls({key_id(public): public for public in found})

    def document(self) -> dict[str, Any]:
        """The keyring as it is carried in boot images."""
        keys = [{"id": name, "public": self.keys[name].hex()} for name in sorted(self.keys)]
        return {"format": KEYRING_FORMAT, "keys": keys}

    def verify(self, key: str, message: bytes, signature: bytes, where: str = "package") -> None:
        """Return when `signature` is by the trusted `key` over `message`; raise PackageRefused otherwise."""
        if not self.keys:
            raise PackageRefused(
                "no key is trusted here, so nothing is",
                where=where,
                expected="a keyring with at least one key",
                found="an empty one",
                hint="boot images carry the keyring; on the desk name a directory of public keys",
            )
        public = self.keys.get(key)
        if public is None:
            known = ", ".join(name[:12] for name in sorted(self.keys))
            raise PackageRefused("signed by an unknown key", where=where, expected=known, found=key[:12])
        try:
            Ed25519PublicKey.from_public_bytes(public).verify(signature, message)
        except (InvalidSignature, ValueError) as e:
            raise PackageRefused(
                "signature is wrong: header or table of contents was altered",
                where=where,
                expected=f"a signature by key {key[:12]}",
                found="one that does not fit",
            ) from e

    def check_signatures(self, signatures: Mapping[str, bytes], message: bytes, where: str) -> None:
        """See Trust."""
        for key, signature in signatures.items():
            self.verify(key, message, signature, where)

    def check_package(self, package: SignedPackage, signers: Collection[str], where: str) -> Role:
        """See Trust: there are no windows, no minimums, and no keys that only test."""
        unknown = sorted(set(signers) - self.keys.keys())
        if unknown or not signers:
            known = ", ".join(name[:12] for name in sorted(self.keys)) or "no key is trusted here"
            found = ", ".join(key[:12] for key in unknown) or "nobody"
            raise PackageRefused("signed by an unknown key", where=where, expected=known, found=found)
        return Role.RELEASE

    def below_minimum(self, package: SignedPackage) -> str:
        """See Trust."""
        return ""

    def held(self) -> Keyring:
        """See Trust."""
        return self


def read_public_key(path: Path) -> bytes:
    """The raw Ed25519 public key of a PEM file. Raises UsageError, also for a private key in its place."""
    try:
        data = path.read_bytes()
        key = load_pem_public_key(data)
    except OSError as e:
        expected = f"a NAME{PEM_SUFFIX} file"
        raise UsageError("no public key", where=str(path), expected=expected, found=e.strerror) from e
    except (ValueError, UnsupportedAlgorithm) as e:
        private = b"PRIVATE KEY" in data
        hint = (
            f"hand out {path.with_suffix(PEM_SUFFIX)}: the private part stays where it is" if private else ""
        )
        raise UsageError(
            "no public key",
            where=str(path),
            expected="PEM, PUBLIC KEY",
            found="a private key" if private else "something else",
            hint=hint,
        ) from e
    if not isinstance(key, Ed25519PublicKey):
        raise UsageError("key of another kind", where=str(path), expected="Ed25519", found=type(key).__name__)
    return key.public_bytes(Encoding.Raw, PublicFormat.Raw)
