"""Whom a card believes: its boot image's root of trust or the one it keeps (SPEC-trust §7)."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from firmware_mgr.card.believed_root import Believed, NobodyTrusted, believe
from firmware_mgr.card.settings import AgentSettings, read_root
from firmware_mgr.flash.gpt import FlashLayout
from firmware_mgr.model.ids import CpuArch
from firmware_mgr.package.errors import PackageRefused
from firmware_mgr.package.root import RootRefused
from firmware_mgr.package.root_chain import RootChain
from firmware_mgr.package.root_trust import RootTrust
from firmware_mgr.package.trust import SignedPackage
from firmware_mgr.packaging.keys import keyring_of
from tests.package.roots import RELEASE, STRANGER, make_chain, make_root
from tests.package.samples import flip

OURS, THEIRS = b"certificate of our authority", b"certificate of another one"
R1, R2, R3 = make_root(1), make_root(2), make_root(3)
SHORT, LONG = make_chain(R1, R2), make_chain(R1, R2, R3)
FORK = make_chain(R1, R2, replace(R3, earliest=1))
ANEW = make_chain(replace(R1, earliest=1))
FLAT = keyring_of([STRANGER])
MIB = 1 << 20


def look(root: RootChain | None, kept: bytes | None, authority: bytes = OURS) -> Believed:
    settings = AgentSettings(
        board="b",
        cpu=CpuArch.AARCH64,
        version="1",
        build_date=0,
        flash_device=Path("/dev/x"),
        flash=FlashLayout(MIB, MIB, MIB, MIB),
        slot_register=None,
        authority=Path("/x"),
        keyring=FLAT,
        root=root,
    )
    return believe(settings, authority, kept)


def kept_of(chain: RootChain, authority: bytes = OURS) -> bytes:
    document = look(chain, None, authority).document
    assert document is not None
    return document


#: boot image's root, what is kept -> version that is believed; 0: the flat keyring.
BELIEVED: dict[str, tuple[RootChain | None, bytes | None, int]] = {
    "nothing is kept": (SHORT, None, 2),
    "the same is kept": (SHORT, kept_of(SHORT), 2),
    "the image's is newer": (LONG, kept_of(SHORT), 3),
    "the kept one is newer": (SHORT, kept_of(LONG), 3),
    "the image has a flat keyring": (None, kept_of(SHORT), 2),
    "neither has a root": (None, None, 0),
    "what is kept is of another authority": (SHORT, kept_of(LONG, THEIRS), 2),
    "a flat image meets what another authority's left": (None, kept_of(LONG, THEIRS), 0),
    "the site began anew": (ANEW, kept_of(LONG), 1),
    "what is kept is damaged and of another authority": (SHORT, flip(kept_of(LONG, THEIRS), 800), 2),
    "what is kept is empty": (SHORT, b"", 2),
}


@pytest.mark.parametrize("case", BELIEVED)
def test_the_newer_of_two_roots_is_believed_when(case: str) -> None:
    root, kept, version = BELIEVED[case]
    believed = look(root, kept)
    if version == 0:
        assert believed == Believed(FLAT)
        return
    assert isinstance(believed.trust, RootTrust) and believed.trust.root.version == version
    assert believed.report().trouble == ""
    after = look(root, believed.document or kept)
    assert after.document is None, "what is to be kept is kept once"


def test_nobody_is_believed_when_two_roots_of_one_version_were_signed() -> None:
    believed = look(LONG, kept_of(FORK))
    assert isinstance(believed.trust, NobodyTrusted) and believed.document is None
    assert "two different roots of trust" in believed.report().trouble
    for trust in (believed.trust, believed.trust.held()):
        with pytest.raises(PackageRefused, match="two different roots of trust"):
            trust.check_signatures({RELEASE.id: b""}, b"", "package web")
        with pytest.raises(PackageRefused, match="two different roots of trust"):
            trust.check_package(SignedPackage("web", "1", 0), [RELEASE.id], "package web")


@pytest.mark.parametrize("root", [SHORT, LONG, None])
@pytest.mark.parametrize(
    "kept",
    [
        flip(kept_of(LONG), 800),
        kept_of(LONG)[:40],
        kept_of(LONG)[:32],
        kept_of(LONG).replace(b'"format":1', b'"format":2'),
        kept_of(SHORT)[:32] + make_chain(R1, signers=[]).encode(),
    ],
    ids=["damaged", "cut", "empty", "of a later format", "a draft"],
)
def test_nobody_is_believed_when_what_is_kept_cannot_be_read(root: RootChain | None, kept: bytes) -> None:
    """It may be newer than the boot image's, and know of a revocation."""
    believed = look(root, kept)
    assert isinstance(believed.trust, NobodyTrusted)
    assert believed.document is None, "it is not overwritten"
    with pytest.raises(PackageRefused, match="keeps cannot be read") as refused:
        believed.trust.check_package(SignedPackage("web", "1", 0), [RELEASE.id], "package web")
    assert refused.value.expected and refused.value.found and "burn-all" in refused.value.hint
    report = believed.report()
    assert "keeps cannot be read" in report.trouble
    assert report.version == (0 if root is None else root.newest.version), "what a chain has to go on from"


def test_a_damaged_root_in_a_boot_image_is_no_reason_to_look_at_its_keyring(tmp_path: Path) -> None:
    path = tmp_path / "root.json"
    assert read_root(path) is None
    path.write_bytes(LONG.encode()[:-2])
    with pytest.raises(RootRefused, match=r"root\.json"):
        read_root(path)
    path.write_bytes(make_chain(R1, signers=[]).encode())
    with pytest.raises(RootRefused, match="not signed by enough"):
        read_root(path)
    path.write_bytes(LONG.encode())
    assert read_root(path) == LONG
