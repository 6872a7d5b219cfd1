"""Trees: paths that stay in their place, links that are followed, tar files that are read."""

from __future__ import annotations

import io
import tarfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware_mgr.imaging.tree import File, Folder, Link, read_tar, resolve, tree_path
from firmware_mgr.model.errors import PeerError


def tar(*members: tuple[tarfile.TarInfo, bytes]) -> io.BytesIO:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:xz") as archive:
        for member, data in members:
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    stream.seek(0)
    return stream


def member(name: str, kind: bytes = tarfile.REGTYPE, target: str = "", mode: int = 0o644) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.mode = kind, target, mode
    return info


def test_files_links_and_folders_are_read_and_devices_left_out() -> None:
    stream = tar(
        (member("./", tarfile.DIRTYPE), b""),
        (member("./etc", tarfile.DIRTYPE, mode=0o700), b""),
        (member("./etc/a", mode=0o600), b"text"),
        (member("./etc/hard", tarfile.LNKTYPE, "./etc/a"), b""),
        (member("./lib", tarfile.SYMTYPE, "usr/lib"), b""),
        (member("./dev/null", tarfile.CHRTYPE), b""),
    )
    assert read_tar(stream, "x.tar") == {
        "etc": Folder(0o700),
        "etc/a": File(b"text", 0o600),
        "etc/hard": File(b"text", 0o600),
        "lib": Link("usr/lib"),
    }


def test_a_member_that_leaves_the_tree_is_refused() -> None:
    with pytest.raises(PeerError, match=r"x\.tar: path leaves its place.*\.\./\.\./etc/passwd"):
        read_tar(tar((member("a/../../../etc/passwd"), b"")), "x.tar")


def test_what_is_no_tar_file_is_refused() -> None:
    with pytest.raises(PeerError, match=r"x\.tar: not a tar file"):
        read_tar(io.BytesIO(b"nothing like it" * 100), "x.tar")


@given(st.lists(st.sampled_from(["..", ".", "", "a", "b"]), max_size=6).map("/".join))
def test_no_path_leads_out(name: str) -> None:
    try:
        path = tree_path(name, "x")
    except PeerError:
        return
    assert not path.startswith("/")
    assert ".." not in path.split("/")


def test_links_are_followed_in_the_middle_and_at_the_end() -> None:
    tree = {
        "bin": Link("usr/bin"),
        "usr/bin/sh": Link("/bin/busybox"),
        "usr/bin/busybox": File(b""),
        "usr/bin/x": Link("../lib/x"),
        "loop": Link("loop"),
    }
    assert resolve(tree, "bin/sh") == "usr/bin/busybox"
    assert resolve(tree, "bin/x") is None
    assert resolve(tree, "loop") is None
