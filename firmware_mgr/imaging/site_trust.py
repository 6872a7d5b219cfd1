"""What a boot image makes its card believe: the site's authority, and the keys that may sign packages.

Knows the public files of a site. Knows no private key, and not where they come from.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from firmware_mgr.imaging.rootfs import ROOT_FILE, trust_file
from firmware_mgr.model.errors import UsageError
from firmware_mgr.model.ids import Digest
from firmware_mgr.package.keyring import Keyring
from firmware_mgr.package.root import Root, RootRefused
from firmware_mgr.package.root_chain import RootChain


@dataclass(frozen=True, slots=True)
class SiteTrust:
    """`authority`: SHA-256 of its public key (SubjectPublicKeyInfo, DER). `keys`: ids of package keys.

    `root`: the newest root of trust, where the site has one; `takes_test`: the card takes test packages.
    """

    authority: Digest
    keys: tuple[str, ...]
    root: Root | None = None
    takes_test: bool = False

    def document(self) -> dict[str, Any]:
        document: dict[str, Any] = {"authority": self.authority.hex, "keys": list(self.keys)}
        if self.root is not None:
            document["root"] = self.root.document()
        return {**document, "takes_test": True} if self.takes_test else document

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Self:
        keys = tuple(sorted(Digest(str(key)).hex for key in document["keys"]))
        root = Root.from_document(document["root"]) if "root" in document else None
        return cls(Digest(str(document["authority"])), keys, root, document.get("takes_test") is True)


def read_site_trust(folder: Path, *, takes_test: bool = False) -> SiteTrust:
    """Raises UsageError when a file is missing or is not what a card can use."""
    certificate, keys = (trust_file(folder, name) for name in ("authority.pem", "keys.json"))
    hint = "write it with: fwmgr master trust"
    try:
        key = x509.load_pem_x509_certificate(certificate).public_key()
        spki = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    except (ValueError, UnsupportedAlgorithm) as e:
        where = str(folder / "authority.pem")
        raise UsageError(
            "not a certificate", where=where, expected="the authority's, as PEM", found=str(e), hint=hint
        ) from e
    where = str(folder / "keys.json")
    try:
        keyring = Keyring.load(json.loads(keys))
    except (ValueError, UsageError) as e:
        raise UsageError("not a keyring", where=where, found=str(e), hint=hint) from e
    return SiteTrust(Digest.of(spki), tuple(sorted(keyring.keys)), _root(folder, takes_test), takes_test)


def _root(folder: Path, takes_test: bool) -> Root | None:
    path = folder / ROOT_FILE
    if not path.exists():
        if takes_test:
            hint = "begin a root of trust with a test key: fwmgr key root init"
            raise UsageError("a site without a root has no test packages", where=str(path), hint=hint)
        return None
    where = str(path)
    try:
        return RootChain.decode(trust_file(folder, ROOT_FILE), where).require(where).newest
    except RootRefused as e:
        hint = e.hint or "adopt a good one: fwmgr key root adopt FILE"
        raise UsageError(e.what, where=e.where, expected=e.expected, found=e.found, hint=hint) from e
