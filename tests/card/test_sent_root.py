"""A newer root of trust that comes with an order: followed, kept through any power cut, or refused whole."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from firmware_mgr.card.believed_root import ROOT_DOCUMENT
from firmware_mgr.card.root_keeper import RootKeeper
from firmware_mgr.card.settings import AgentSettings
from firmware_mgr.flash.device import MemoryDevice
from firmware_mgr.flash.gpt import FlashLayout
from firmware_mgr.flash.store import Store
from firmware_mgr.link.messages import RootReport
from firmware_mgr.model.ids import CpuArch, Digest
from firmware_mgr.package import strict_json
from firmware_mgr.package.errors import PackageRefused
from firmware_mgr.package.root import RootRefused
from firmware_mgr.package.root_chain import CHAIN_FORMAT, RootChain, SignedRoot
from firmware_mgr.package.trust import Role, SignedPackage
from firmware_mgr.packaging.keys import keyring_of
from tests.flash.cuts import copied_from, every_cut
from tests.package.roots import (
    ALICE,
    BOB,
    CAROL,
    RELEASE,
    SECOND,
    STRANGER,
    make_chain,
    make_root,
    signed,
    without,
)
from tests.package.samples import flip

MIB = 1 << 20
R1, R2, R3 = make_root(1), make_root(2), without(make_root(3), RELEASE)
SHORT, LONG = make_chain(R1, R2), make_chain(R1, R2, R3)
WEB = SignedPackage("web", "1", 0)
AUTHORITY = b"certificate of our authority"


class Card:
    """A keeper over flash in memory; `restart` is another boot of the same image."""

    def __init__(self, folder: Path, root: RootChain | None, *, kept: RootChain | None = None) -> None:
        authority = folder / "authority.pem"
        authority.write_bytes(AUTHORITY)
        self.settings = AgentSettings(
            board="b",
            cpu=CpuArch.AARCH64,
            version="1",
            build_date=0,
            flash_device=Path("/dev/x"),
            flash=FlashLayout(MIB, MIB, MIB, MIB),
            slot_register=None,
            authority=authority,
            keyring=keyring_of([STRANGER]),
            root=root,
        )
        self.device = MemoryDevice(2 * MIB)
        state = Store.format(self.device, store_id=bytes(16))
        if kept is not None:
            state.commit({ROOT_DOCUMENT: Digest.of(AUTHORITY).to_bytes() + kept.encode()})
        self.restart()

    def restart(self, device: MemoryDevice | None = None) -> None:
        self.state = Store.open(device or self.device)
        self.keeper = RootKeeper(self.settings, lambda: self.state)
        self.keeper.look()

    @property
    def version(self) -> int:
        return self.keeper.report().version


@pytest.fixture
def card(tmp_path: Path) -> Card:
    """Its boot image has versions 1 and 2, and it was validated with them."""
    return Card(tmp_path, SHORT, kept=SHORT)


def test_a_newer_root_is_followed_kept_and_judged_by(card: Card) -> None:
    assert card.keeper.trust.check_package(WEB, [RELEASE.id], "") is Role.RELEASE
    assert card.keeper.follow(LONG.encode())
    for _ in range(2):
        assert card.keeper.report() == RootReport(3, Digest.from_bytes(LONG.roots[-1].digest))
        with pytest.raises(PackageRefused, match="revoked key"):
            card.keeper.trust.check_package(WEB, [RELEASE.id], "")
        assert card.keeper.trust.check_package(WEB, [SECOND.id], "") is Role.RELEASE
        card.restart()
    before = card.device.contents()
    assert not card.keeper.follow(LONG.encode()), "the same again is nothing new"
    assert card.device.contents() == before


def test_a_chain_that_begins_later_does_not_take_the_beginning_away(card: Card) -> None:
    """Else the boot image's would have nothing in common with what is kept, and be believed."""
    assert card.keeper.follow(make_chain(R2, R3).encode())
    card.restart()
    assert card.version == 3
    kept = card.state.document(ROOT_DOCUMENT)
    assert kept is not None and RootChain.decode(kept[32:]) == LONG


def _forged(root: SignedRoot, signature: bytes) -> SignedRoot:
    return SignedRoot(root.root, {**root.signatures, ALICE.id: signature})


def _of(*roots: SignedRoot) -> bytes:
    """The document of roots that need not make a chain."""
    return strict_json.encode({"format": CHAIN_FORMAT, "roots": [root.document() for root in roots]})


S1, S2, S3 = LONG.roots
#: What a lying master sends -> what is said of it.
LIES: dict[str, tuple[Callable[[], bytes], str]] = {
    "a signature of something else": (
        lambda: _of(S1, S2, _forged(S3, ALICE.sign(b"another message"))),
        "signature is wrong",
    ),
    "a root changed after it was signed": (
        lambda: _of(S1, S2, replace(S3, root=replace(S3.root, earliest=7))),
        "signature is wrong",
    ),
    "one keeper of two": (lambda: _of(S1, S2, signed(R3, ALICE)), "not signed by enough keepers"),
    "one keeper of two, and signed on": (
        lambda: _of(S1, S2, signed(R3, ALICE), signed(make_root(4), ALICE, BOB)),
        "not signed by enough keepers",
    ),
    "a stranger": (lambda: _of(S1, S2, signed(R3, ALICE, CAROL)), "may not sign roots"),
    "nobody": (lambda: _of(S1, S2, signed(R3)), "not signed by enough keepers"),
    "a gap in the versions": (lambda: _of(S1, S2, signed(make_root(4), ALICE, BOB)), "do not follow"),
    "a version twice": (lambda: _of(S1, S2, S2), "do not follow"),
    "a lower version": (lambda: make_chain(R1).encode(), "older than the one that is known"),
    "another root of the same version": (
        lambda: make_chain(R1, replace(R2, earliest=1), R3).encode(),
        "two different roots of trust",
    ),
    "another line": (
        lambda: make_chain(*(replace(root, earliest=1) for root in (R1, R2, R3))).encode(),
        "does not follow the one that is known",
    ),
    "a chain that begins where ours ends": (lambda: make_chain(R3).encode(), "does not follow the one"),
    "nothing of the sort": (lambda: b"{}\n", "not a root of trust"),
    "too long": (lambda: b" " * (1 << 20), "not a root of trust"),
    "cut": (lambda: LONG.encode()[:-9], "not a root of trust"),
    "one bit": (lambda: flip(LONG.encode(), 5000), "makes no sense"),
}


