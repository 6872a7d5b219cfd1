"""A root of trust changes only by its own signatures, and its document has one form (SPEC-trust §1 to §4)."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from firmware_mgr.model.errors import UsageError
from firmware_mgr.package import strict_json
from firmware_mgr.package.layout import signed_message as package_message
from firmware_mgr.package.root import ListedKey, Root, RootRefused
from firmware_mgr.package.root_chain import (
    MAX_CHAIN,
    MAX_ROOTS,
    RootChain,
    SignedRoot,
    newer_chain,
    signed_message,
)
from firmware_mgr.package.trust import Role

from .roots import (
    ALICE,
    BOB,
    CAROL,
    RELEASE,
    STRANGER,
    TESTER,
    listed,
    make_chain,
    make_root,
    revoked,
    role,
    signed,
)
from .samples import flip

ONE, TWO, THREE = make_root(1), make_root(2), make_root(3)
#: Carol comes in Bob's place.
HANDED = replace(
    TWO,
    keys={CAROL.id: listed(CAROL), **{name: key for name, key in TWO.keys.items() if name != BOB.id}},
    roles={**TWO.roles, Role.ROOT: role(ALICE, CAROL, threshold=2)},
    revoked={BOB.id: revoked(BOB, "has left")},
)


def small_chain() -> RootChain:
    """Two versions, and no key more than it takes."""
    only = Root(
        1, 7, {ALICE.id: listed(ALICE)}, {Role.ROOT: role(ALICE), Role.RELEASE: role(), Role.TEST: role()}
    )
    return make_chain(only, replace(only, version=2), signers=[ALICE])


def test_a_chain_comes_back_as_it_was() -> None:
    chain = make_chain(ONE, TWO, THREE)
    assert RootChain.decode(chain.encode()) == chain
    assert chain.newest == THREE and chain.shortfalls == ()


def test_a_key_is_handed_over_by_those_who_keep_the_old_root_and_the_new_one() -> None:
    chain = RootChain((signed(ONE, ALICE, BOB), signed(HANDED, ALICE, BOB, CAROL))).require()
    assert RootChain.decode(chain.encode()).newest.revoked[BOB.id].reason == "has left"


REFUSED_CHAINS: dict[str, tuple[Callable[[], object], str]] = {
    "a version is skipped": (lambda: make_chain(ONE, THREE), "do not follow each other"),
    "a version comes twice": (lambda: make_chain(ONE, ONE), "do not follow each other"),
    "a version goes back": (lambda: make_chain(TWO, ONE), "do not follow each other"),
    "it is issued before the one that it follows": (
        lambda: make_chain(ONE, replace(TWO, issued=1)),
        "issued before",
    ),
    "the first has not its own threshold": (
        lambda: make_chain(ONE, signers=[ALICE]).require(),
        "not signed by enough",
    ),
    "a middle one has not its threshold": (
        lambda: RootChain((signed(ONE, ALICE, BOB), signed(TWO, ALICE), signed(THREE, ALICE, BOB))),
        "not signed by enough",
    ),
    "only the new keepers have signed": (
        lambda: RootChain((signed(ONE, ALICE, BOB), signed(HANDED, ALICE, CAROL))).require(),
        "not signed by enough",
    ),
    "only the old keepers have signed": (
        lambda: RootChain((signed(ONE, ALICE, BOB), signed(HANDED, ALICE, BOB))).require(),
        "not signed by enough",
    ),
    "a stranger has signed, too": (
        lambda: make_chain(ONE, signers=[ALICE, BOB, STRANGER]),
        "may not sign roots",
    ),
    "a key of role release has signed, too": (
        lambda: make_chain(ONE, signers=[ALICE, BOB, RELEASE]),
        "may not sign roots",
    ),
    "a keeper of the version before the last has signed": (
        lambda: RootChain(
            (
                signed(ONE, ALICE, BOB),
                signed(HANDED, ALICE, BOB, CAROL),
                signed(replace(HANDED, version=3), ALICE, BOB, CAROL),
            )
        ),
        "may not sign roots",
    ),
    "the signatures are another version's": (
        lambda: RootChain((SignedRoot(ONE, signed(TWO, ALICE, BOB).signatures),)),
        "signature is wrong",
    ),
    "a signature stands under another's name": (
        lambda: RootChain(
            (SignedRoot(ONE, {ALICE.id: BOB.sign(signed_message(signed(ONE))), BOB.id: b"\0" * 64}),)
        ),
        "signature is wrong",
    ),
    "a signature is one of a package": (
        lambda: RootChain(
            (SignedRoot(ONE, {ALICE.id: ALICE.sign(package_message(bytes(160), signed(ONE).digest))}),)
        ),
        "signature is wrong",
    ),
    "a signature is too short": (
        lambda: RootChain((SignedRoot(ONE, {ALICE.id: b""}),)),
        "signature is wrong",
    ),
    "there is no root": (lambda: RootChain(()), "not a chain"),
    "there are too many": (
        lambda: RootChain((signed(ONE),) * (MAX_ROOTS + 1)),
        "not a chain",
    ),
    "it is a flat keyring's": (
        lambda: make_chain(replace(ONE, version=0)),
        "flat keyring",
    ),
}


@pytest.mark.parametrize("case", REFUSED_CHAINS)
def test_a_chain_is_refused_when(case: str) -> None:
    make, words = REFUSED_CHAINS[case]
    with pytest.raises(RootRefused, match=words):
        make()


def test_a_signature_that_stands_twice_counts_once() -> None:
    text = make_chain(ONE, signers=[ALICE]).encode().decode()
    entry = text[text.index('"signatures":{') + len('"signatures":{') : text.rindex("}}")]
    assert entry.startswith(f'"{ALICE.id}')
    with pytest.raises(RootRefused, match="twice"):
        RootChain.decode(text.replace(entry, f"{entry},{entry}").encode())


def test_a_draft_says_whose_signatures_are_missing() -> None:
    chain = RootChain((signed(ONE, ALICE, BOB), signed(HANDED, ALICE)))
    assert [(one.version, len(one.signed), one.threshold) for one in chain.shortfalls] == [
        (1, 1, 2),
        (2, 1, 2),
    ]
    with pytest.raises(RootRefused, match="1 of 2 signatures by root keys of version 1; 1 of 2"):
        chain.require()


def test_of_two_chains_of_one_line_the_longer_is_believed() -> None:
    short, long = make_chain(ONE), make_chain(ONE, TWO, THREE)
    assert newer_chain(short, long) is long
    assert newer_chain(long, short) is long  # a replay changes nothing
    assert newer_chain(long, long) is long
    assert newer_chain(make_chain(TWO), long) is long  # one that does not begin at the first
    assert newer_chain(long, make_chain(TWO)) is long


def test_two_roots_of_one_version_are_refused_as_a_fork() -> None:
    one = make_chain(ONE, TWO, replace(THREE, earliest=1))
    with pytest.raises(RootRefused, match="two different roots of trust have the same version"):
        newer_chain(one, make_chain(ONE, TWO, THREE, make_root(4)))


def test_a_chain_that_shares_nothing_is_of_another_line() -> None:
    assert newer_chain(make_chain(ONE), make_chain(replace(ONE, earliest=1), TWO)) is None
    assert newer_chain(make_chain(ONE), make_chain(TWO)) is None


def test_a_draft_is_never_believed() -> None:
    draft = RootChain((signed(ONE, ALICE, BOB), signed(TWO, ALICE)))
    for known, offered in ((make_chain(ONE), draft), (draft, make_chain(ONE))):
        with pytest.raises(RootRefused, match="not signed by enough"):
            newer_chain(known, offered)


# The document.


def test_every_truncation_is_refused() -> None:
    data = make_chain(ONE, TWO).encode()
    for length in range(len(data)):
        with pytest.raises(RootRefused):
            RootChain.decode(data[:length])


def test_every_bit_that_is_flipped_is_noticed() -> None:
    """Refused; or, where the newest root's keeper is meant no more, a draft that nobody believes."""
    data = small_chain().encode()
    for bit in range(len(data) * 8):
        with pytest.raises(RootRefused):
            RootChain.decode(flip(data, bit)).require()


