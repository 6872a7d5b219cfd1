"""Which packages a root of trust accepts, and what is said of the others (SPEC-trust §5, §6)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from firmware_mgr.model.versions import Version
from firmware_mgr.package.errors import PackageFormatError, PackageRefused
from firmware_mgr.package.head import parse_header, verify_contents
from firmware_mgr.package.layout import HEADER_SIZE
from firmware_mgr.package.root import Root
from firmware_mgr.package.root_trust import RootTrust
from firmware_mgr.package.trust import Role, SignedPackage
from firmware_mgr.packaging.build import build_package
from firmware_mgr.packaging.keys import SigningKey, keyring_of

from .roots import (
    ALICE,
    BOB,
    RELEASE,
    SECOND,
    STRANGER,
    TESTER,
    listed,
    make_root,
    role,
    without,
)
from .samples import HEAD, SOURCES, flip

#: The sample's build date, and its version 1.2-3.
SIGNED_AT = HEAD.build_date
ROOT = make_root()
REVOKED_SECOND = without(ROOT, SECOND)
BOTH = replace(ROOT, roles={**ROOT.roles, Role.RELEASE: role(RELEASE, SECOND, threshold=2)})
TWO_TESTERS = replace(
    ROOT,
    roles={**ROOT.roles, Role.TEST: role(TESTER, STRANGER, threshold=2)},
    keys={**ROOT.keys, STRANGER.id: listed(STRANGER)},
)


def windowed(since: int, until: int | None) -> Root:
    return replace(ROOT, keys={**ROOT.keys, RELEASE.id: listed(RELEASE, since, until)})


def package(*signers: SigningKey) -> bytes:
    return build_package(HEAD, SOURCES, signers)


def judge(trust: RootTrust, signers: Sequence[SigningKey]) -> Role:
    """Read the sample, signed by these, as whoever trusts so would; and say what it counts as."""
    data = package(*signers)
    header = parse_header(data[:HEADER_SIZE])
    toc = verify_contents(header, data[: header.head_length], trust, "sample.fwp")
    said = SignedPackage(toc.name, toc.version, toc.build_date)
    return trust.check_package(said, [one.id for one in signers], "sample.fwp")


ACCEPTED: dict[str, tuple[RootTrust, Sequence[SigningKey], Role]] = {
    "by one of two who may release": (RootTrust(ROOT), [RELEASE], Role.RELEASE),
    "by the other": (RootTrust(ROOT), [SECOND], Role.RELEASE),
    "by both, where it takes both": (RootTrust(BOTH), [RELEASE, SECOND], Role.RELEASE),
    "by a tester, where tests are taken": (RootTrust(ROOT, takes_test=True), [TESTER], Role.TEST),
    "by a tester and one who may release": (RootTrust(ROOT), [TESTER, RELEASE], Role.RELEASE),
    "by a keeper of the root, too": (RootTrust(ROOT), [RELEASE, ALICE], Role.RELEASE),
    "by a revoked key, too": (RootTrust(without(ROOT, SECOND)), [RELEASE, SECOND], Role.RELEASE),
    "in the first second of the window": (RootTrust(windowed(SIGNED_AT, None)), [RELEASE], Role.RELEASE),
    "in the last one": (RootTrust(windowed(0, SIGNED_AT + 1)), [RELEASE], Role.RELEASE),
    "at the minimum": (
        RootTrust(replace(ROOT, minimum_versions={"sample": "1.2-3"})),
        [RELEASE],
        Role.RELEASE,
    ),
    "over another's minimum": (
        RootTrust(replace(ROOT, minimum_versions={"other": "9"})),
        [RELEASE],
        Role.RELEASE,
    ),
    "at the earliest moment": (RootTrust(replace(ROOT, earliest=SIGNED_AT)), [RELEASE], Role.RELEASE),
    "below the minimum, but held": (
        RootTrust(replace(ROOT, minimum_versions={"sample": "1.3"}, earliest=SIGNED_AT + 1)).held(),
        [RELEASE],
        Role.RELEASE,
    ),
}


@pytest.mark.parametrize("case", ACCEPTED)
def test_a_package_is_accepted_when_signed(case: str) -> None:
    trust, signers, role = ACCEPTED[case]
    assert judge(trust, signers) is role


#: What is signed how -> words of the refusal.
REFUSED: dict[str, tuple[RootTrust, Sequence[SigningKey], tuple[str, ...]]] = {
    "unknown": (RootTrust(ROOT), [STRANGER], ("signed by an unknown key", "release", STRANGER.id[:12])),
    "unknown beside a good one": (RootTrust(ROOT), [RELEASE, STRANGER], ("signed by an unknown key",)),
    "revoked": (
        RootTrust(without(ROOT, RELEASE)),
        [RELEASE],
        ("signed by a revoked key", "laptop stolen", "1 of role release: second"),
    ),
    "revoked and held": (RootTrust(without(ROOT, RELEASE)).held(), [RELEASE], ("signed by a revoked key",)),
    "before its window": (
        RootTrust(windowed(SIGNED_AT + 1, None)),
        [RELEASE],
        ("signed outside the time of its key", "from 2023-11-14 22:13"),
    ),
    "after its window": (
        RootTrust(windowed(0, SIGNED_AT)),
        [RELEASE],
        ("signed outside the time of its key", "until 2023-11-14 22:13: signed 2023-11-14 22:13"),
    ),
    "one of two": (RootTrust(BOTH), [RELEASE], ("not signed by enough keys", "2 of role release", "counts")),
    "one of two and a tester": (RootTrust(BOTH), [RELEASE, TESTER], ("no test packages are taken here",)),
    "one of two and a revoked one": (
        RootTrust(
            replace(
                REVOKED_SECOND,
                keys={**REVOKED_SECOND.keys, STRANGER.id: listed(STRANGER)},
                roles={**ROOT.roles, Role.RELEASE: role(RELEASE, STRANGER, threshold=2)},
            )
        ),
        [RELEASE, SECOND],
        ("signed by a revoked key", "second"),
    ),
    "test": (
        RootTrust(ROOT),
        [TESTER],
        ("TEST package, and no test packages are taken here", "--accept-test", "--test"),
    ),
    "test and held": (RootTrust(ROOT).held(), [TESTER], ("no test packages are taken here",)),
    "one of two testers": (
        RootTrust(TWO_TESTERS, takes_test=True),
        [TESTER],
        ("not signed by enough keys",),
    ),
    "keeper of the root": (RootTrust(ROOT), [ALICE, BOB], ("signed by a key that may not sign packages",)),
    "retired": (
        RootTrust(replace(ROOT, roles={**ROOT.roles, Role.RELEASE: role(SECOND)})),
        [RELEASE],
        ("signed by a key that may not sign packages", "release"),
    ),
    "nobody may release": (
        RootTrust(replace(ROOT, roles={**ROOT.roles, Role.RELEASE: role()})),
        [RELEASE],
        ("may not sign packages", "no key at all"),
    ),
    "below the minimum": (
        RootTrust(replace(ROOT, minimum_versions={"sample": "1.2-4"})),
        [RELEASE],
        ("older than what is let in from outside", "sample 1.2-4 or later", "found 1.2-3", "version 1"),
    ),
    "before the earliest": (
        RootTrust(replace(ROOT, earliest=SIGNED_AT + 1)),
        [RELEASE],
        ("older than what is let in from outside", "signed 2023-11-14"),
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_package_is_refused_with_the_reason_when_signed(case: str) -> None:
    trust, signers, words = REFUSED[case]
    with pytest.raises(PackageRefused) as refused:
        judge(trust, signers)
    for word in words:
        assert word in str(refused.value), str(refused.value)


def test_what_cannot_be_enough_is_not_parsed() -> None:
    """A revoked key's holder does not reach the parser of the table."""
    data = bytearray(package(RELEASE))
    header = parse_header(bytes(data[:HEADER_SIZE]))
    trust = RootTrust(without(ROOT, RELEASE))
    message_bytes = bytes(data[: header.head_length])
    seen: list[SignedPackage] = []

    class Watched(RootTrust):
        def check_package(self, package: SignedPackage, signers: object, where: str) -> Role:
            seen.append(package)
            return Role.RELEASE

    with pytest.raises(PackageRefused, match="revoked"):
        verify_contents(header, message_bytes, Watched(trust.root))
    assert seen == []


