"""The site's authority: who is a card and who is the master, on the link; and the key that signs the record.

Knows X.509 (RFC 5280), keys and the files they lie in. Knows no catalogue and does not decide who is let in.
Certificates are valid from 1970 to 9999: a card has no clock to judge them by (design, choice 4). What has to
be revoked is revoked by the slot's pinned fingerprint.
"""

from __future__ import annotations

import datetime as dt
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from cryptography import x509
from cryptography.exceptions import InternalError, InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.types import PUBLIC_KEY_TYPES
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from firmware_mgr.link.messages import MASTER_NAME
from firmware_mgr.master.files import disk_errors, make_directories, write_new
from firmware_mgr.master.private_keys import create_private_key, load_private_key
from firmware_mgr.model.errors import PeerError, UsageError
from firmware_mgr.model.ids import Digest, SlotId

AUTHORITY_KEY: Final = "authority.key"
AUTHORITY_CERTIFICATE: Final = "authority.crt"
SERVER_KEY: Final = "master.key"
SERVER_CERTIFICATE: Final = "master.crt"
RECORD_KEY: Final = "record.key"

NOT_BEFORE: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
NOT_AFTER: Final = dt.datetime(
    9999, 12, 31, 23, 59, 59, tzinfo=dt.UTC
)  # "no well-defined expiration", RFC 5280 §4.1.2.5

_SLOT_URI: Final = "fwmgr:slot/"


@dataclass(frozen=True, slots=True)
class Authority:
    """The authority with all its files in one directory, which nobody else may write to."""

    directory: Path
    certificate: x509.Certificate
    _key: Ed25519PrivateKey

    @classmethod
    def load(cls, directory: Path) -> Self:
        """Raises UsageError when there is none or its key is not private, DeviceError when the disk fails."""
        path = directory / AUTHORITY_CERTIFICATE
        with disk_errors("cannot read the authority's certificate", path):
            try:
                pem = path.read_bytes()
            except FileNotFoundError as e:
                raise UsageError(
                    "there is no authority", where=str(directory), expected=AUTHORITY_CERTIFICATE
                ) from e
        certificate = _read_certificate(pem, path)
        key = load_private_key(directory / AUTHORITY_KEY)
        _check_pair(certificate, key, path)
        return cls(directory, certificate, key)

    @property
    def certificate_path(self) -> Path:
        """The PEM file that boot images carry."""
        return self.directory / AUTHORITY_CERTIFICATE

    @property
    def certificate_pem(self) -> str:
        return self.certificate.public_bytes(Encoding.PEM).decode()

    def check_request(self, csr_pem: str, where: str) -> Ed25519PublicKey:
        """The key of a PKCS#10 request that it has signed itself. Raises PeerError when it has not."""
        try:
            request = x509.load_pem_x509_csr(csr_pem.encode())
            key = request.public_key()
            if not isinstance(key, Ed25519PublicKey):
                raise PeerError(
                    "card key has the wrong type", where=where, expected="Ed25519", found=type(key).__name__
                )
            signed = request.is_signature_valid
        except (ValueError, UnsupportedAlgorithm, InvalidSignature, x509.InvalidVersion) as e:
            raise PeerError("not a certificate request", where=where, found=e) from e
        except InternalError as e:  # OpenSSL reads the request a second time, and more strictly
            raise PeerError("not a certificate request", where=where, found="refused by OpenSSL") from e
        if not signed:
            raise PeerError("the request is not signed with its own key", where=where)
        return key

    def sign_card_certificate(self, csr_pem: str, slot: SlotId) -> str:
        """The certificate, as PEM, for a card's PKCS#10 request (RFC 2986); it names the slot given here.

        Nothing of the request is taken over but its key. Raises PeerError when the request is not signed with
        its own key, or is none.
        """
        key = self.check_request(csr_pem, f"slot {slot}, certificate request")
        name = f"slot-{str(slot).replace('/', '-')}"
        names: list[x509.GeneralName] = [x509.UniformResourceIdentifier(f"{_SLOT_URI}{slot}")]
        return (
            self._issue(key, name, names, ExtendedKeyUsageOID.CLIENT_AUTH).public_bytes(Encoding.PEM).decode()
        )

    def link_context(self) -> ssl.SSLContext:
        """The server's TLS for cards that have a certificate of this authority; all others are refused."""
        context = self._server_context()
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(cafile=str(self.certificate_path))
        return context

    def enrolment_context(self) -> ssl.SSLContext:
        """The server's TLS for cards that have no certificate yet."""
        return self._server_context()

    def _server_context(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.num_tickets = 0  # a resumed session would skip the look at the card's certificate
        certificate, key = self._server_files()
        with disk_errors("cannot read the master's certificate", certificate):
            try:
                context.load_cert_chain(certificate, key)
            except ssl.SSLError as e:
                raise UsageError(
                    "the master's certificate is unusable", where=str(certificate), found=e
                ) from e
        return context

    def _server_files(self) -> tuple[Path, Path]:
        """Certificate and key of the master, made when missing."""
        path, key_path = self.directory / SERVER_CERTIFICATE, self.directory / SERVER_KEY
        key = load_private_key(key_path) if key_path.exists() else create_private_key(key_path)
        with disk_errors("cannot make the master's certificate", path):
            if not path.exists():
                names: list[x509.GeneralName] = [x509.DNSName(MASTER_NAME)]
                issued = self._issue(key.public_key(), MASTER_NAME, names, ExtendedKeyUsageOID.SERVER_AUTH)
                write_new(path, issued.public_bytes(Encoding.PEM), 0o644)
            _check_pair(_read_certificate(path.read_bytes(), path), key, path)
        return path, key_path

    def _issue(
        self,
        key: Ed25519PublicKey,
        name: str,
        names: Sequence[x509.GeneralName],
        usage: x509.ObjectIdentifier,
    ) -> x509.Certificate:
        # A certificate for one side of the link is worth nothing on the other: no card can pose as master.
        return (
            _builder(name, self.certificate.subject, key, ca=False)
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .add_extension(x509.ExtendedKeyUsage([usage]), critical=True)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False
            )
            .sign(self._key, None)
        )


