"""A card that is only restarted judges by the site's newest root of trust: its old image's agent follows it.

In process; master and agent are the real ones. What a lying master sends changes no byte.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from firmware_mgr.card.believed_root import ROOT_DOCUMENT
from firmware_mgr.flash.device import Cut, FlashDevice
from firmware_mgr.model.software import SoftwareSet
from firmware_mgr.package.root_chain import RootChain
from firmware_mgr.package.trust import Role
from firmware_mgr.packaging import root_drafts
from firmware_mgr.rack.hands import PowerAction
from tests.package.roots import ALICE, BOB, CAROL, RELEASE, SECOND, STRANGER
from tests.scenarios.keepers import ISSUED, list_key, minimum, retire, revoke, threshold
from tests.scenarios.regions import digests_of, state_of
from tests.scenarios.rooted_site import SLOT, Site, assert_refused, running_site

ROTATION = (list_key(CAROL, "carol", Role.RELEASE), retire(RELEASE, [Role.RELEASE]))


@pytest.fixture
def site() -> Iterator[Site]:
    made = running_site()
    yield made
    made.system.close()


def device(site: Site) -> FlashDevice:
    return site.system.chassis.card(SLOT).hardware.flash


def kept(site: Site) -> RootChain:
    """The root of trust in the card's flash."""
    return RootChain.decode(state_of(device(site))[ROOT_DOCUMENT][32:])


def content(site: Site) -> dict[str, str]:
    """All but what the loader counts in, and the documents of the card's own state."""
    parts = digests_of(device(site))
    return {name: digest for name, digest in parts.items() if name not in ("control", "state")}


def serves(site: Site, version: str) -> bool:
    """Whether the set that the card runs has this version of its package, and a page is served."""
    record = site.card(SLOT)["record"]
    (package,) = record["wanted"]["packages"]
    runs = record["running"]["set"] == SoftwareSet.from_document(record["wanted"]).digest.hex
    return runs and package["version"] == version and bool(site.page(SLOT))


def test_a_package_by_a_key_that_came_with_a_rotation_is_taken_by_a_restart_alone(site: Site) -> None:
    site.keepers.change(*ROTATION)
    site.keepers.add_package("2.0", CAROL)
    assert site.card(SLOT)["trust"]["card_root"] == 1
    assert site.set(packages=["web=2.0"])["warnings"] == []
    site.restart("1.0")
    card = site.card(SLOT)
    assert card["packages"] == ["web 2.0"] and serves(site, "2.0")
    assert (card["booted_from"], card["trust"]["card_root"]) == ("a", 2)
    assert "the card judges by version 2" in site.show(SLOT)
    assert kept(site) == site.keepers.chain

    burns = len(site.burns(SLOT))
    site.restart("1.0")
    assert serves(site, "2.0") and len(site.burns(SLOT)) == burns
    assert site.card(SLOT)["trust"]["card_root"] == 2


def test_image_and_package_of_after_a_rotation_come_with_one_restart(site: Site) -> None:
    site.keepers.change(*ROTATION)
    site.keepers.add_package("2.0", CAROL)
    assert site.add_new_image("1.1") == []
    assert site.set(images=["1.1"], packages=["web=2.0"])["warnings"] == []
    site.restart("1.1")
    assert serves(site, "2.0")


def test_a_card_that_slept_through_versions_follows_them_all(site: Site) -> None:
    for number in range(2, 6):
        site.keepers.change(minimum(f"0.{number}"))
    site.keepers.change(list_key(CAROL, "carol", Role.RELEASE))
    site.keepers.add_package("2.0", CAROL)
    site.set(packages=["web=2.0"])
    site.restart("1.0")
    assert kept(site).newest.version == 6 and serves(site, "2.0")


def test_a_revoked_key_is_refused_by_a_card_that_is_only_restarted(site: Site) -> None:
    """The master says so while it hears the card; of one without power it knows no more than its image."""
    site.keepers.add_package("2.0", RELEASE)
    site.keepers.change(revoke(RELEASE))
    words = ("the card would refuse a package: signed by a revoked key", "laptop stolen", "version 2")
    assert_refused(site, "/v1/card/set", {"cards": ["1"], "packages": ["web=2.0"]}, *words)
    site.take_out(SLOT)
    (warning,) = site.set(packages=["web=2.0"])["warnings"]
    assert "signed by a revoked key" in warning
    before, documents = content(site), state_of(device(site))
    site.power(SLOT, PowerAction.ON)
    reason = site.wait_reason(SLOT, "signed by a revoked key")
    assert "package web 2.0" in reason and "laptop stolen" in reason
    assert content(site) == before
    after = state_of(device(site))
    assert kept(site) == site.keepers.chain
    assert {**after, ROOT_DOCUMENT: b""} == {**documents, ROOT_DOCUMENT: b""}, "no more than the root is kept"

    site.keepers.add_package("3.0", SECOND)
    site.set(packages=["web=3.0"])
    site.wait_in_service(SLOT)
    assert serves(site, "3.0")


