"""The site's authority, over real TLS on loopback: who gets in, who does not, and that no clock matters."""

from __future__ import annotations

import asyncio
import datetime as dt
import hashlib
import socket
import ssl
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from firmware_mgr.card.identity import Identity, client_context
from firmware_mgr.link.messages import MASTER_NAME
from firmware_mgr.master.private_keys import create_private_key, load_private_key
from firmware_mgr.master.trust import (
    Authority,
    card_identity,
    certificate_identity,
    create_authority,
    key_fingerprint,
    open_authority,
    open_record_key,
)
from firmware_mgr.model.errors import PeerError, UsageError
from firmware_mgr.model.ids import SlotId

SLOT = SlotId(3)


@pytest.fixture
def site(tmp_path: Path) -> Authority:
    return create_authority(tmp_path / "trust")


@pytest.fixture
def elsewhere(tmp_path: Path) -> Authority:
    return create_authority(tmp_path / "elsewhere")


def enrolled(authority: Authority, slot: SlotId = SLOT) -> Identity:
    identity = Identity.generate()
    return identity.with_certificate(
        authority.sign_card_certificate(identity.signing_request(slot), slot).encode()
    )


def certificate_of(identity: Identity) -> x509.Certificate:
    assert identity.certificate_pem is not None
    return x509.load_pem_x509_certificate(identity.certificate_pem)


@dataclass(frozen=True, slots=True)
class Meeting:
    """What a handshake came to: what the master made of the card and what the card heard, or errors."""

    master: str | BaseException
    card: str | BaseException

    @property
    def refusal(self) -> str:
        """Why the master hung up; the card must have heard nothing."""
        assert isinstance(self.master, ssl.SSLError)
        assert isinstance(self.card, OSError)
        return str(self.master)


async def meet(server: ssl.SSLContext, card: ssl.SSLContext, name: str = MASTER_NAME) -> Meeting:
    """A card dials a master over loopback; the master says who it takes the card for."""
    loop = asyncio.get_running_loop()
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.setblocking(False)

        async def as_master() -> str:
            accepted, _ = await loop.sock_accept(listening)
            reader = asyncio.StreamReader()
            protocol = asyncio.StreamReaderProtocol(reader)
            transport, _ = await loop.connect_accepted_socket(lambda: protocol, accepted, ssl=server)
            writer = asyncio.StreamWriter(transport, protocol, reader, loop)
            try:
                slot, fingerprint = certificate_identity(writer.get_extra_info("ssl_object"))
                said = f"slot {slot} key {fingerprint}"
            except PeerError as e:
                said = e.what
            writer.write(said.encode())
            await writer.drain()
            writer.close()
            return said

        async def as_card() -> str:
            host, port = listening.getsockname()
            reader, writer = await asyncio.open_connection(host, port, ssl=card, server_hostname=name)
            try:
                heard = await asyncio.wait_for(reader.read(), 10)
            finally:
                writer.transport.abort()
            if not heard:
                raise ConnectionResetError("nothing was said")
            return heard.decode()

        return Meeting(*await asyncio.gather(as_master(), as_card(), return_exceptions=True))


async def test_a_card_of_this_site_is_let_in_and_known_by_slot_and_key(site: Authority) -> None:
    card = enrolled(site)
    fingerprint = key_fingerprint(certificate_of(card).public_key())
    meeting = await meet(site.link_context(), client_context(site.certificate_path, card))
    assert meeting.card == meeting.master == f"slot 3 key {fingerprint}"


async def test_a_card_of_another_authority_is_refused(site: Authority, elsewhere: Authority) -> None:
    foreign = enrolled(elsewhere)
    meeting = await meet(site.link_context(), client_context(site.certificate_path, foreign))
    assert "CERTIFICATE_VERIFY_FAILED" in meeting.refusal


async def test_a_card_without_a_certificate_is_refused_on_the_link(site: Authority) -> None:
    meeting = await meet(site.link_context(), client_context(site.certificate_path, None))
    assert "PEER_DID_NOT_RETURN_A_CERTIFICATE" in meeting.refusal


async def test_a_card_without_a_certificate_may_enrol(site: Authority) -> None:
    meeting = await meet(site.enrolment_context(), client_context(site.certificate_path, None))
    assert meeting.card == "the card has shown no certificate"


