"""What the verbs of `fwmgr key root` make: the next version, unsigned, and signatures that come together."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from firmware_mgr.model.errors import UsageError
from firmware_mgr.package.root import RootRefused
from firmware_mgr.package.root_chain import RootChain
from firmware_mgr.package.trust import Role
from firmware_mgr.packaging import root_drafts as drafts
from tests.package.roots import (
    ALICE,
    BOB,
    CAROL,
    RELEASE,
    SECOND,
    STRANGER,
    TESTER,
    listed,
    make_chain,
    make_root,
)

NOW = 1_800_000_000
CHAIN = make_chain(make_root())


def test_a_change_makes_the_next_version_unsigned_and_a_further_one_changes_that_draft() -> None:
    draft = drafts.set_minimum(CHAIN, "web", "1.2", NOW)
    assert draft.newest.version == 2 and draft.roots[0] == CHAIN.roots[0] and len(draft.shortfalls) == 2
    signed = drafts.sign(draft, [ALICE])
    again = drafts.set_threshold(signed, Role.RELEASE, 2, NOW)
    assert again.newest.version == 2 and again.roots[-1].signatures == {}
    assert dict(again.newest.minimum_versions) == {"web": "1.2"}


def test_the_whole_way_of_a_first_root() -> None:
    founders = [
        drafts.Founder(listed(ALICE), frozenset({Role.ROOT})),
        drafts.Founder(listed(RELEASE), frozenset({Role.RELEASE})),
        drafts.Founder(listed(ALICE), frozenset({Role.RELEASE})),
    ]
    draft = drafts.first_draft(founders, {Role.RELEASE: 2}, NOW)
    assert draft.newest.roles[Role.RELEASE].keys == {ALICE.id, RELEASE.id}
    with pytest.raises(RootRefused, match="not signed by enough"):
        draft.require()
    assert drafts.sign(draft, [ALICE]).require().newest.issued == NOW


def test_a_desk_whose_clock_is_wrong_makes_no_root_that_is_older_than_the_one_before() -> None:
    assert drafts.set_minimum(CHAIN, "web", "1", 0).newest.issued == CHAIN.newest.issued


def test_copies_that_two_people_signed_come_together() -> None:
    draft = drafts.revoke(CHAIN, RELEASE.id, "laptop stolen", NOW)
    one, two = drafts.sign(draft, [ALICE]), drafts.sign(draft, [BOB])
    joined = drafts.join(one, [two])
    assert joined.shortfalls == () and drafts.missing_keepers(joined) == {}
    assert joined == drafts.sign(draft, [BOB, ALICE])
    with pytest.raises(UsageError, match="not copies of one draft"):
        drafts.join(one, [drafts.revoke(CHAIN, SECOND.id, "too", NOW)])


def test_a_revoked_key_leaves_all_roles_and_stays_listed_with_the_reason() -> None:
    root = drafts.revoke(CHAIN, RELEASE.id, "laptop stolen", NOW).newest
    assert root.revoked[RELEASE.id].reason == "laptop stolen" and RELEASE.id not in root.keys
    assert all(RELEASE.id not in held.keys for held in root.roles.values())
    assert drafts.find_key(root, "release") == RELEASE.id


def test_the_last_key_of_a_role_may_go() -> None:
    root = drafts.revoke(CHAIN, TESTER.id, "no tests any more", NOW).newest
    assert root.roles[Role.TEST].keys == frozenset()


REFUSED: dict[str, tuple[Callable[[RootChain], object], str]] = {
    "a keeper goes whom the threshold needs": (
        lambda chain: drafts.revoke(chain, BOB.id, "gone", NOW),
        "fewer keys than its threshold",
    ),
    "a stranger signs": (lambda chain: drafts.sign(chain, [STRANGER]), "may not sign this root"),
    "who releases signs": (lambda chain: drafts.sign(chain, [RELEASE]), "may not sign this root"),
    "a threshold cannot be reached": (
        lambda chain: drafts.set_threshold(chain, Role.RELEASE, 3, NOW),
        "threshold of role release",
    ),
    "a revoked key is added again": (
        lambda chain: drafts.add_key(
            drafts.revoke(chain, RELEASE.id, "gone", NOW), listed(RELEASE), [Role.RELEASE], NOW
        ),
        "key is revoked",
    ),
    "a key is revoked twice": (
        lambda chain: drafts.revoke(drafts.revoke(chain, RELEASE.id, "gone", NOW), RELEASE.id, "gone", NOW),
        "revoked already",
    ),
    "a key that releases is to test, too": (
        lambda chain: drafts.add_key(chain, listed(RELEASE), [Role.TEST], NOW),
        "apart",
    ),
    "a name is taken": (
        lambda chain: drafts.add_key(chain, drafts.listed(CAROL.public, "bob"), [Role.RELEASE], NOW),
        "names of keys",
    ),
    "no key has that name": (lambda chain: drafts.find_key(chain.newest, "nobody"), "no such key"),
    "too few digits of an id": (lambda chain: drafts.find_key(chain.newest, ALICE.id[:7]), "no such key"),
    "the version of a minimum is none": (
        lambda chain: drafts.set_minimum(chain, "web", "not one", NOW),
        "not a version",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_change_is_refused_when(case: str) -> None:
    work, words = REFUSED[case]
    with pytest.raises(UsageError, match=words):
        work(CHAIN)


def test_a_key_is_found_by_its_name_or_the_first_digits_of_its_id() -> None:
    assert drafts.find_key(CHAIN.newest, "bob") == BOB.id == drafts.find_key(CHAIN.newest, BOB.id[:8])


@pytest.mark.parametrize(
    ("verb", "field", "value"),
    [
        (lambda chain: drafts.set_window(chain, RELEASE.id, 5, 9, NOW), "keys", listed(RELEASE, 5, 9)),
        (lambda chain: drafts.add_key(chain, listed(CAROL), [Role.RELEASE], NOW), "keys", listed(CAROL)),
    ],
)
def test_a_key_is_listed_as_it_was_said(
    verb: Callable[[RootChain], RootChain], field: str, value: Any
) -> None:
    assert getattr(verb(CHAIN).newest, field)[value.id] == value


def test_a_retired_key_stays_listed_and_counts_no_more() -> None:
    root = drafts.retire(CHAIN, RELEASE.id, [Role.RELEASE], NOW).newest
    assert RELEASE.id in root.keys and root.roles[Role.RELEASE].keys == {SECOND.id}
