"""Writes a file tree as a cpio archive in the "newc" form, which Linux unpacks as its first root file system.

Knows the form (Linux Documentation/driver-api/early-userspace/buffer-format.rst). Refuses to know compression
and content. Equal trees give equal bytes: order by path, root owns all, no times, inode numbers count up.
"""

from __future__ import annotations

import stat
from collections.abc import Mapping

from firmware_mgr.imaging.tree import File, Folder, Link, Node, with_parents

MAGIC = "070701"
TRAILER = "TRAILER!!!"
#: Headers, names and contents are each padded to this many bytes.
ALIGNMENT = 4


def cpio_archive(tree: Mapping[str, Node]) -> bytes:
    """The whole archive, trailer included; its length is a multiple of 4, so that another can follow it."""
    parts: list[bytes] = []
    for inode, (path, node) in enumerate(with_parents(tree).items(), start=1):
        match node:
            case Folder(mode):
                parts.append(_entry(path, stat.S_IFDIR | mode, b"", inode, links=2))
            case File(data, mode):
                parts.append(_entry(path, stat.S_IFREG | mode, data, inode))
            case Link(target):
                parts.append(_entry(path, stat.S_IFLNK | 0o777, target.encode(), inode))
    parts.append(_entry(TRAILER, 0, b"", 0))
    return b"".join(parts)


def padded(data: bytes) -> bytes:
    """`data` with zeros up to the next multiple of 4: between archives, zeros count for nothing."""
    return data + bytes(-len(data) % ALIGNMENT)


def _entry(path: str, mode: int, data: bytes, inode: int, links: int = 1) -> bytes:
    name = path.encode() + b"\0"
    owner = group = mtime = device_major = device_minor = special_major = special_minor = checksum = 0
    fields = [inode, mode, owner, group, links, mtime, len(data)]
    fields += [device_major, device_minor, special_major, special_minor, len(name), checksum]
    header = MAGIC + "".join(f"{value:08x}" for value in fields)
    return padded(header.encode() + name) + padded(data)
