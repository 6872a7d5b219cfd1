"""The first package that has a path wins it, and the images say so."""

from __future__ import annotations

from dataclasses import replace

import pytest

from firmware_mgr.card import erofs_layout as ondisk
from firmware_mgr.card.tree import (
    check_programs,
    contents_of,
    merge,
    source_image,
    tree_image,
)
from firmware_mgr.flash.store_geometry import Extent
from firmware_mgr.model.errors import DeviceError, PeerError, UsageError
from firmware_mgr.model.ids import Digest
from firmware_mgr.package.contents import ModuleKind
from tests.card.software import Content, Folder, Link, Program, package, shell


def winners(*files: dict[str, Content]) -> dict[str, str]:
    """Which package has won each path, by its place in the set."""
    packages = [package(f"p{n}", each, built=n) for n, each in enumerate(files)]
    return {path: f"p{placed.mtime}" for path, placed in merge(packages).items()}


def test_first_package_wins() -> None:
    assert winners({"a": b"1", "b": b"1"}, {"b": b"2", "c": b"2"}) == {"a": "p0", "b": "p0", "c": "p1"}


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"x": b"file"}, {"x/y": b"below", "z": b""}),
        ({"x": Link("z")}, {"x/y": b"below"}),
        ({"x/y": b""}, {"x": b"file"}),
        ({"x/y": b""}, {"x": Link("y")}),
    ],
)
def test_no_package_hides_a_subtree_of_another(first: dict[str, Content], second: dict[str, Content]) -> None:
    with pytest.raises(PeerError, match="file where this one has a directory") as caught:
        winners(first, second)
    assert "p1" in caught.value.where and caught.value.expected and caught.value.found


def test_an_explicit_directory_wins_over_a_later_file_of_its_name() -> None:
    assert winners({"x": Folder()}, {"x": b"later"}) == {"x": "p0"}


def test_directories_of_several_packages_are_one() -> None:
    assert winners({"x/a": b""}, {"x": Folder(0o700), "x/b": b""}) == {"x/a": "p0", "x": "p1", "x/b": "p1"}
    assert winners({"x": Folder()}, {"x": Folder(), "x/b": b""}) == {"x": "p0", "x/b": "p1"}


@pytest.mark.parametrize("path", ["lib/libc.so.6", "bin", "lib64/ld.so", "run/x", "proc", "tmp/x"])
def test_packages_cannot_have_what_the_root_brings(path: str) -> None:
    """Otherwise one file could have two paths, or lie under a mount."""
    with pytest.raises(UsageError):
        package("bad", {path: b""})


def test_packages_cannot_hide_the_modules() -> None:
    with pytest.raises(PeerError, match="package bad 1: path would hide the modules"):
        merge([package("bad", {".modules/x": b""})])


def test_program_that_is_not_in_the_root_is_missed() -> None:
    server = package("server", {"usr/bin/busybox": Program(b"x")}, [shell("web", "")])
    check_programs([server], merge([server]))
    with pytest.raises(PeerError, match="process web of server 1: program of a process is not in the root"):
        check_programs([server], {})


def test_each_module_is_in_the_source_once() -> None:
    won = merge(
        [package("p", {"a": b"same", "b": Program(b"same"), "c": b"", "d": Link("a"), "e": Folder()})]
    )
    assert contents_of(won) == {Digest.of(b"same"): 4}


def test_hidden_module_is_not_in_the_source() -> None:
    won = merge([package("p", {"a": b"1"}), package("q", {"a": b"2"})])
    assert contents_of(won) == {Digest.of(b"1"): 1}


@pytest.mark.parametrize("extent", [Extent(4096, 5), Extent(4097, 4), Extent(8192, 4)])
def test_extent_that_does_not_fit_is_the_devices_fault(extent: Extent) -> None:
    with pytest.raises(DeviceError, match="stored module cannot be mounted"):
        source_image({Digest.of(b"same"): 4}, lambda _: extent, 8192)


def test_source_points_at_the_stores_units() -> None:
    image = source_image({Digest.of(b"same"): 4}, lambda _: Extent(123 * 4096, 4), 1 << 20)
    assert ondisk.CHUNK_INDEX.pack(0, 1, 123) in image
    assert Digest.of(b"same").hex.encode() in image


def test_equal_sets_give_equal_trees_whatever_order_paths_come_in() -> None:
    files: dict[str, Content] = {"a/b/c": b"1", "a": Folder(0o700), "z": Link("a")}
    one = package("p", files)
    other = replace(one, modules=tuple(reversed(one.modules)))
    assert {module.kind for module in one.modules} == {
        ModuleKind.DATA,
        ModuleKind.DIRECTORY,
        ModuleKind.SYMLINK,
    }
    assert len(tree_image(merge([one]))) == len(tree_image(merge([other])))
    assert tree_image(merge([one])) == tree_image(merge([package("p", files)]))
