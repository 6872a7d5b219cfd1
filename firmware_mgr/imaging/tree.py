"""A file tree in memory: what goes into an initramfs, what comes out of a Debian package or a tar file.

Knows directories, files and symbolic links. Refuses to know owners, times, devices and where the tree ends
up: everything belongs to root, and no time is kept, so that equal trees are equal bytes.
"""

from __future__ import annotations

import posixpath
import tarfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import IO

from firmware_mgr.model.errors import PeerError


@dataclass(frozen=True, slots=True)
class Folder:
    """A directory with its permission bits."""

    mode: int = 0o755


@dataclass(frozen=True, slots=True)
class File:
    """A regular file with its permission bits."""

    data: bytes
    mode: int = 0o644


@dataclass(frozen=True, slots=True)
class Link:
    """A symbolic link; the target is kept as text."""

    target: str


Node = Folder | File | Link
#: Paths are relative, with `/` between parts and no `.` or `..`: `usr/bin/python3.11`.
Tree = dict[str, Node]


def tree_path(name: str, where: str) -> str:
    """`./usr/bin/x` as `usr/bin/x`; the root is the empty text. Raises PeerError when it leaves its place."""
    path = posixpath.normpath(name.lstrip("/")) if name.strip("/") else "."
    if path == ".." or path.startswith("../"):
        raise PeerError("path leaves its place", where=where, found=name)
    return "" if path == "." else path


def read_tar(stream: IO[bytes], where: str, wanted: Callable[[str], bool] = lambda _: True) -> Tree:
    """The wanted members of a tar stream. Hard links become copies; devices and sockets are left out.

    Raises PeerError when the stream is no tar file or a path leaves its place.
    """
    tree: Tree = {}
    try:
        with tarfile.open(fileobj=stream, mode="r|*") as archive:
            for member in archive:
                path = tree_path(member.name, where)
                if not path or not wanted(path):
                    continue
                if member.isdir():
                    tree[path] = Folder(member.mode & 0o7777)
                elif member.issym():
                    tree[path] = Link(member.linkname)
                elif member.islnk():
                    tree[path] = _linked(tree, tree_path(member.linkname, where), where, path)
                elif member.isfile():
                    content = archive.extractfile(member)
                    assert content is not None
                    tree[path] = File(content.read(), member.mode & 0o7777)
    except tarfile.TarError as e:
        expected = "a tar file, plain or compressed with gzip, bzip2 or xz"
        raise PeerError("not a tar file", where=where, expected=expected, found=str(e)) from e
    return tree


def _linked(tree: Mapping[str, Node], target: str, where: str, path: str) -> Node:
    try:
        return tree[target]
    except KeyError:
        raise PeerError(
            f"{path} is a hard link to a file that is not taken", where=where, found=target
        ) from None


def resolve(tree: Mapping[str, Node], path: str) -> str | None:
    """The path that `path` leads to when all symbolic links are followed; None when it leads nowhere."""
    for _ in range(40):  # Linux gives up after 40 links too (path_resolution(7))
        parts = path.split("/")
        for count in range(1, len(parts) + 1):
            node = tree.get("/".join(parts[:count]))
            if isinstance(node, Link):
                base = "" if node.target.startswith("/") else "/".join(parts[: count - 1])
                joined = posixpath.join(base, node.target.lstrip("/"), *parts[count:])
                path = posixpath.normpath(joined)
                break
        else:
            return path if path in tree else None
    return None


def with_parents(tree: Mapping[str, Node]) -> Tree:
    """The tree in order of paths, with a directory for every parent that is not listed."""
    full: Tree = dict(tree)
    for path in tree:
        parent = posixpath.dirname(path)
        while parent and parent not in full:
            full[parent] = Folder()
            parent = posixpath.dirname(parent)
    return {path: full[path] for path in sorted(full)}
