"""Debian packages as they are on disk: read, laid over each other, and made into a package by the command."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from firmware_mgr.imaging.tree import File, Link, Tree
from firmware_mgr.model.errors import PeerError, UsageError
from firmware_mgr.packaging.assemble import build_from_manifest
from firmware_mgr.packaging.debian import read_debs

from .test_build import KEY
from .test_manifest import folder_with_sources


def make_deb(folder: Path, name: str, tree: Tree) -> Path:
    """A Debian package with these files."""
    root = folder / f"{name}.d"
    (root / "DEBIAN").mkdir(parents=True)
    control = (
        f"Package: {name}\nVersion: 1\nArchitecture: arm64\nMaintainer: test <t@example>\nDescription: test\n"
    )
    (root / "DEBIAN/control").write_text(control)
    for path, node in tree.items():
        place = root / path
        place.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(node, Link):
            place.symlink_to(node.target)
        elif isinstance(node, File):
            place.write_bytes(node.data)
            place.chmod(node.mode)
    deb = folder / f"{name}.deb"
    command = ["dpkg-deb", "--root-owner-group", "-Znone", "--build", str(root), str(deb)]
    subprocess.run(command, check=True, capture_output=True)
    return deb


def test_packages_are_laid_over_each_other(tmp_path: Path) -> None:
    same = File(b"same", 0o644)
    one = make_deb(tmp_path, "one", {"usr/bin/x": File(b"x", 0o755), "usr/share/common": same})
    two = make_deb(tmp_path, "two", {"usr/bin/y": Link("x"), "usr/share/common": same})
    tree = read_debs([one, two])
    assert tree["usr/bin/x"] == File(b"x", 0o755)
    assert tree["usr/bin/y"] == Link("x")
    assert tree["usr/share/common"] == same


def test_packages_that_differ_in_a_path_are_refused(tmp_path: Path) -> None:
    one = make_deb(tmp_path, "one", {"etc/x": File(b"1")})
    two = make_deb(tmp_path, "two", {"etc/x": File(b"2")})
    with pytest.raises(UsageError, match="path with different content") as caught:
        read_debs([one, two])
    assert (caught.value.where, caught.value.expected) == ("etc/x", "as in one.deb")


def test_a_damaged_package_is_named(tmp_path: Path) -> None:
    (tmp_path / "bad.deb").write_bytes(b"no package")
    with pytest.raises(PeerError, match=r"bad\.deb"):
        read_debs([tmp_path / "bad.deb"])


def test_a_missing_lock_file_says_how_to_write_one(tmp_path: Path) -> None:
    manifest = folder_with_sources(tmp_path) / "manifest.toml"
    with pytest.raises(UsageError, match=r"debs\.lock: lock file is missing.*--refresh"):
        build_from_manifest(manifest, [KEY], tmp_path / "cache")


def test_a_lock_file_for_other_packages_says_how_to_write_it_anew(tmp_path: Path) -> None:
    manifest = folder_with_sources(tmp_path) / "manifest.toml"
    (tmp_path / "debs.lock").write_text('format = 1\narch = "arm64"\nnames = ["other"]\npackage = []\n')
    with pytest.raises(UsageError, match=r"other packages.*fwmgr package build --refresh"):
        build_from_manifest(manifest, [KEY], tmp_path / "cache")
