"""Issue 4, done when 6: rotation, threshold, revoked key, expired key, wrong clock, downgrade, test key.

Each with what the user sees, and that flash is as it was. In process; master and agent are the real ones.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from firmware_mgr.lab.sim.loop import UNIX_START
from firmware_mgr.lab.sim.software import BUILD_DATE
from firmware_mgr.model.errors import FwmgrError
from firmware_mgr.package.root_chain import RootChain
from firmware_mgr.package.trust import Role
from firmware_mgr.packaging import cosign, root_drafts
from firmware_mgr.rack.hands import PowerAction
from tests.package.roots import ALICE, BOB, RELEASE, SECOND, TESTER
from tests.scenarios.keepers import ISSUED, Change, minimum, retire, revoke, threshold, window
from tests.scenarios.rooted_site import SLOT, Site, add, assert_refused, running_site

#: The master's clock: as it is, before any key was made, and long after every window has ended.
CLOCKS = {"right": UNIX_START, "1970": 0.0, "2100": 4_102_444_800.0}


@pytest.fixture
def site() -> Iterator[Site]:
    made = running_site()
    yield made
    made.system.close()


@pytest.fixture(params=CLOCKS)
def clocked(request: pytest.FixtureRequest) -> Iterator[Site]:
    """A pristine card, and a master whose clock is as the test's name says."""
    made = Site(CLOCKS[request.param])
    yield made
    made.system.close()


# Rotation.


def test_rotation_replaces_a_key_and_cards_follow_with_their_next_boot_image(site: Site) -> None:
    keepers = site.keepers
    after = keepers.package("2.0", SECOND)
    old = site.system.build_image("sim-aarch64", "0.9").folder
    keepers.change(retire(RELEASE, [Role.RELEASE]))
    assert keepers.chain.newest.version == 2
    (warning,) = site.post("/v1/images", add(old))["warnings"]
    assert "carries root of trust version 1, this site's is version 2" in warning and "image build" in warning
    late = keepers.package("2.1", RELEASE)
    assert_refused(site, "/v1/packages", add(late), "may not sign packages", "release", "second", "version 2")

    site.post("/v1/packages", add(after))
    assert site.set(images=["1.0"], packages=["web=2.0"])["warnings"] == []  # the old root has it, too
    assert site.add_new_image("1.1") == []
    site.set(images=["1.1"])
    site.restart("1.1")
    assert site.page(SLOT)
    assert "version 2 in the wanted image" in site.show(SLOT)


def _signed(chain: RootChain, *keys: Any) -> RootChain:
    return root_drafts.sign(chain, keys)


def test_a_damaged_root_stops_what_comes_in_and_is_told_with_everything_else(site: Site) -> None:
    path = site.system.paths.root
    path.write_bytes(path.read_bytes()[:-3])
    with pytest.raises(FwmgrError, match=r"root\.json: not a root of trust"):
        site.post("/v1/packages", add(site.keepers.package("2.0")))
    (warning,) = site.set(packages=["web=1.0"])["warnings"]
    assert "no package is accepted now" in warning and "root.json" in warning
    assert site.card(SLOT)["in_service"]


def test_a_root_that_does_not_follow_is_refused_and_the_old_one_stays(site: Site) -> None:
    keepers = site.keepers
    first = keepers.chain
    draft = root_drafts.set_earliest(first, 5, ISSUED)
    other = root_drafts.set_earliest(first, 6, ISSUED)
    keepers.change(minimum("0.1"))
    before = site.system.paths.root.read_bytes()
    forked = _signed(other, ALICE, BOB)
    for chain, words in (
        (_signed(draft, ALICE), "not signed by enough keepers"),
        (first, "older than the site's present one"),
        (forked, "two different roots of trust"),
        (_signed(root_drafts.set_earliest(forked, 7, ISSUED), ALICE, BOB), "two different"),
    ):
        with pytest.raises(FwmgrError, match=words):
            keepers.adopt(chain)
        assert site.system.paths.root.read_bytes() == before


# Threshold.