@pytest.mark.parametrize("more", [b"\n", b" ", b"\0", b"{}", b"x"])
def test_bytes_behind_or_before_the_document_are_refused(more: bytes) -> None:
    data = make_chain(ONE).encode()
    for changed in (data + more, more + data):
        with pytest.raises(RootRefused):
            RootChain.decode(changed)


def _with(path: str, value: object) -> bytes:
    """The first root's document with one member changed; a value of ... takes it away."""
    document = json.loads(make_chain(ONE).encode())
    *way, last = path.split("/")
    place = document["roots"][0]["root"]
    for step in way:
        place = place[step]
    if value is ...:
        del place[last]
    else:
        place[last] = value
    return strict_json.encode(document)


WRONG_MEMBERS: list[tuple[str, Any]] = [
    ("version", 0),
    ("version", -1),
    ("version", 2**31),
    ("version", "1"),
    ("version", True),
    ("version", None),
    ("issued", 2**40),
    ("issued", -1),
    ("issued", ...),
    ("earliest", ...),
    ("earliest", 2**40),
    ("surprise", 1),
    ("keys", []),
    ("keys", {}),
    (f"keys/{ALICE.id}", {}),
    (f"keys/{ALICE.id}/public", "00" * 31),
    (f"keys/{ALICE.id}/public", BOB.public.hex()),
    (f"keys/{ALICE.id}/public", ALICE.public.hex().upper()),
    (f"keys/{ALICE.id}/public", 5),
    (f"keys/{ALICE.id}/name", ""),
    (f"keys/{ALICE.id}/name", "a\x1b[2J"),
    (f"keys/{ALICE.id}/name", "bob"),
    (f"keys/{ALICE.id}/name", "a" * 65),
    (f"keys/{ALICE.id}/since", -1),
    (f"keys/{ALICE.id}/until", 0),
    (f"keys/{ALICE.id}/surprise", 1),
    ("revoked", {ALICE.id: {"name": "alice", "public": ALICE.public.hex(), "reason": "both"}}),
    ("revoked", {CAROL.id: {"name": "carol", "public": CAROL.public.hex(), "reason": ""}}),
    ("revoked", {CAROL.id: {"name": "carol", "public": CAROL.public.hex(), "reason": "a\nb"}}),
    ("revoked", {CAROL.id: {"name": "carol", "public": CAROL.public.hex(), "reason": "r" * 201}}),
    ("roles/test", ...),
    ("roles/admin", {"keys": [], "threshold": 1}),
    ("roles/root/threshold", 0),
    ("roles/root/threshold", 3),
    ("roles/root/threshold", True),
    ("roles/root/keys", []),
    ("roles/root/keys", sorted([ALICE.id, BOB.id], reverse=True)),
    ("roles/root/keys", [ALICE.id, ALICE.id]),
    ("roles/root/keys", [STRANGER.id]),
    ("roles/test/threshold", 2),
    ("roles/test/keys", [RELEASE.id]),
    ("minimum_versions", {"Web": "1"}),
    ("minimum_versions", {"web": "not a version"}),
    ("minimum_versions", {"web": 1}),
    ("minimum_versions", []),
]