def create_authority(directory: Path) -> Authority:
    """Make the site's authority. Raises UsageError when there is one already.

    When an earlier attempt ended between the key and its certificate, it is completed.
    """
    path, key_path = directory / AUTHORITY_CERTIFICATE, directory / AUTHORITY_KEY
    with disk_errors("cannot make the authority", directory):
        make_directories(directory, 0o700)
        if path.exists():
            raise UsageError("there is an authority already", where=str(path), hint="it is never replaced")
        key = load_private_key(key_path) if key_path.exists() else create_private_key(key_path)
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "fwmgr authority")])
        certificate = _builder("fwmgr authority", name, key.public_key(), ca=True).sign(key, None)
        try:
            write_new(path, certificate.public_bytes(Encoding.PEM), 0o644)
        except FileExistsError as e:
            raise UsageError(
                "there is an authority already", where=str(path), hint="it is never replaced"
            ) from e
    return Authority.load(directory)


def open_authority(directory: Path) -> Authority:
    """The site's authority, made when there is none yet."""
    return (
        Authority.load(directory)
        if (directory / AUTHORITY_CERTIFICATE).exists()
        else create_authority(directory)
    )


def open_record_key(directory: Path) -> Ed25519PrivateKey:
    """The key that signs exports of the record of burns, made when there is none yet."""
    path = directory / RECORD_KEY
    with disk_errors("cannot make the record key", path):
        make_directories(directory, 0o700)
    return load_private_key(path) if path.exists() else create_private_key(path)


def key_fingerprint(key: PUBLIC_KEY_TYPES) -> str:
    """The SHA-256 of the key's SubjectPublicKeyInfo (RFC 5280 §4.1.2.7) in DER, as 64 hex digits."""
    return Digest.of(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).hex


def certificate_identity(connection: ssl.SSLObject | ssl.SSLSocket | None) -> tuple[SlotId, str]:
    """The slot in the card's certificate and its key's fingerprint, after the handshake. Raises PeerError."""
    der = None if connection is None else connection.getpeercert(binary_form=True)
    if der is None:
        raise PeerError("the card has shown no certificate", where="link", hint="it must enrol first")
    return card_identity(der)


def card_identity(certificate_der: bytes) -> tuple[SlotId, str]:
    """Slot and key fingerprint of a certificate whose issuer has been checked. Raises PeerError."""
    try:
        certificate = x509.load_der_x509_certificate(certificate_der)
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        uris = names.get_values_for_type(x509.UniformResourceIdentifier)
        slots = [SlotId.parse(uri.removeprefix(_SLOT_URI)) for uri in uris if uri.startswith(_SLOT_URI)]
        if len(slots) != 1:
            raise PeerError(
                "certificate is not a card's",
                where="link",
                expected=f"one name {_SLOT_URI}…",
                found=", ".join(uris),
            )
        return slots[0], key_fingerprint(certificate.public_key())
    except (ValueError, x509.ExtensionNotFound, UnsupportedAlgorithm, UsageError) as e:
        raise PeerError("certificate is not a card's", where="link", found=e) from e


def _builder(name: str, issuer: x509.Name, key: Ed25519PublicKey, *, ca: bool) -> x509.CertificateBuilder:
    usage = {
        "digital_signature": not ca,
        "key_cert_sign": ca,
        "crl_sign": ca,
        "content_commitment": False,
        "key_encipherment": False,
        "data_encipherment": False,
        "key_agreement": False,
        "encipher_only": False,
        "decipher_only": False,
    }
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOT_BEFORE)
        .not_valid_after(NOT_AFTER)
        .add_extension(x509.BasicConstraints(ca=ca, path_length=0 if ca else None), critical=True)
        .add_extension(x509.KeyUsage(**usage), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
    )


def _read_certificate(pem: bytes, path: Path) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificate(pem)
    except ValueError as e:
        raise UsageError("not a certificate", where=str(path), found=e) from e


def _check_pair(certificate: x509.Certificate, key: Ed25519PrivateKey, path: Path) -> None:
    expected, found = key_fingerprint(key.public_key()), key_fingerprint(certificate.public_key())
    if expected != found:
        raise UsageError(
            "certificate and key do not belong together", where=str(path), expected=expected, found=found
        )