def test_threshold_of_two_takes_two_people_on_two_machines(site: Site) -> None:
    keepers = site.keepers
    keepers.change(threshold(Role.RELEASE, 2))
    assert site.add_new_image("1.1") == []
    alone = keepers.package("2.0", RELEASE)
    words = ("not signed by enough keys", "2 of role release", "release", "counts")
    assert_refused(site, "/v1/packages", add(alone), *words)
    twice = keepers.package("2.0", RELEASE, RELEASE, name="-twice")
    assert_refused(site, "/v1/packages", add(twice), *words)
    # What is stored and signed by one key alone would be refused by the new image's root, says the master.
    assert_refused(site, "/v1/card/set", {"cards": ["1"], "images": ["1.1"]}, "not signed by enough keys")

    data = alone.read_bytes()
    head = data[: cosign.parse_header(data[:160]).head_length]
    request = cosign.SignRequest.decode(cosign.request_for(head, 2).encode())
    parts = [cosign.sign_request(request, key).encode() for key in (RELEASE, SECOND)]
    joined = cosign.new_head(head, [cosign.DetachedSignature.decode(part) for part in parts])
    sealed = site.system.directory / "sealed.fwp"
    sealed.write_bytes(joined + data[len(head) :])
    site.post("/v1/packages", add(sealed))
    site.set(images=["1.1"], packages=["web=2.0"])
    site.restart("1.1")
    assert site.page(SLOT)


# Revoked key.


def test_revoked_key_is_named_with_its_reason_and_the_card_runs_on(site: Site) -> None:
    keepers = site.keepers
    keepers.change(revoke(RELEASE))
    words = ("signed by a revoked key", "release", "laptop stolen", "1 of role release: second")
    assert_refused(site, "/v1/packages", add(keepers.package("2.0", RELEASE)), *words)
    (warning,) = site.get("/v1/packages")[0]["warnings"]
    assert "would not be accepted any more: signed by a revoked key" in warning and "laptop stolen" in warning

    assert site.add_new_image("1.1") == []
    assert_refused(
        site, "/v1/burn-all", {}, "the card would refuse a package: signed by a revoked key", "slot 1"
    )
    assert site.card(SLOT)["in_service"]

    keepers.add_package("2.0", SECOND)
    site.burned()
    assert site.card(SLOT)["packages"] == ["web 2.0"]


def test_a_revoked_key_does_not_come_back_with_an_older_boot_image(site: Site) -> None:
    """The master, asked for the old image, sees nothing wrong with it; the card keeps the newer root."""
    keepers = site.keepers
    keepers.change(revoke(RELEASE))
    site.add_new_image("1.1")
    keepers.add_package("2.0", SECOND)
    site.burned()
    site.take_out(SLOT)
    (warning,) = site.set(images=["1.0"], packages=["web=1.0"])["warnings"]
    assert "signed by a revoked key" in warning
    site.power(SLOT, PowerAction.ON)
    reason = site.wait_reason(SLOT, "signed by a revoked key")
    assert "laptop stolen" in reason
    site.set(images=["1.1"], packages=["web=2.0"])
    site.restart("1.1")


# Expired key with a wrong clock.


def test_expired_key_is_judged_by_signing_time_whatever_the_clock_says(clocked: Site) -> None:
    site, keepers = clocked, clocked.keepers
    keepers.change(window(RELEASE, 0, BUILD_DATE + 1))
    site.system.start_master()
    assert site.add_new_image("1.0") == []
    late = keepers.package("2.0", RELEASE, build_date=BUILD_DATE + 1)
    words = ("signed outside the time of its key", "release", "until 2026-05-28", "signed 2026-05-28")
    assert_refused(site, "/v1/packages", add(late), *words)
    keepers.add_package("1.0", RELEASE, build_date=BUILD_DATE)  # in its last second
    site.burned()
    assert site.page(SLOT)


# Downgrade.


