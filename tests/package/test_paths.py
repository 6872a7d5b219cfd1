"""No path and no link target leads out of the root: each known trick, one by one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware_mgr.model.errors import UsageError
from firmware_mgr.package.contents import ModuleKind
from firmware_mgr.package.errors import PackageFormatError
from firmware_mgr.package.paths import (
    MERGED,
    MOUNT_POINTS,
    check_directory,
    check_link_target,
    check_path,
    check_place,
    merged_path,
)
from firmware_mgr.package.table import decode_table, encode_table
from firmware_mgr.packaging.build import ModuleSource, PackageHead, pack

HEAD = PackageHead("p", "1", 0)


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
        ("usr/lib64/ld.so", "../lib/ld.so"),
        ("usr/bin/x", "../../lib/x"),
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


RESERVED = [
    *((f"{head}{rest}", f"'{end}{rest}'") for head, end in MERGED.items() for rest in ("", "/x", "/a/b")),
    *((f"{head}{rest}", f"a path outside /{head}") for head in MOUNT_POINTS for rest in ("", "/x", "/a/b")),
]


def test_the_root_has_these_names_for_itself() -> None:
    assert MERGED == {"bin": "usr/bin", "lib": "usr/lib", "lib64": "usr/lib64", "sbin": "usr/sbin"}
    assert MOUNT_POINTS == ("dev", "mnt", "proc", "run", "state", "tmp")


@pytest.mark.parametrize("kind", [ModuleKind.DATA, ModuleKind.DIRECTORY, ModuleKind.SYMLINK])
@pytest.mark.parametrize(("path", "expected"), RESERVED)
def test_a_builder_puts_nothing_where_the_root_has_its_own(
    path: str, expected: str, kind: ModuleKind
) -> None:
    target = "x" if kind is ModuleKind.SYMLINK else ""
    with pytest.raises(UsageError, match=r"of the root|the root itself") as caught:
        pack(HEAD, [ModuleSource(path, kind, link_target=target)])
    assert (caught.value.expected, caught.value.found) == (expected, repr(path))


@pytest.mark.parametrize(("path", "expected"), RESERVED)
def test_a_package_that_has_something_there_all_the_same_is_refused(path: str, expected: str) -> None:
    legal = "x" * len(path)
    table = encode_table(pack(HEAD, [ModuleSource(legal, ModuleKind.DATA)])[0])
    assert table.count(legal.encode()) == 1
    with pytest.raises(PackageFormatError, match=r"of the root|the root itself") as caught:
        decode_table(table.replace(legal.encode(), path.encode()), "sample")
    assert caught.value.where == "sample: module table"
    assert (caught.value.expected, caught.value.found) == (expected, repr(path))


@pytest.mark.parametrize(
    "path",
    ["usr/lib", "usr/bin/x", "usr/lib64/x", "lib32/x", "library", "opt/lib/x", "srv/tmp", "running", "sys"],
)
def test_names_that_are_only_like_those_of_the_root_are_taken(path: str) -> None:
    assert check_place(path) == merged_path(path) == path


@pytest.mark.parametrize(
    ("path", "merged"),
    [
        ("lib", "usr/lib"),
        ("lib/ld-linux-aarch64.so.1", "usr/lib/ld-linux-aarch64.so.1"),
        ("lib64/ld-linux-x86-64.so.2", "usr/lib64/ld-linux-x86-64.so.2"),
        ("bin/sh", "usr/bin/sh"),
        ("sbin/init", "usr/sbin/init"),
        ("etc/lib/x", "etc/lib/x"),
        ("", ""),
    ],
)
def test_a_merged_path_is_where_the_roots_links_lead(path: str, merged: str) -> None:
    assert merged_path(path) == merged


@given(st.lists(st.sampled_from([*MERGED, "usr", "etc", "x"]), min_size=1, max_size=4).map("/".join))
def test_a_merged_path_is_legal_and_stays_as_it_is(path: str) -> None:
    merged = merged_path(path)
    assert check_place(merged) == merged_path(merged) == merged


LINK = ModuleSource("opt", ModuleKind.SYMLINK, link_target="usr/lib")
FILE = ModuleSource("opt", ModuleKind.DATA, b"x")


@pytest.mark.parametrize("leaf", [LINK, FILE])
@pytest.mark.parametrize("below", ["opt/x", "opt/a/b/c"])
def test_nothing_stands_below_a_file_or_symlink(leaf: ModuleSource, below: str) -> None:
    with pytest.raises(UsageError, match="stands below one that is no directory"):
        pack(HEAD, [leaf, ModuleSource(below, ModuleKind.DATA)])


def test_a_name_that_only_begins_like_a_file_is_not_below_it() -> None:
    toc, _ = pack(HEAD, [FILE, ModuleSource("opt-x/y", ModuleKind.DATA)])
    assert [module.path for module in toc.modules] == ["opt", "opt-x/y"]


def test_a_path_stands_once() -> None:
    with pytest.raises(UsageError, match="not sorted and unique"):
        pack(HEAD, [FILE, FILE])


def patched(table: bytes, legal: str, text: str) -> bytes:
    """A table that no builder of ours makes: one text in it is another of the same length."""
    assert len(legal) == len(text) and table.count(legal.encode()) == 1
    return table.replace(legal.encode(), text.encode())


@pytest.mark.parametrize(
    ("path", "target"),
    [
        ("x", "/etc/passwd"),
        ("x", ".."),
        ("x", "../etc/passwd"),
        ("usr/lib/x", "../../.."),
        ("usr/lib/x", "../../../etc/passwd"),
        ("usr/lib/x", "a/../../../../etc"),
        ("usr/lib/x", "a//b"),
        ("usr/lib/x", "a\0b"),
    ],
)
def test_a_package_with_a_target_that_leaves_the_root_is_refused(path: str, target: str) -> None:
    legal = "t" * len(target)
    table = encode_table(pack(HEAD, [ModuleSource(path, ModuleKind.SYMLINK, link_target=legal)])[0])
    with pytest.raises(PackageFormatError, match=r"[Ll]ink|target") as caught:
        decode_table(patched(table, legal, target), "sample")
    assert caught.value.where.startswith("sample: module table") and repr(target) in str(caught.value.found)


@pytest.mark.parametrize("leaf", [LINK, FILE])
def test_a_package_with_something_below_a_file_or_symlink_is_refused(leaf: ModuleSource) -> None:
    table = encode_table(pack(HEAD, [leaf, ModuleSource("opu/x", ModuleKind.DATA)])[0])
    with pytest.raises(PackageFormatError, match="stands below one that is no directory"):
        decode_table(patched(table, "opu/x", "opt/x"), "sample")


@pytest.mark.parametrize("other", [LINK, FILE])
def test_a_package_with_a_path_twice_is_refused(other: ModuleSource) -> None:
    table = encode_table(pack(HEAD, [other, ModuleSource("opu", ModuleKind.DATA)])[0])
    with pytest.raises(PackageFormatError, match="not sorted and unique"):
        decode_table(patched(table, "opu", "opt"), "sample")