class LyingChain:
    """Looks to the master like its site's chain, and reaches the card as other bytes."""

    def __init__(self, honest: RootChain, sent: bytes) -> None:
        self.roots, self.newest = honest.roots, honest.newest
        self._sent = sent

    def encode(self) -> bytes:
        return self._sent


def _lies(honest: RootChain) -> dict[str, tuple[bytes, str]]:
    """What is sent -> what the card says of it. `honest` ends with version 2, the card's."""
    draft = root_drafts.add_key(
        honest, root_drafts.listed(STRANGER.public, "stranger"), [Role.RELEASE], ISSUED
    )
    alone = root_drafts.sign(draft, [ALICE])
    whole = root_drafts.sign(draft, [ALICE, BOB])
    newest = whole.roots[-1]
    wrong = replace(newest, signatures={**newest.signatures, BOB.id: BOB.sign(b"something else")})
    text = whole.encode()
    key = BOB.id.encode()
    at = text.rindex(b'"' + key + b'":"') + len(key) + 4
    forged = text[:at] + wrong.signatures[BOB.id].hex().encode() + text[at + 128 :]
    middle = RootChain(honest.roots).encode()[: -len(b"]}\n")]
    further = root_drafts.sign(root_drafts.set_minimum(whole, "web", "0.2", ISSUED), [ALICE, BOB])
    gap = middle + b"," + _last(further) + b"]}\n"
    return {
        "threshold": (alone.encode(), "not signed by enough keepers"),
        "signature": (forged, "signature is wrong"),
        "gap": (gap, "roots do not follow each other"),
        "lower": (RootChain(honest.roots[:1]).encode(), "older than the one that is known"),
    }


def _last(chain: RootChain) -> bytes:
    """The bytes of the newest root, as the chain's document has them."""
    whole, before = chain.encode(), RootChain(chain.roots[:-1]).encode()
    return whole[len(before) - len(b"]}\n") + 1 : -len(b"]}\n")]


@pytest.mark.parametrize("lie", ["threshold", "signature", "gap", "lower"])
def test_a_chain_that_a_lying_master_forged_is_refused_and_no_byte_changes(site: Site, lie: str) -> None:
    """It would have the card believe a stranger."""
    site.keepers.change(minimum("0.1"))
    site.keepers.add_package("2.0", SECOND)
    site.set(packages=["web=2.0"])
    site.restart("1.0")
    honest = site.keepers.chain
    site.keepers.change(minimum("0.2"))
    site.keepers.add_package("3.0", SECOND)
    site.set(packages=["web=3.0"])
    sent, words = _lies(honest)[lie]
    site.take_out(SLOT)
    before, documents = content(site), state_of(device(site))
    assert site.system.master is not None
    engine = site.system.master.master.engine
    true, engine._roots = engine._roots, lambda: LyingChain(site.keepers.chain, sent)  # type: ignore[assignment,return-value]
    site.power(SLOT, PowerAction.ON)
    reason = site.wait_reason(SLOT, words)
    assert "root of trust sent by the master" in reason and "expected" in reason and "found" in reason
    assert (content(site), state_of(device(site))) == (before, documents)
    assert site.card(SLOT)["trust"]["card_root"] == 2

    engine._roots = true
    site.restart("1.0")
    assert serves(site, "3.0") and kept(site) == site.keepers.chain


def test_a_damaged_root_on_the_master_burns_no_card_and_says_so(site: Site) -> None:
    site.keepers.add_package("2.0", SECOND)
    site.set(packages=["web=2.0"])
    site.take_out(SLOT)
    path, whole = site.system.paths.root, site.system.paths.root.read_bytes()
    path.write_bytes(whole[:-3])
    before = content(site)
    site.power(SLOT, PowerAction.ON)
    assert "root.json: not a root of trust" in site.wait_reason(SLOT, "no card is burned now")
    assert content(site) == before
    path.write_bytes(whole)
    site.restart("1.0")
    assert serves(site, "2.0")


def test_power_that_fails_between_root_and_package_costs_nothing(site: Site) -> None:
    """Within each operation of flash from the root on to the end: the same order goes on."""
    site.keepers.change(*ROTATION, threshold(Role.TEST, 1))
    site.keepers.add_package("2.0", CAROL)
    site.set(packages=["web=2.0"])
    site.take_out(SLOT)
    card = site.system.chassis.card(SLOT)
    contents, begun = card.hardware.flash.contents(), card.hardware.flash.operations
    site.restart("1.0")
    total = card.hardware.flash.operations - begun
    versions = set()
    for number in range(1, total + 1):
        site.take_out(SLOT)
        card.hardware.flash.load(contents)
        card.hardware.cut = (card.hardware.flash.operations + number, Cut.BEFORE)
        brownouts = card.brownouts
        site.power(SLOT, PowerAction.ON)
        site.wait_until("the power failed", lambda b=brownouts: card.brownouts > b, 200.0)  # type: ignore[misc]
        versions.add(kept(site).newest.version)
        site.wait_booted(SLOT, "1.0", 900.0)
        assert serves(site, "2.0") and kept(site) == site.keepers.chain, f"operation {number}"
    assert versions == {1, 2}