def test_downgrade_is_not_let_in_and_going_back_to_what_is_stored_is(site: Site) -> None:
    keepers = site.keepers
    keepers.change(minimum("2.0"))
    old = keepers.package("1.9")
    words = ("older than what is let in from outside", "web 2.0 or later", "found 1.9")
    assert_refused(site, "/v1/packages", add(old), *words)

    assert site.add_new_image("1.1") == []
    keepers.add_package("2.0")
    (warning,) = site.set(images=["1.1"], packages=["web=1.0"])["warnings"]
    assert "web 1.0 is below the minimum 2.0" in warning and "may be gone back to" in warning
    site.restart("1.1")  # it holds web 1.0, so its new root lets it stay
    assert site.card(SLOT)["packages"] == ["web 1.0"] and site.page(SLOT)
    # Adding it again is not letting it in.
    assert site.post("/v1/packages", add(keepers.package("1.0")))["warnings"]


def test_a_card_that_does_not_hold_an_old_package_is_not_given_it(clocked: Site) -> None:
    site, keepers = clocked, clocked.keepers
    site.system.start_master()
    keepers.add_package("1.0")
    keepers.change(minimum("2.0"))
    site.add_new_image("1.1")
    words = (
        "the card would refuse a package: package is older",
        "web 2.0 or later",
        "slot 1, package web 1.0",
    )
    assert_refused(site, "/v1/burn-all", {}, *words)


# Test key.


def test_test_packages_are_for_cards_and_masters_that_take_them(site: Site) -> None:
    keepers = site.keepers
    tested = keepers.package("3.0", TESTER)
    words = ("TEST package, and no test packages are taken here", "tester", "--accept-test")
    assert_refused(site, "/v1/packages", add(tested), *words)

    site.system.stop_master()
    site.system.start_master(accept_test=True)
    site.wait_in_service(SLOT)
    added = site.post("/v1/packages", add(tested))
    assert added["contents"]["role"] == "test" and added["warnings"] == []
    assert_refused(site, "/v1/card/set", {"cards": ["1"], "packages": ["web=3.0"]}, "TEST package", "--test")
    site.burned()  # what is newest for this card does not count what is signed for tests only
    assert site.card(SLOT)["packages"] == ["web 1.0"]

    site.add_new_image("test-1", takes_test=True)
    (warning,) = site.set(images=["test-1"], packages=["web=3.0"])["warnings"]
    assert "boot image 1.0, which the card runs, would refuse it" in warning and "burn-all" in warning
    site.burned()
    card = site.card(SLOT)
    assert card["test_packages"] == ["web 3.0"] and card["trust"] == {
        "root": 1,
        "takes_test": True,
        "card_root": 1,
        "card_trouble": "",
    }
    shown = site.show(SLOT)
    assert "web 3.0 TEST" in shown and "takes TEST packages" in shown


# The card judges by itself: its boot image does not tell the master whom it trusts.

#: The change that the card's image has and that came after the package: who signed that, what the card says.
STRICT: dict[str, tuple[Change, tuple[Any, ...], str]] = {
    "revoked key": (revoke(RELEASE), (RELEASE,), "signed by a revoked key"),
    "expired key": (window(RELEASE, 0, 5), (RELEASE,), "signed outside the time of its key"),
    "threshold": (threshold(Role.RELEASE, 2), (RELEASE,), "not signed by enough keys"),
    "downgrade": (minimum("2"), (RELEASE,), "older than what is let in from outside"),
    "test key": (minimum("0.1"), (TESTER,), "no test packages are taken here"),
}


@pytest.mark.parametrize("case", STRICT)
@pytest.mark.parametrize("clock", ["1970", "2100"])
def test_a_card_refuses_by_itself_and_writes_nothing(case: str, clock: str) -> None:
    strict, keys, words = STRICT[case]
    site = Site(CLOCKS[clock])
    try:
        site.system.start_master(accept_test=True)
        site.keepers.add_package("1.0", *keys)  # let in when it was still good
        site.keepers.change(strict)
        site.add_mute_image("1.0")
        site.set(packages=["web=1.0"])
        before = site.flash()
        operation = site.burn_all()
        reason = site.wait_reason(SLOT, words)
        assert "package web 1.0" in reason
        site.wait_until("it is over", lambda: site.operation(operation)["finished"], 2000.0)
        assert site.operation(operation)["state"] != "done"
        assert site.flash() == before, "a pristine card has written something"
    finally:
        site.system.close()
