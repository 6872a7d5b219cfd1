"""Which cards are sent the site's roots of trust with a burn, and what is allowed to those that follow."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from firmware_mgr.cli.cards import _trust_text
from firmware_mgr.link import messages as m
from firmware_mgr.link.service import CONTENT_PIECE
from firmware_mgr.master.api import card_document
from firmware_mgr.master.believed import check_trusted, running_warnings
from firmware_mgr.master.documents import ImageRecord
from firmware_mgr.master.root_offer import root_offer, would_follow
from firmware_mgr.model.errors import UsageError
from firmware_mgr.model.ids import Digest, SlotId
from firmware_mgr.model.software import SoftwareSet
from firmware_mgr.package.root import Root
from firmware_mgr.package.root_chain import RootChain
from firmware_mgr.package.trust import Role
from tests.master.rack_twin import IMAGE, PACKAGE, Rack, TwinCard, burned
from tests.package.roots import (
    CAROL,
    RELEASE,
    SECOND,
    listed,
    make_chain,
    make_root,
    role,
    without,
)

R1 = make_root(1)
R2 = without(make_root(2), RELEASE)
SITE = make_chain(R1, R2)
ANEW = make_chain(replace(R1, earliest=1), replace(R2, earliest=1))


def said(root_of: RootChain, version: int) -> m.RootReport:
    root = root_of.roots[version - 1]
    return m.RootReport(root.root.version, Digest.from_bytes(root.digest))


#: the site's chain, what the card says -> whether it would follow, and whether it is sent the chain.
OFFERS: dict[str, tuple[RootChain | None, m.RootReport | None, bool, bool]] = {
    "an older root of the site's": (SITE, said(SITE, 1), True, True),
    "the site's newest": (SITE, said(SITE, 2), True, False),
    "the site's newest, and what it keeps cannot be read": (
        SITE,
        replace(said(SITE, 2), trouble="unreadable"),
        True,
        True,
    ),
    "a flat keyring, and what it keeps cannot be read": (
        SITE,
        m.RootReport(0, trouble="unreadable"),
        False,
        False,
    ),
    "a newer one than the site's": (make_chain(R1), said(SITE, 2), False, False),
    "another line": (SITE, said(ANEW, 1), False, False),
    "another root of a version": (SITE, m.RootReport(1, Digest.of(b"another")), False, False),
    "the digest of one, the version of another": (SITE, replace(said(SITE, 1), version=2), False, False),
    "a flat keyring": (SITE, m.RootReport(0), False, False),
    "an older agent, which does not say": (SITE, None, False, False),
    "the site has a flat keyring": (None, said(SITE, 1), False, False),
}


@pytest.mark.parametrize("case", OFFERS)
def test_the_chain_goes_to_cards_that_judge_by_an_older_root_of_it(case: str) -> None:
    chain, report, follows, sent = OFFERS[case]
    assert would_follow(chain, report) is follows
    offer = root_offer(chain, report)
    assert bool(offer) is sent
    if sent:
        assert chain is not None and b"".join(offer) == chain.encode()
        assert all(0 < len(piece) <= CONTENT_PIECE for piece in offer)


def image_with(root: Root) -> ImageRecord:
    return replace(IMAGE, root=root.document())


def test_a_card_that_follows_is_judged_by_the_sites_newest_root() -> None:
    new = replace(
        make_root(2),
        keys={**R1.keys, CAROL.id: listed(CAROL)},
        roles={**R1.roles, Role.RELEASE: role(SECOND, CAROL)},
    )
    chain, image = make_chain(R1, new), image_with(R1)
    software = SoftwareSet(IMAGE.ref, (PACKAGE.ref,))
    by_new, by_old = (replace(PACKAGE, contents={"signed_by": [key.id]}) for key in (CAROL, RELEASE))
    slot = SlotId(1)
    with pytest.raises(UsageError, match="may not sign packages"):
        check_trusted(slot, software, [image], [by_new])
    check_trusted(slot, software, [image], [by_new], followed=chain)
    check_trusted(slot, software, [image], [by_old])
    with pytest.raises(UsageError, match="may not sign packages") as refused:
        check_trusted(slot, software, [image], [by_old], followed=chain)
    assert "root of trust version 2" in str(refused.value)
    # An image of another line is not followed away from.
    anew = image_with(ANEW.newest)
    with pytest.raises(UsageError, match="may not sign packages"):
        check_trusted(slot, software, [anew], [by_new], followed=chain)


def test_no_burn_all_is_recommended_for_a_card_that_follows() -> None:
    running, wanted = image_with(R1), replace(image_with(R2), version="2", digest=Digest.of(b"two"))
    package = replace(PACKAGE, contents={"signed_by": [CAROL.id]})
    software = SoftwareSet(wanted.ref, (package.ref,))
    new = replace(
        R2, keys={**R2.keys, CAROL.id: listed(CAROL)}, roles={**R2.roles, Role.RELEASE: role(CAROL)}
    )
    assert running_warnings(SlotId(1), running, software, [package], ())
    assert not running_warnings(SlotId(1), running, software, [package], (), followed=make_chain(R1, new))


async def test_the_burn_carries_the_chain_and_the_answer_says_what_the_card_judges_by(tmp_path: Path) -> None:
    async with Rack(tmp_path, slots=1) as rack:
        rack.roots = SITE
        card = TwinCard(rack, 1)
        card.root, card.source = said(SITE, 1), m.BootSource.A
        await rack.master.want(SlotId(1), "1", ["web=1.0"])
        (_, burn) = await card.hello()
        assert isinstance(burn, m.Burn) and b"".join(burn.root) == SITE.encode()
        flash = burned(burn.wanted, "a")
        await card.report(m.Stored(burn.wanted.digest, 1, 2, "a", False, 1.0, flash, said(SITE, 2)))
        hello = rack.master.roster.get(SlotId(1)).hello
        assert hello is not None and hello.root == said(SITE, 2)


@pytest.mark.parametrize("protocol", [1, 2])
async def test_an_agent_that_does_not_say_its_root_is_sent_none(tmp_path: Path, protocol: int) -> None:
    async with Rack(tmp_path, slots=1) as rack:
        rack.roots = SITE
        card = TwinCard(rack, 1)
        card.protocol = protocol
        await rack.master.burn_all(None, False)
        (_, burn) = await card.hello()
        assert isinstance(burn, m.Burn) and burn.root == ()
        assert ("root" in m.to_document(burn, protocol)) is (protocol == 2)


async def test_a_card_that_trusts_nobody_is_shown_to_the_person_who_asks(tmp_path: Path) -> None:
    async with Rack(tmp_path, slots=1) as rack:
        rack.roots = SITE
        card = TwinCard(rack, 1)
        card.root = replace(said(SITE, 2), trouble="the root of trust that the card keeps cannot be read")
        await rack.master.want(SlotId(1), "1", ["web=1.0"])
        (_, burn) = await card.hello()
        assert isinstance(burn, m.Burn) and b"".join(burn.root) == SITE.encode()
        document = card_document(rack.master.roster.get(SlotId(1)), rack.master)
        assert "THE CARD TRUSTS NOBODY: the root of trust that the card keeps cannot" in _trust_text(
            document["trust"]
        )
        flash = burned(burn.wanted, "a")
        await card.report(m.Stored(burn.wanted.digest, 1, 2, "a", False, 1.0, flash, said(SITE, 2)))
        document = card_document(rack.master.roster.get(SlotId(1)), rack.master)
        assert document["trust"]["card_trouble"] == ""
