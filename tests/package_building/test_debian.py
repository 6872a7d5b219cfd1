"""Debian packages as they are on disk: read, laid over each other, and made into a package by the command."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from firmware_mgr.imaging.tree import File, Folder, Link, Tree
from firmware_mgr.model.errors import PeerError, UsageError
from firmware_mgr.model.ids import CpuArch
from firmware_mgr.packaging.assemble import build_from_manifest
from firmware_mgr.packaging.debian import read_debs

from .test_build import KEY
from .test_manifest import folder_with_sources
from .trees import server_tree


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


def leaves(tree: Tree) -> Tree:
    return {path: node for path, node in tree.items() if not isinstance(node, Folder)}


@pytest.mark.parametrize("cpu", list(CpuArch))
def test_what_debian_has_in_lib_and_lib64_ends_in_usr(cpu: CpuArch, tmp_path: Path) -> None:
    shipped = server_tree(cpu, merged=False)
    assert {path.partition("/")[0] for path in shipped} > {"lib"}
    tree = read_debs([make_deb(tmp_path, "server", shipped)])
    assert leaves(tree) == leaves(server_tree(cpu))
    assert {path.partition("/")[0] for path in tree} == {"etc", "usr"}


@pytest.mark.parametrize(
    ("path", "target", "merged"),
    [
        ("bin/sh", "dash", "dash"),
        ("bin/pager", "/etc/alternatives/pager", "/etc/alternatives/pager"),
        ("usr/bin/which", "/bin/which.debianutils", "/usr/bin/which.debianutils"),
        ("usr/lib/x.so", "../../lib/x.so.1", "/usr/lib/x.so.1"),
        ("sbin/init", "../lib/systemd/systemd", "../lib/systemd/systemd"),
        ("usr/share/doc/x", "../lib/x", "../lib/x"),
    ],
)
def test_a_link_leads_to_where_the_file_is_in_usr(
    path: str, target: str, merged: str, tmp_path: Path
) -> None:
    tree = read_debs([make_deb(tmp_path, "one", {path: Link(target)})])
    assert [node for node in tree.values() if isinstance(node, Link)] == [Link(merged)]


def test_links_of_the_root_itself_are_left_out(tmp_path: Path) -> None:
    base = make_deb(tmp_path, "base", {"lib": Link("usr/lib"), "lib64": Link("usr/lib64")})
    library = make_deb(tmp_path, "library", {"lib/x": File(b"x"), "usr/lib/y": File(b"y")})
    merged: Tree = {"usr/lib/x": File(b"x"), "usr/lib/y": File(b"y")}
    assert leaves(read_debs([base, library])) == merged
    assert leaves(read_debs([library, base])) == merged


def test_a_file_in_lib_and_usr_lib_is_one_or_refused_in_whatever_order(tmp_path: Path) -> None:
    old = make_deb(tmp_path, "old", {"lib/x": File(b"x")})
    new = make_deb(tmp_path, "new", {"usr/lib/x": File(b"x")})
    other = make_deb(tmp_path, "other", {"usr/lib/x": File(b"other")})
    folder = make_deb(tmp_path, "folder", {"usr/lib/x/y": File(b"y")})
    assert leaves(read_debs([old, new])) == leaves(read_debs([new, old])) == {"usr/lib/x": File(b"x")}
    for one, two in ((old, other), (other, old), (old, folder), (folder, old)):
        with pytest.raises(UsageError, match="path with different content") as caught:
            read_debs([one, two])
        assert caught.value.where == "usr/lib/x"


def test_a_link_from_usr_to_the_same_name_outside_gives_way_to_the_file(tmp_path: Path) -> None:
    link = make_deb(tmp_path, "link", {"usr/bin/x": Link("/bin/x"), "usr/sbin/y": Link("../../sbin/y")})
    files: Tree = {"bin/x": File(b"x", 0o755), "sbin/y": File(b"y", 0o755)}
    file = make_deb(tmp_path, "file", files)
    merged: Tree = {f"usr/{path}": node for path, node in files.items()}
    assert leaves(read_debs([link, file])) == leaves(read_debs([file, link])) == merged


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
