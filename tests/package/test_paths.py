"""No path and no link target leads out of the root: each known trick, one by one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware_mgr.model.errors import UsageError
from firmware_mgr.package.contents import ModuleKind
from firmware_mgr.package.paths import check_directory, check_link_target, check_path
from firmware_mgr.packaging.build import ModuleSource, PackageHead, pack


@pytest.mark.parametrize("path", ["a", "usr/lib/libc.so.6", "a..b/...", ".hidden/x", "ü/ß", "a" * 255, "-rf"])
def test_a_normalised_relative_path_is_taken(path: str) -> None:
    assert check_path(path) == path


@pytest.mark.parametrize(
    "path",
    [
        "",
        "/",
        "/etc/passwd",
        "//etc/passwd",
        "..",
        "../etc/passwd",
        "a/..",
        "a/../../b",
        "a/../b",
        ".",
        "./a",
        "a/./b",
        "a//b",
        "a/",
        "a\0b",
        "a\nb",
        "a\x1b[2Jb",
        "a\x85b",
        "a\\b",
        "..\\a",
        "C:\\a",
        "a\udcffb",
        "a" * 256,
        "/".join(["a" * 200] * 6),
    ],
)
def test_a_tricky_path_is_refused(path: str) -> None:
    with pytest.raises(UsageError):
        check_path(path)


@pytest.mark.parametrize(
    ("path", "target"),
    [
        ("usr/lib/libx.so", "libx.so.1"),
        ("usr/lib/libx.so", "../share/x"),
        ("usr/lib/x", "../.."),
        ("lib64/ld.so", "../lib/ld.so"),
        ("x", "a/b/c"),
    ],
)
def test_a_target_inside_the_root_is_taken(path: str, target: str) -> None:
    assert check_link_target(path, target) == target


@pytest.mark.parametrize(
    ("path", "target"),
    [
        ("x", ""),
        ("x", "/etc/passwd"),
        ("x", ".."),
        ("x", "../etc/passwd"),
        ("usr/lib/x", "../../.."),
        ("usr/lib/x", "../../../etc/passwd"),
        ("usr/lib/x", "a/../../../../etc"),
        ("usr/lib/x", "up/.."),
        ("usr/lib/x", "./a"),
        ("usr/lib/x", "a//b"),
        ("usr/lib/x", "a/"),
        ("usr/lib/x", "a\0b"),
        ("usr/lib/x", "a\\b"),
        ("usr/lib/x", "a/" * 600 + "b"),
    ],
)
def test_a_target_that_leaves_the_root_or_may_is_refused(path: str, target: str) -> None:
    with pytest.raises(UsageError):
        check_link_target(path, target)


@given(st.text(max_size=20))
def test_whatever_is_taken_has_only_plain_parts(path: str) -> None:
    try:
        check_path(path)
    except UsageError:
        return
    assert not path.startswith("/")
    assert all(part not in ("", ".", "..") for part in path.split("/"))
    assert not set(path) & set("\0\n\\")


@pytest.mark.parametrize("path", ["srv", "", "/srv/", "/srv/..", "//srv", "/\0"])
def test_a_working_directory_is_absolute_and_normalised(path: str) -> None:
    with pytest.raises(UsageError):
        check_directory(path)


LINK = ModuleSource("lib", ModuleKind.SYMLINK, link_target="usr/lib")
FILE = ModuleSource("lib", ModuleKind.DATA, b"x")


@pytest.mark.parametrize("leaf", [LINK, FILE])
@pytest.mark.parametrize("below", ["lib/x", "lib/a/b/c"])
def test_nothing_stands_below_a_file_or_symlink(leaf: ModuleSource, below: str) -> None:
    with pytest.raises(UsageError, match="stands below one that is no directory"):
        pack(PackageHead("p", "1", 0), [leaf, ModuleSource(below, ModuleKind.DATA)])


def test_a_name_that_only_begins_like_a_file_is_not_below_it() -> None:
    toc, _ = pack(PackageHead("p", "1", 0), [FILE, ModuleSource("lib-x/y", ModuleKind.DATA)])
    assert [module.path for module in toc.modules] == ["lib", "lib-x/y"]


def test_a_path_stands_once() -> None:
    with pytest.raises(UsageError, match="not sorted and unique"):
        pack(PackageHead("p", "1", 0), [FILE, FILE])