async def test_a_card_does_not_talk_to_the_master_of_another_site(
    site: Authority, elsewhere: Authority
) -> None:
    card = client_context(site.certificate_path, enrolled(site))
    for context in (elsewhere.link_context(), elsewhere.enrolment_context()):
        meeting = await meet(context, card)
        assert isinstance(meeting.card, ssl.SSLCertVerificationError)


async def test_a_card_cannot_pose_as_the_master(site: Authority, tmp_path: Path) -> None:
    rogue = enrolled(site)
    assert rogue.certificate_pem is not None
    (tmp_path / "rogue.pem").write_bytes(rogue.key_pem + rogue.certificate_pem)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "rogue.pem")
    card = client_context(site.certificate_path, None)
    card.check_hostname = False  # even so
    meeting = await meet(context, card)
    assert isinstance(meeting.card, ssl.SSLCertVerificationError)
    assert "purpose" in str(meeting.card)


async def test_the_master_cannot_pose_as_a_card(site: Authority) -> None:
    context = site.link_context()
    card = client_context(site.certificate_path, None)
    card.load_cert_chain(site.directory / "master.crt", site.directory / "master.key")
    assert "purpose" in (await meet(context, card)).refusal


async def test_a_master_by_another_name_is_refused_by_the_card(site: Authority) -> None:
    card = client_context(site.certificate_path, enrolled(site))
    meeting = await meet(site.link_context(), card, "other-master")
    assert isinstance(meeting.card, ssl.SSLCertVerificationError)
    assert "Hostname mismatch" in str(meeting.card)


@pytest.mark.parametrize("context", ["link_context", "enrolment_context"])
async def test_tls_1_2_is_refused(site: Authority, context: str) -> None:
    old = client_context(site.certificate_path, enrolled(site))
    old.minimum_version = ssl.TLSVersion.TLSv1_2
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    meeting = await meet(getattr(site, context)(), old)
    assert "UNSUPPORTED_PROTOCOL" in meeting.refusal


def test_certificates_are_valid_from_1970_to_9999(site: Authority) -> None:
    site.link_context()
    master = x509.load_pem_x509_certificate((site.directory / "master.crt").read_bytes())
    for certificate in (site.certificate, master, certificate_of(enrolled(site))):
        assert certificate.not_valid_before == dt.datetime(1970, 1, 1)  # noqa: DTZ001 (the library's form)
        assert certificate.not_valid_after == dt.datetime(9999, 12, 31, 23, 59, 59)  # noqa: DTZ001


@pytest.mark.parametrize(("slot", "name"), [(SlotId(3), "slot-3"), (SlotId(3, shelf=2), "slot-2-3")])
def test_a_certificate_names_its_slot(site: Authority, slot: SlotId, name: str) -> None:
    certificate = certificate_of(enrolled(site, slot))
    assert certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value == name
    assert card_identity(certificate.public_bytes(Encoding.DER))[0] == slot


def test_the_slot_comes_from_the_master_and_not_from_the_request(site: Authority) -> None:
    request = Identity.generate().signing_request(SlotId(9))
    certificate = x509.load_pem_x509_certificate(site.sign_card_certificate(request, SLOT).encode())
    assert card_identity(certificate.public_bytes(Encoding.DER))[0] == SLOT
    assert not certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca


def test_a_request_that_somebody_has_touched_is_refused(site: Authority) -> None:
    request = x509.load_pem_x509_csr(Identity.generate().signing_request(SLOT).encode())
    der = bytearray(request.public_bytes(Encoding.DER))
    der[-1] ^= 1
    touched = x509.load_der_x509_csr(bytes(der)).public_bytes(Encoding.PEM).decode()
    with pytest.raises(
        PeerError, match="slot 3, certificate request: the request is not signed with its own"
    ):
        site.sign_card_certificate(touched, SLOT)


@pytest.mark.parametrize("request_pem", ["", "no PEM", "-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n", "ü"])
def test_what_is_no_request_is_refused(site: Authority, request_pem: str) -> None:
    with pytest.raises(PeerError, match="slot 3, certificate request: not a certificate request"):
        site.sign_card_certificate(request_pem, SLOT)