def test_every_signature_must_be_right_also_a_revoked_ones() -> None:
    """No byte of the block is free, whoever's it is."""
    trust = RootTrust(without(ROOT, SECOND))
    data = package(RELEASE, SECOND)
    header = parse_header(data[:HEADER_SIZE])
    for bit in range(header.signatures_offset * 8, header.table_offset * 8, 37):
        with pytest.raises((PackageRefused, PackageFormatError)):
            verify_contents(header, flip(data[: header.head_length], bit), trust)


def test_a_flat_keyring_reads_as_a_root_that_says_the_same() -> None:
    keyring = keyring_of([RELEASE, SECOND])
    root = Root.of_keyring(keyring)
    assert root.version == 0 and root.roles[Role.RELEASE].threshold == 1
    assert judge(RootTrust(root), [RELEASE]) is Role.RELEASE
    said = SignedPackage("sample", "1", 0)
    assert keyring.check_package(said, [RELEASE.id], "x") is Role.RELEASE
    with pytest.raises(PackageRefused, match="unknown key"):
        keyring.check_package(said, [TESTER.id], "x")
    with pytest.raises(PackageRefused):
        keyring_of([]).check_package(said, [], "x")
    with pytest.raises(PackageRefused):
        judge(RootTrust(Root.of_keyring(keyring_of([]))), [RELEASE])


def test_below_a_minimum_is_said_in_words() -> None:
    trust = RootTrust(replace(ROOT, minimum_versions={"sample": "2"}, earliest=100))
    assert "below the minimum 2" in trust.below_minimum(SignedPackage("sample", "1.9", 200))
    assert "was signed" in trust.below_minimum(SignedPackage("other", "1", 99))
    assert trust.below_minimum(SignedPackage("other", "1", 100)) == ""
    assert trust.below_minimum(SignedPackage("sample", "2", 2**40 - 1)) == ""


@pytest.mark.parametrize(
    ("older", "newer"),
    [
        ("1.0~rc1", "1.0"),
        ("1.0", "1.0-1"),
        ("1.9", "1.10"),
        ("2", "1:0.5"),
        ("1.0a", "1.0.1"),
        ("1.0", "1.0+b1"),
    ],
)
def test_versions_are_in_debians_order(older: str, newer: str) -> None:
    assert Version(older) < Version(newer) and not Version(newer) < Version(older)


@pytest.mark.parametrize("moment", [0, 1, SIGNED_AT, 2**40 - 1])
def test_no_moment_is_too_early_or_too_late_for_words(moment: int) -> None:
    with pytest.raises(PackageRefused):
        RootTrust(windowed(2**40 - 2, 2**40 - 1)).check_package(
            SignedPackage("sample", "1", moment if moment < 2**40 - 2 else 0), [RELEASE.id], "x"
        )
