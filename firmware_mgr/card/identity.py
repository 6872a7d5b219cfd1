"""Who this card is on the link: its key, and the certificate that the site's authority gave it.

The key is made once and lives in the state area; before there is one (pristine flash) it lives in memory.
Knows keys and certificates, not where they are kept.
"""

from __future__ import annotations

import ssl
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.x509.oid import NameOID

from firmware_mgr.model.errors import DeviceError, PeerError, UsageError
from firmware_mgr.model.ids import SlotId

#: Names of the documents in the state area.
KEY_DOCUMENT = "identity/key"
CERTIFICATE_DOCUMENT = "identity/certificate"
#: What stands before the slot in the certificate's name.
_SLOT_URI = "fwmgr:slot/"


@dataclass(frozen=True, slots=True)
class Identity:
    """`key_pem` is PKCS#8; `certificate_pem` is None until the master has enrolled us.

    `kept` says that the key came from flash: a card that shows a fresh key is new, or has lost its state.
    """

    key_pem: bytes
    certificate_pem: bytes | None
    kept: bool

    @classmethod
    def generate(cls) -> Identity:
        key = Ed25519PrivateKey.generate()
        pem = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return cls(pem, None, kept=False)

    @classmethod
    def from_documents(cls, documents: Mapping[str, bytes]) -> Identity | None:
        """The identity kept in the state area, or None when there is none that can be used."""
        key = documents.get(KEY_DOCUMENT)
        if key is None:
            return None
        try:
            serialization.load_pem_private_key(key, None)
        except ValueError:
            return None
        return cls(key, documents.get(CERTIFICATE_DOCUMENT), kept=True)

    def documents(self) -> dict[str, bytes | None]:
        return {KEY_DOCUMENT: self.key_pem, CERTIFICATE_DOCUMENT: self.certificate_pem}

    def with_certificate(self, pem: bytes) -> Identity:
        return Identity(self.key_pem, pem, self.kept)

    @property
    def slot(self) -> SlotId | None:
        """The slot that the certificate names; None without a certificate."""
        if self.certificate_pem is None:
            return None
        try:
            (name,) = _slot_names(x509.load_pem_x509_certificate(self.certificate_pem))
            return SlotId.parse(name)
        except (ValueError, UsageError, x509.ExtensionNotFound) as e:
            raise PeerError("certificate names no slot", where="own certificate", found=e) from e

    def fitting(self, authority: Path, slot: SlotId | None) -> Identity:
        """Without the certificate unless it is this authority's, for this slot (None: any) and our key."""
        if self.certificate_pem is None or _is_certified(self.certificate_pem, self.key_pem, authority, slot):
            return self
        return Identity(self.key_pem, None, self.kept)

    def signing_request(self, slot: SlotId | None) -> str:
        """A PKCS#10 request (RFC 2986) for our key, as PEM."""
        key = serialization.load_pem_private_key(self.key_pem, None)
        if not isinstance(key, Ed25519PrivateKey):
            raise DeviceError("card key has the wrong type", expected="Ed25519", found=type(key).__name__)
        name = x509.Name(
            [
                x509.NameAttribute(
                    NameOID.COMMON_NAME, "card" if slot is None else f"slot-{str(slot).replace('/', '-')}"
                )
            ]
        )
        request = x509.CertificateSigningRequestBuilder().subject_name(name).sign(key, None)
        return request.public_bytes(serialization.Encoding.PEM).decode()


def _slot_names(certificate: x509.Certificate) -> list[str]:
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    uris = names.get_values_for_type(x509.UniformResourceIdentifier)
    return [uri.removeprefix(_SLOT_URI) for uri in uris if uri.startswith(_SLOT_URI)]


def _is_certified(pem: bytes, key_pem: bytes, authority: Path, slot: SlotId | None) -> bool:
    try:
        certificate = x509.load_pem_x509_certificate(pem)
        issuer = x509.load_pem_x509_certificate(authority.read_bytes()).public_key()
        slots = _slot_names(certificate)
        if not isinstance(issuer, Ed25519PublicKey):
            return False
        issuer.verify(certificate.signature, certificate.tbs_certificate_bytes)
        key = serialization.load_pem_private_key(key_pem, None)
        same_key = isinstance(key, Ed25519PrivateKey) and _raw(key.public_key()) == _raw(
            certificate.public_key()
        )
        return same_key and len(slots) == 1 and slot in (None, SlotId.parse(slots[0]))
    except (
        ValueError,
        InvalidSignature,
        UnsupportedAlgorithm,
        x509.ExtensionNotFound,
        UsageError,
        OSError,
    ):
        return False


def _raw(key: object) -> bytes:
    if not isinstance(key, Ed25519PublicKey):
        return b""
    return key.public_bytes(serialization.Encoding.Raw, serialization.PublicFormat.Raw)


def client_context(authority: Path, identity: Identity | None) -> ssl.SSLContext:
    """TLS 1.3 towards the master. Only the authority in the boot image is trusted; the clock decides nothing,
    since that authority's certificates are valid from 1970 on. Raises PeerError for an unusable certificate.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.load_verify_locations(cafile=str(authority))
    if identity is not None and identity.certificate_pem is not None:
        with tempfile.NamedTemporaryFile(suffix=".pem") as file:  # /tmp is RAM on a card
            file.write(identity.key_pem + identity.certificate_pem)
            file.flush()
            try:
                context.load_cert_chain(file.name)
            except ssl.SSLError as e:
                raise PeerError("card certificate does not fit the card's key", found=str(e)) from e
    return context