def test_a_request_for_another_kind_of_key_is_refused(site: Authority) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    request = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(key, hashes.SHA256())
    with pytest.raises(PeerError, match="expected Ed25519, found _EllipticCurvePublicKey"):
        site.sign_card_certificate(request.public_bytes(Encoding.PEM).decode(), SLOT)


def test_a_certificate_that_is_not_a_cards_is_refused(site: Authority) -> None:
    site.link_context()
    master = x509.load_pem_x509_certificate((site.directory / "master.crt").read_bytes())
    for der in (master.public_bytes(Encoding.DER), site.certificate.public_bytes(Encoding.DER), b"", b"0\0"):
        with pytest.raises(PeerError, match="certificate is not a card's"):
            card_identity(der)


def test_a_fingerprint_is_of_the_key_and_not_of_the_certificate(site: Authority) -> None:
    identity = Identity.generate()
    prints = set()
    for slot in (SlotId(1), SlotId(2)):
        pem = site.sign_card_certificate(identity.signing_request(slot), slot)
        prints.add(
            key_fingerprint(certificate_of(replace(identity, certificate_pem=pem.encode())).public_key())
        )
    assert len(prints) == 1
    # The raw key behind the 12 fixed bytes of its DER form (RFC 8410 §4).
    spki = bytes.fromhex("302a300506032b6570032100") + bytes(32)
    assert key_fingerprint(Ed25519PublicKey.from_public_bytes(bytes(32))) == hashlib.sha256(spki).hexdigest()


# Files.


def test_an_authority_is_the_same_when_it_is_opened_again(site: Authority) -> None:
    card = enrolled(site)
    again = open_authority(site.directory)
    assert again.certificate_pem == site.certificate_pem
    again.link_context()
    kept = {path.name: path.read_bytes() for path in site.directory.iterdir()}
    open_authority(site.directory).enrolment_context()
    assert {path.name: path.read_bytes() for path in site.directory.iterdir()} == kept
    assert certificate_of(card).issuer == again.certificate.subject


def test_an_authority_is_never_made_twice(site: Authority) -> None:
    with pytest.raises(UsageError, match="there is an authority already"):
        create_authority(site.directory)


def test_an_authority_half_made_is_completed_with_its_own_key(site: Authority) -> None:
    before = site.certificate.public_key()
    site.certificate_path.unlink()
    after = open_authority(site.directory).certificate.public_key()
    assert key_fingerprint(after) == key_fingerprint(before)


def test_an_authority_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"there is no authority: expected authority\.crt"):
        Authority.load(tmp_path)


def test_private_keys_are_private_and_the_rest_is_not_writable_by_others(site: Authority) -> None:
    site.link_context()
    open_record_key(site.directory)
    modes = {path.name: path.stat().st_mode & 0o777 for path in site.directory.iterdir()}
    assert modes == {
        "authority.key": 0o600,
        "authority.crt": 0o644,
        "master.key": 0o600,
        "master.crt": 0o644,
        "record.key": 0o600,
    }


def test_a_private_key_is_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "a.key"
    create_private_key(path)
    before = path.read_bytes()
    with pytest.raises(UsageError, match="never overwritten"):
        create_private_key(path)
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["a.key"]


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o601])
def test_a_private_key_that_others_can_reach_is_refused(site: Authority, mode: int) -> None:
    (site.directory / "authority.key").chmod(mode)
    with pytest.raises(UsageError, match=f"expected mode 600, found mode {mode:o}"):
        Authority.load(site.directory)


@pytest.mark.parametrize("content", [b"", b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"])
def test_a_file_that_is_no_key_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.key"
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(UsageError, match=r"a\.key: not a private key"):
        load_private_key(path)


def test_a_key_that_does_not_fit_its_certificate_is_refused(site: Authority, elsewhere: Authority) -> None:
    key = site.directory / "authority.key"
    key.write_bytes((elsewhere.directory / "authority.key").read_bytes())
    with pytest.raises(UsageError, match="do not belong together"):
        Authority.load(site.directory)


def test_the_record_key_stays_the_same(tmp_path: Path) -> None:
    first, again = open_record_key(tmp_path), open_record_key(tmp_path)
    assert key_fingerprint(first.public_key()) == key_fingerprint(again.public_key())