@pytest.mark.parametrize(("path", "value"), WRONG_MEMBERS)
def test_a_member_that_makes_no_sense_is_refused(path: str, value: Any) -> None:
    # What is signed is not looked at before it makes sense: these would not be signed rightly either.
    with pytest.raises(RootRefused, match=r"not a root of trust|makes no sense"):
        RootChain.decode(_with(path, value))


def test_limits_are_kept() -> None:
    with pytest.raises(RootRefused, match="longer than"):
        RootChain.decode(b" " * (MAX_CHAIN + 1))
    many = {f"p{number}": "1" for number in range(1025)}
    with pytest.raises(UsageError, match="minimum versions"):
        replace(ONE, minimum_versions=many)
    with pytest.raises(RootRefused, match="too long"):
        long = {f"p{number}{'x' * 50}": "1" * 64 for number in range(1000)}
        make_chain(replace(ONE, minimum_versions=long))


@pytest.mark.parametrize(
    "text",
    [
        '{"a":1.0}',
        '{"a":1e3}',
        '{"a":NaN}',
        '{"a":Infinity}',
        '{"a":-0}',
        '{"a":12345678901234567}',
        '{"a":1,"a":1}',
        '{"b":1,"a":1}',
        '{"a": 1}',
        '{"a":"\\u0061"}',
        '{"a":"\\ud800"}',
        "[" * 100_000,
        '{"a":' * 100_000,
        "[[[[[[[[[0]]]]]]]]]",
        '"\\',
        "",
        "nothing",
    ],
)
def test_json_in_another_spelling_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        strict_json.decode(text.encode() + b"\n", 1 << 20)