@pytest.mark.parametrize("lie", LIES)
def test_what_a_lying_master_sends_is_refused_and_changes_nothing(card: Card, lie: str) -> None:
    sent, words = LIES[lie]
    before, operations = card.device.contents(), card.device.operations
    with pytest.raises(RootRefused, match=words) as refused:
        card.keeper.follow(sent())
    error = refused.value
    assert error.where.startswith("root of trust sent by the master") and error.expected and error.found
    assert "goes on with version 2" in error.hint
    assert (card.device.contents(), card.device.operations) == (before, operations)
    assert card.version == 2
    assert card.keeper.trust.check_package(WEB, [RELEASE.id], "") is Role.RELEASE
    card.restart()
    assert card.version == 2


def test_a_card_with_a_flat_keyring_follows_nobody(tmp_path: Path) -> None:
    card = Card(tmp_path, None)
    before = card.device.contents()
    assert card.keeper.report() == RootReport(0)
    with pytest.raises(RootRefused, match="no root of trust here that another could follow") as refused:
        card.keeper.follow(LONG.encode())
    assert refused.value.expected and refused.value.found
    assert card.device.contents() == before


def test_a_card_that_keeps_nothing_yet_keeps_a_sent_root_when_it_is_validated(tmp_path: Path) -> None:
    """Its boot image may be on trial, and a trial leaves nothing behind."""
    card = Card(tmp_path, SHORT)
    before = card.device.contents()
    assert card.keeper.follow(LONG.encode()) and card.version == 3
    assert card.device.contents() == before
    card.keeper.keep()
    card.restart()
    assert card.version == 3


def test_power_that_fails_while_a_root_is_kept_leaves_the_old_or_the_new_one(card: Card) -> None:
    """And the same order again ends with the new one."""
    contents = card.device.contents()

    def act(device: MemoryDevice) -> None:
        card.restart(device)
        card.keeper.follow(LONG.encode())

    versions = set()
    for device, case in every_cut(copied_from(contents), act, 3):
        card.restart(device)
        versions.add(card.version)
        assert card.version in (2, 3), case
        card.keeper.follow(LONG.encode())
        card.restart(device)
        assert card.version == 3, case
    assert versions == {2, 3}


# What is kept cannot be read


def spoiled(card: Card) -> bytes:
    """The card restarts, and what it keeps is of a later format; that document."""
    kept = (Digest.of(AUTHORITY).to_bytes() + LONG.encode()).replace(b'"format":1', b'"format":2')
    card.state.commit({ROOT_DOCUMENT: kept})
    card.restart()
    return kept


def trusts_nobody(card: Card) -> bool:
    try:
        card.keeper.trust.check_package(WEB, [SECOND.id], "")
    except PackageRefused:
        return True
    return False


def test_an_unreadable_root_stays_until_a_chain_from_the_boot_images_root_is_validated(card: Card) -> None:
    kept = spoiled(card)
    for _ in range(2):
        assert trusts_nobody(card) and card.keeper.report().trouble
        card.keeper.keep()  # as at a validation
        assert card.state.document(ROOT_DOCUMENT) == kept
        card.restart()
    assert card.keeper.follow(LONG.encode())
    assert not trusts_nobody(card) and card.keeper.report().trouble == ""
    assert card.state.document(ROOT_DOCUMENT) == kept, "a trial leaves it as it is"
    card.restart()
    assert trusts_nobody(card), "and is over with the power"
    assert card.keeper.follow(LONG.encode())
    card.keeper.keep()
    card.restart()
    assert card.version == 3 and not trusts_nobody(card)


def test_an_unreadable_root_is_mended_by_the_very_chain_of_the_boot_image(card: Card) -> None:
    spoiled(card)
    assert card.keeper.follow(SHORT.encode())
    assert card.version == 2 and not trusts_nobody(card)


@pytest.mark.parametrize("lie", LIES)
def test_what_does_not_go_on_from_the_boot_images_root_mends_nothing(card: Card, lie: str) -> None:
    kept, (sent, words) = spoiled(card), LIES[lie]
    with pytest.raises(RootRefused, match=words) as refused:
        card.keeper.follow(sent())
    assert "goes on trusting nobody" in refused.value.hint
    assert trusts_nobody(card)
    assert card.state.document(ROOT_DOCUMENT) == kept


def test_power_that_fails_while_an_unreadable_root_is_replaced_leaves_it_or_the_new_one(card: Card) -> None:
    spoiled(card)
    contents = card.device.contents()

    def act(device: MemoryDevice) -> None:
        card.restart(device)
        card.keeper.follow(LONG.encode())
        card.keeper.keep()

    outcomes = set()
    for device, case in every_cut(copied_from(contents), act, 3):
        card.restart(device)
        nobody = trusts_nobody(card)
        outcomes.add(nobody)
        assert nobody or card.version == 3, case
    assert outcomes == {True, False}
