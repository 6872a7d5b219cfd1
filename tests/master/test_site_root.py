"""The master's root of trust: adopted whole or not at all, never a reason to believe more (SPEC-trust §7)."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from firmware_mgr.master.site import MasterPaths, trust_key, write_trust
from firmware_mgr.master.site_root import ASIDE, adopt_root, site_trust
from firmware_mgr.model.errors import UsageError
from firmware_mgr.package.errors import PackageRefused
from firmware_mgr.package.keyring import Keyring
from firmware_mgr.package.root import RootRefused
from firmware_mgr.package.root_trust import RootTrust
from firmware_mgr.package.trust import Role, SignedPackage
from firmware_mgr.packaging.keys import SigningKey
from tests.package.roots import ALICE, RELEASE, SECOND, STRANGER, make_chain, make_root
from tests.package.samples import flip

ONE = make_chain(make_root(1))
TWO = make_chain(make_root(1), make_root(2))
ANEW = make_chain(make_root(1, earliest=7))
PACKAGE = SignedPackage("web", "1", 0)


@pytest.fixture
def paths(tmp_path: Path) -> MasterPaths:
    """A site with a flat keyring of one key."""
    paths = MasterPaths(tmp_path / "m")
    trust_key(paths, pem(tmp_path, STRANGER))
    return paths


def pem(folder: Path, key: SigningKey) -> Path:
    path = folder / "old.pem"
    path.write_bytes(key.private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    return path


def test_a_first_root_comes_in_place_of_the_flat_keyring(paths: MasterPaths) -> None:
    assert isinstance(site_trust(paths), Keyring)
    assert site_trust(paths).check_package(PACKAGE, [STRANGER.id], "web") is Role.RELEASE
    adopted = adopt_root(paths, ONE)
    assert (adopted.version, adopted.before, adopted.put_aside) == (1, None, paths.keys / ASIDE)
    trust = site_trust(paths)
    assert isinstance(trust, RootTrust) and trust.root == ONE.newest
    with pytest.raises(PackageRefused):
        trust.check_package(PACKAGE, [STRANGER.id], "web")
    keys = Keyring.load(json.loads((paths.trust / "keys.json").read_text()))
    assert set(keys.keys) == {RELEASE.id, SECOND.id}, "agents that know no root believe who may release"


def test_losing_the_root_leaves_no_key_rather_than_the_old_ones(paths: MasterPaths) -> None:
    adopt_root(paths, ONE)
    paths.root.unlink()
    with pytest.raises(PackageRefused):
        site_trust(paths).check_package(PACKAGE, [STRANGER.id], "web")


@pytest.mark.parametrize("damage", ["cut", "flip", "empty", "text"])
def test_a_damaged_root_is_no_reason_to_believe_the_keyring(paths: MasterPaths, damage: str) -> None:
    adopt_root(paths, ONE)
    data = paths.root.read_bytes()
    bad = {"cut": data[:-9], "flip": flip(data, 999), "empty": b"", "text": b"{}\n"}[damage]
    paths.root.write_bytes(bad)
    for work in (lambda: site_trust(paths), lambda: write_trust(paths), lambda: adopt_root(paths, TWO)):
        with pytest.raises(RootRefused, match=r"root\.json"):
            work()
    assert adopt_root(paths, TWO, start_over=True).version == 2


def test_a_draft_leaves_everything_as_it_was(paths: MasterPaths) -> None:
    before = {path: path.read_bytes() for path in paths.directory.rglob("*") if path.is_file()}
    with pytest.raises(RootRefused, match="not signed by enough"):
        adopt_root(paths, make_chain(make_root(1), signers=[ALICE]))
    with pytest.raises(RootRefused, match="not signed by enough"):
        adopt_root(paths, make_chain(make_root(1), signers=[ALICE]), start_over=True)
    assert {path: path.read_bytes() for path in paths.directory.rglob("*") if path.is_file()} == before


def test_a_newer_one_follows_and_an_older_one_does_not_come_back(paths: MasterPaths) -> None:
    adopt_root(paths, ONE)
    assert adopt_root(paths, TWO).before == 1
    assert adopt_root(paths, TWO).version == 2, "the same again changes nothing"
    with pytest.raises(UsageError, match="older than the site's present one"):
        adopt_root(paths, ONE)
    assert paths.read_root() == TWO


def test_a_root_of_another_line_takes_a_word_of_its_own(paths: MasterPaths) -> None:
    adopt_root(paths, TWO)
    with pytest.raises(UsageError, match="does not follow") as refused:
        adopt_root(paths, ANEW)
    assert "--start-over" in refused.value.hint
    assert paths.read_root() == TWO
    assert adopt_root(paths, ANEW, start_over=True).version == 1


def test_where_there_is_a_root_no_single_key_is_trusted_beside_it(paths: MasterPaths, tmp_path: Path) -> None:
    adopt_root(paths, ONE)
    with pytest.raises(UsageError, match="has a root of trust") as refused:
        trust_key(paths, pem(tmp_path, STRANGER))
    assert "fwmgr key root add-key" in refused.value.hint


def test_an_adoption_that_was_cut_in_the_middle_is_completed_by_the_next(
    paths: MasterPaths,
) -> None:
    paths.root.write_bytes(ONE.encode())  # and then power failed
    assert adopt_root(paths, ONE).put_aside == paths.keys / ASIDE
    assert not list(paths.keys.glob("*.pem"))
