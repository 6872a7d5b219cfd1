"""The cpio archive, as cpio(1) reads it."""

from __future__ import annotations

import os
import stat
import subprocess
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from firmware_mgr.imaging.cpio import ALIGNMENT, cpio_archive, padded
from firmware_mgr.imaging.tree import File, Folder, Link, Tree, with_parents

TREE: Tree = {
    "usr/bin/tool": File(b"#!/bin/sh\n", 0o755),
    "bin": Link("usr/bin"),
    "etc/empty": File(b""),
    "etc/odd name ü": File(b"12345", 0o600),
    "tmp": Folder(0o1777),
}


def test_the_listing_is_in_order_with_every_folder_before_its_content() -> None:
    done = subprocess.run(
        ["cpio", "-it", "--quiet"], input=cpio_archive(TREE), capture_output=True, check=True
    )
    expected = ["bin", "etc", "etc/empty", "etc/odd name ü", "tmp", "usr", "usr/bin", "usr/bin/tool"]
    assert done.stdout.decode().splitlines() == expected


def test_what_is_unpacked_is_what_was_packed(tmp_path: Path) -> None:
    subprocess.run(["cpio", "-id", "--quiet"], input=cpio_archive(TREE), cwd=tmp_path, check=True)
    assert (tmp_path / "usr/bin/tool").read_bytes() == b"#!/bin/sh\n"
    assert stat.S_IMODE((tmp_path / "usr/bin/tool").stat().st_mode) == 0o755
    assert os.readlink(tmp_path / "bin") == "usr/bin"
    assert (tmp_path / "etc/odd name ü").read_bytes() == b"12345"
    assert (tmp_path / "etc/empty").read_bytes() == b""
    assert stat.S_IMODE((tmp_path / "tmp").stat().st_mode) == 0o1777


def test_equal_trees_are_equal_bytes_in_whatever_order_they_were_made() -> None:
    assert cpio_archive(dict(reversed(TREE.items()))) == cpio_archive(TREE)


_PART = st.text("abcdé.-", min_size=1, max_size=4).filter(lambda part: part not in (".", ".."))
_PATH = st.lists(_PART, min_size=1, max_size=3).map("/".join)


@settings(max_examples=25, deadline=None)
@given(st.dictionaries(_PATH, st.binary(max_size=40).map(File), max_size=6))
def test_any_tree_is_listed_whole(tree: Tree) -> None:
    # A path cannot be a file and a folder.
    tree = {path: node for path, node in tree.items() if not any(o.startswith(f"{path}/") for o in tree)}
    archive = cpio_archive(tree)
    done = subprocess.run(["cpio", "-it", "--quiet"], input=archive, capture_output=True, check=True)
    assert done.stdout.decode().splitlines() == list(with_parents(tree))
    assert len(archive) % ALIGNMENT == 0


def test_padding_goes_up_to_the_next_word() -> None:
    assert [len(padded(bytes(count))) for count in range(6)] == [0, 4, 4, 4, 4, 8]
