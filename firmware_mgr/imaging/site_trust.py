"""What a boot image makes its card believe: the site's authority, and the keys that may sign packages.

Knows the two public files of a site. Knows no private key, and not where they come from.
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

from firmware_mgr.imaging.rootfs import trust_file
from firmware_mgr.model.errors import UsageError
from firmware_mgr.model.ids import Digest
from firmware_mgr.package.keyring import Keyring


@dataclass(frozen=True, slots=True)
class SiteTrust:
    """`authority`: SHA-256 of its public key (SubjectPublicKeyInfo, DER). `keys`: ids of package keys."""

    authority: Digest
    keys: tuple[str, ...]

    def document(self) -> dict[str, Any]:
        return {"authority": self.authority.hex, "keys": list(self.keys)}

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Self:
        keys = tuple(sorted(Digest(str(key)).hex for key in document["keys"]))
        return cls(Digest(str(document["authority"])), keys)


def read_site_trust(folder: Path) -> SiteTrust:
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
    return SiteTrust(Digest.of(spki), tuple(sorted(keyring.keys)))
