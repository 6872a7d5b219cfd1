"""Several people sign one package, each on a machine of his own (SPEC-trust §8)."""

from __future__ import annotations

import pytest

from firmware_mgr.model.errors import PeerError, UsageError
from firmware_mgr.package.bundle import Bundle
from firmware_mgr.package.errors import PackageRefused
from firmware_mgr.package.head import parse_header, verify_bundle, verify_contents
from firmware_mgr.package.layout import HEADER_SIZE, SIGNATURES_MAX, EnvelopeKind
from firmware_mgr.packaging import cosign
from firmware_mgr.packaging.build import build_package
from firmware_mgr.packaging.cosign import DetachedSignature, SignRequest
from firmware_mgr.packaging.keys import SigningKey, keyring_of
from tests.package.roots import ALICE, BOB, CAROL, RELEASE
from tests.package.samples import HEAD, SIGNED_AT, SOURCES, flip
from tests.package.samples_bundle import sample_composite, sample_set


def package(*keys: SigningKey) -> bytes:
    return build_package(HEAD, SOURCES, keys)


def head_of(data: bytes) -> bytes:
    return data[: parse_header(data[:HEADER_SIZE]).head_length]


BUILT = package(RELEASE)
REQUEST = cosign.request_for(head_of(BUILT), 2)


def joined(*keys: SigningKey, request: SignRequest = REQUEST) -> bytes:
    """The package that was built, with detached signatures by these."""
    read = SignRequest.decode(request.encode())
    travelled = [DetachedSignature.decode(cosign.sign_request(read, key).encode()) for key in keys]
    head = head_of(BUILT)
    return cosign.new_head(head, travelled) + BUILT[len(head) :]


def test_signatures_that_travelled_alone_make_the_same_package_as_keys_at_hand() -> None:
    assert joined(ALICE, BOB) == joined(BOB, ALICE) == package(ALICE, BOB)
    head = head_of(BUILT)
    assert cosign.signed_head(head, [BOB, ALICE]) + BUILT[len(head) :] == package(ALICE, BOB)


def test_a_request_shows_what_is_signed() -> None:
    read = SignRequest.decode(REQUEST.encode())
    assert (read.contents().name, read.contents().version, read.signatures) == ("sample", "1.2-3", 2)


@pytest.mark.parametrize("keys", [(ALICE,), (ALICE, BOB, CAROL)])
def test_another_number_of_signatures_than_asked_for_is_refused(keys: tuple[SigningKey, ...]) -> None:
    with pytest.raises(UsageError, match="another number of signatures"):
        joined(*keys)


def test_the_same_signature_twice_is_one() -> None:
    with pytest.raises(UsageError, match="room for 1"):
        joined(ALICE, ALICE)


def test_a_signature_for_another_package_is_refused() -> None:
    other = build_package(HEAD, SOURCES[:-1], [RELEASE])
    with pytest.raises(UsageError, match="another package"):
        joined(ALICE, BOB, request=cosign.request_for(head_of(other), 2))


def test_a_signature_that_was_altered_makes_a_package_that_is_refused() -> None:
    good = cosign.sign_request(REQUEST, ALICE)
    bad = DetachedSignature(good.header, BOB.id, good.signature)
    made = cosign.new_head(head_of(BUILT), [good, bad])
    header = parse_header(made[:HEADER_SIZE])
    with pytest.raises(PackageRefused, match="signature is wrong"):
        verify_contents(header, made, keyring_of([ALICE, BOB]))
    with pytest.raises(PeerError, match="signature is wrong"):
        cosign.check_signature(REQUEST, bad, BOB.public)
    cosign.check_signature(REQUEST, good, ALICE.public)


@pytest.mark.parametrize("number", [0, SIGNATURES_MAX + 1])
def test_a_request_is_for_as_many_signatures_as_a_package_may_have(number: int) -> None:
    with pytest.raises(UsageError, match="illegal number"):
        cosign.request_for(head_of(BUILT), number)


def test_an_altered_table_is_not_offered_for_signing() -> None:
    head = head_of(BUILT)
    with pytest.raises(PeerError, match="table of contents was altered"):
        cosign.request_for(flip(head, len(head) * 8 - 1), 2)
    other = cosign.request_for(head_of(build_package(HEAD, SOURCES[:-1], [RELEASE])), 2)
    with pytest.raises(PeerError, match="another table"):
        SignRequest.decode(SignRequest(REQUEST.header, other.table).encode())


def test_every_truncation_and_every_flipped_bit_of_a_detached_signature_is_noticed() -> None:
    good = cosign.sign_request(REQUEST, ALICE)
    data = good.encode()
    for length in range(len(data)):
        with pytest.raises(PeerError):
            DetachedSignature.decode(data[:length])
    for bit in range(len(data) * 8):
        try:
            read = DetachedSignature.decode(flip(data, bit))
        except PeerError:
            continue
        # A flip within hex digits is another signature, key or header: none of them is for this package.
        assert read != good
        with pytest.raises((PeerError, UsageError)):
            if read.key != ALICE.id or read.header != good.header:
                raise UsageError("is for another key or header")
            cosign.check_signature(REQUEST, read, ALICE.public)


@pytest.mark.parametrize("data", [b"", b"{}\n", b"[]\n", REQUEST.encode()])
def test_what_is_no_detached_signature_is_refused(data: bytes) -> None:
    with pytest.raises(PeerError, match="not a fwmgr detached signature"):
        DetachedSignature.decode(data)


@pytest.mark.parametrize(
    ("data", "kind", "name"),
    [(sample_set(), EnvelopeKind.SET, "both"), (sample_composite(), EnvelopeKind.COMPOSITE, "site")],
)
def test_a_set_and_a_composite_image_are_signed_by_several_people_too(
    data: bytes, kind: EnvelopeKind, name: str
) -> None:
    head = head_of(data)
    read = SignRequest.decode(cosign.request_for(head, 2).encode())
    shown = read.contents()
    assert isinstance(shown, Bundle) and (shown.kind, shown.name) == (kind, name)
    made = cosign.new_head(head, [cosign.sign_request(read, key) for key in (ALICE, BOB)])
    header = parse_header(made[:HEADER_SIZE])
    assert verify_bundle(header, made, keyring_of([ALICE, BOB])) == shown
    assert header.signed_at == SIGNED_AT and header.total_length == len(made) + len(data) - len(head)