def test_brackets_in_a_text_are_no_depth() -> None:
    document = {"a": "[" * 20 + '"' + "{" * 20 + "\\"}
    assert strict_json.decode(strict_json.encode(document), 1000) == document


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**14), 10**14) | st.text(st.characters(codec="utf-8")),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(document=_JSON)
@settings(max_examples=200, deadline=None)
def test_one_document_has_one_spelling(document: Any) -> None:
    data = strict_json.encode(document)
    try:
        assert strict_json.decode(data, 1 << 16) == document
    except ValueError as e:
        assert "deeper" in str(e)


@given(
    data=st.binary(max_size=200)
    | st.text(alphabet='{}[]",:0123456789abcdef\\\n ', max_size=200).map(str.encode)
)
@settings(max_examples=400, deadline=None)
def test_whatever_is_read_is_a_chain_or_refused(data: bytes) -> None:
    with pytest.raises(RootRefused):
        RootChain.decode(data)


@given(document=_JSON, path=st.sampled_from(["roots", "format"]))
@settings(max_examples=200, deadline=None)
def test_any_value_in_any_place_is_a_chain_or_refused(document: Any, path: str) -> None:
    whole = {**json.loads(make_chain(ONE).encode()), path: document}
    with pytest.raises(RootRefused):
        RootChain.decode(strict_json.encode(whole)).require()


@given(document=_JSON, member=st.sampled_from(sorted(ONE.document())))
@settings(max_examples=300, deadline=None)
def test_any_value_in_any_member_of_a_root_is_refused(document: Any, member: str) -> None:
    if document == ONE.document()[member]:
        return
    with pytest.raises(RootRefused):
        RootChain.decode(_with(member, document)).require()


def test_a_newer_format_says_so() -> None:
    with pytest.raises(RootRefused, match="another format") as refused:
        RootChain.decode(strict_json.encode({"format": 2, "roots": []}))
    assert "newer fwmgr" in refused.value.hint


def test_keys_that_release_and_keys_that_test_are_apart() -> None:
    with pytest.raises(UsageError, match="apart"):
        replace(ONE, roles={**ONE.roles, Role.TEST: role(TESTER, RELEASE)})


def test_a_key_has_a_window_that_begins_before_it_ends() -> None:
    with pytest.raises(UsageError, match="window"):
        ListedKey(ALICE.public, "alice", 10, 10)


def test_a_chain_that_could_not_be_read_again_is_not_made() -> None:
    """And how many more versions fit is known before, to the last one."""
    minimums = {f"package-{number:04}": "1.2.3-4+deb12u1" for number in range(1000)}
    chain = make_chain(replace(ONE, minimum_versions=minimums))
    left = chain.versions_left
    assert 5 < left < 20 and 0 < chain.used < 0.2
    roots = [replace(make_root(version), minimum_versions=minimums) for version in range(1, left + 3)]
    for version in range(2, left + 2):
        chain = make_chain(*roots[:version])
        assert RootChain.decode(chain.encode()) == chain
    assert chain.versions_left == 0 and 0.9 < chain.used <= 1
    with pytest.raises(RootRefused, match="chain of roots is too long") as refused:
        make_chain(*roots)
    assert refused.value.expected and refused.value.found and "--start-over" in refused.value.hint


def test_short_roots_end_by_their_number() -> None:
    chain = make_chain(*(make_root(version) for version in range(1, 101)))
    assert (chain.versions_left, chain.used) == (MAX_ROOTS - 100, 100 / MAX_ROOTS)
