"""Writes EROFS images that hold metadata only: a tree goes in, bytes come out. Pure.

The bytes of files lie elsewhere: a file names its place on an extra device, which is given to mount(2) as
`device=`. Knows the format's rules; refuses to know the store, packages and mounting. Equal trees give equal
bytes. Runs on the card's own CPU, so it makes one pass to plan and one to write.
"""

from __future__ import annotations

import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import crcmod.predefined

from firmware_mgr.card import erofs_layout as ondisk
from firmware_mgr.card.erofs_layout import BLOCK, FileType, InodeLayout
from firmware_mgr.model.errors import UsageError

_INODE = ondisk.INODE.size
_DIRENT = ondisk.DIRENT.size
_crc32c = crcmod.predefined.mkPredefinedCrcFun("crc-32c")


@dataclass(frozen=True, slots=True)
class Place:
    """Contiguous blocks on an extra device, from `block` on. Devices are numbered from 1."""

    device: int
    block: int


@dataclass(frozen=True, slots=True)
class File:
    """A regular file of `size` bytes. Without a place it reads as zeroes.

    `trusted` are its extended attributes of that class, by name without `trusted.`, in order of name.
    """

    size: int
    place: Place | None = None
    mode: int = 0o644
    mtime: int = 0
    trusted: tuple[tuple[bytes, bytes], ...] = ()


@dataclass(frozen=True, slots=True)
class Symlink:
    target: bytes
    mtime: int = 0


@dataclass(frozen=True, slots=True)
class Whiteout:
    """overlayfs: hides the same name in the layers below. A character device 0/0."""


@dataclass(frozen=True, slots=True)
class Directory:
    """Entries by name. The mapping may still grow until the image is written."""

    entries: Mapping[bytes, Entry]
    mode: int = 0o755
    mtime: int = 0


Entry = File | Symlink | Whiteout | Directory

_FILE_TYPE = {
    File: FileType.REGULAR,
    Directory: FileType.DIRECTORY,
    Whiteout: FileType.CHARACTER_DEVICE,
    Symlink: FileType.SYMLINK,
}


@dataclass(slots=True, eq=False)
class _Node:
    """An entry and its place in the image, in bytes and blocks."""

    entry: Entry
    parent: _Node | None
    number: int
    head: int = _INODE  # inode, attributes and chunk table
    inline: int = 0  # bytes right behind the head
    blocks: int = 0  # whole blocks in the data area
    attributes: bytes = b""
    names: list[list[bytes]] = field(default_factory=list)  # of a directory, by block
    children: dict[bytes, _Node] = field(default_factory=dict)
    offset: int = 0
    data_block: int = 0

    @property
    def nid(self) -> int:
        return self.offset // ondisk.INODE_SLOT


def write(root: Directory, device_blocks: Sequence[int] = ()) -> bytes:
    """The image. `device_blocks` are the lengths of the extra devices, in blocks.

    Raises UsageError for a tree that the format cannot express.
    """
    nodes = _plan(root)
    position = ondisk.DEVICE_TABLE_OFFSET + len(device_blocks) * ondisk.DEVICE_SLOT.size
    for node in nodes:
        length = node.head + node.inline
        if position % BLOCK + length > BLOCK and length <= BLOCK:
            position = _align(position, BLOCK)
        node.offset = position
        position = _align(position + length, ondisk.INODE_SLOT)
    if nodes[0].nid > ondisk.ROOT_NID_MAX:
        raise UsageError("too many devices for an EROFS image", found=len(device_blocks))
    end = _align(position, BLOCK) // BLOCK
    for node in nodes:
        if node.blocks:
            node.data_block, end = end, end + node.blocks

    image = bytearray(end * BLOCK)
    for node in nodes:
        _write_node(image, node, len(device_blocks))
    for index, blocks in enumerate(device_blocks):
        at = ondisk.DEVICE_TABLE_OFFSET + index * ondisk.DEVICE_SLOT.size
        ondisk.DEVICE_SLOT.pack_into(image, at, b"", blocks, 0, b"")
    _write_super(image, nodes, len(device_blocks))
    return bytes(image)


def _plan(root: Directory) -> list[_Node]:
    """Sizes only: they hang on names and lengths, not on addresses. The root comes first."""
    nodes = [_Node(root, None, 1)]
    for node in nodes:  # grows while it is walked
        entry = node.entry
        if isinstance(entry, File):
            if entry.trusted:
                node.attributes = _pack_attributes(entry.trusted)
            node.head = _INODE + len(node.attributes)
            if entry.size:
                chunks = len(_chunks(entry)[1])
                node.head = _align(node.head, ondisk.CHUNK_INDEX.size) + chunks * ondisk.CHUNK_INDEX.size
        elif isinstance(entry, Directory):
            for name, child in entry.entries.items():
                node.children[name] = _Node(child, node, len(nodes) + 1)
                nodes.append(node.children[name])
            node.names = _fill_blocks(entry.entries)
            last = sum(_DIRENT + len(name) for name in node.names[-1])
            if _INODE + last <= BLOCK:
                node.inline, node.blocks = last, len(node.names) - 1
            else:
                node.blocks = len(node.names)
        elif isinstance(entry, Symlink):
            node.inline = len(entry.target)
            if not 0 < node.inline < BLOCK - _INODE:
                raise UsageError("symlink target of illegal length", found=node.inline)
    return nodes


def _write_node(image: bytearray, node: _Node, devices: int) -> None:
    entry = node.entry
    layout, mode, size, links, union, mtime, tail = InodeLayout.FLAT_PLAIN, 0, 0, 1, 0, 0, b""
    if isinstance(entry, File):
        mode, size, mtime = stat.S_IFREG | entry.mode, entry.size, entry.mtime
        at = node.offset + _INODE
        image[at : at + len(node.attributes)] = node.attributes
        if size:
            layout = InodeLayout.CHUNK_BASED
            bits, blocks = _chunks(entry)
            union = ondisk.CHUNK_FORMAT_INDEXES | bits
            device = entry.place.device if entry.place else 0
            if device > devices:
                raise UsageError("file lies on an unknown device", expected=f"1 to {devices}", found=device)
            tail = b"".join(ondisk.CHUNK_INDEX.pack(0, device, block) for block in blocks)
    elif isinstance(entry, Directory):
        mode, mtime = stat.S_IFDIR | entry.mode, entry.mtime
        links = 2 + sum(isinstance(child.entry, Directory) for child in node.children.values())
        packed = [_pack_names(names, node) for names in node.names]
        size = (len(packed) - 1) * BLOCK + len(packed[-1])
        union = node.data_block
        if node.inline:
            layout, tail = InodeLayout.FLAT_INLINE, packed.pop()
        for index, data in enumerate(packed):
            at = (node.data_block + index) * BLOCK
            image[at : at + len(data)] = data
    elif isinstance(entry, Symlink):
        layout, mode, mtime = InodeLayout.FLAT_INLINE, stat.S_IFLNK | 0o777, entry.mtime
        size, tail = node.inline, entry.target
    else:
        mode = stat.S_IFCHR
    attributes = node.attributes
    icount = (len(attributes) - ondisk.XATTR_IBODY_HEADER.size) // 4 + 1 if attributes else 0
    ondisk.INODE.pack_into(
        image,
        node.offset,
        ondisk.INODE_EXTENDED | layout << 1,
        icount,
        mode,
        0,
        size,
        union,
        node.number,
        0,
        0,
        mtime,
        0,
        links,
        b"",
    )
    at = node.offset + node.head + node.inline - len(tail)
    image[at : at + len(tail)] = tail


def _write_super(image: bytearray, nodes: Sequence[_Node], devices: int) -> None:
    incompatible = ondisk.FEATURE_INCOMPAT_CHUNKED_FILE
    slot = 0
    if devices:
        incompatible |= ondisk.FEATURE_INCOMPAT_DEVICE_TABLE
        slot = ondisk.DEVICE_TABLE_OFFSET // ondisk.DEVICE_SLOT.size
    ondisk.SUPER.pack_into(
        image,
        ondisk.SUPER_OFFSET,
        ondisk.SUPER_MAGIC,
        0,
        ondisk.FEATURE_COMPAT_SB_CHKSUM,
        ondisk.BLOCK_BITS,
        0,
        nodes[0].nid,
        len(nodes),
        0,
        0,
        len(image) // BLOCK,
        0,
        0,
        b"",
        b"",
        incompatible,
        0,
        devices,
        slot,
        b"",
    )
    crc = _crc32c(bytes(image[ondisk.SUPER_OFFSET : BLOCK])) ^ 0xFFFF_FFFF
    ondisk.SUPER_CHECKSUM.pack_into(image, ondisk.SUPER_CHECKSUM_OFFSET, crc)


def _chunks(file: File) -> tuple[int, range | list[int]]:
    """The size of the file's chunks, as bits above a block, and their first blocks.

    One chunk of the next power of two does: the kernel cuts it at the file's end.
    """
    total = _align(file.size, BLOCK) // BLOCK
    bits = min((total - 1).bit_length(), ondisk.CHUNK_BITS_MAX)
    step = 1 << bits
    if file.place is None:
        return bits, [ondisk.NULL_ADDRESS] * -(-total // step)
    first = file.place.block
    if first + total >= ondisk.NULL_ADDRESS:
        raise UsageError("file lies beyond 16 TiB", found=first * BLOCK)
    return bits, range(first, first + total, step)


def _fill_blocks(entries: Mapping[bytes, Entry]) -> list[list[bytes]]:
    """Names in order of bytes, `.` and `..` among them, as many to a block as go in."""
    blocks: list[list[bytes]] = [[]]
    used = 0
    for name in sorted([b".", b"..", *entries]):
        if not 0 < len(name) <= ondisk.NAME_MAX or b"/" in name or b"\0" in name:
            raise UsageError("not a file name", found=repr(name))
        used += _DIRENT + len(name)
        if used > BLOCK:
            blocks.append([])
            used = _DIRENT + len(name)
        blocks[-1].append(name)
    return blocks


def _pack_names(names: Sequence[bytes], node: _Node) -> bytes:
    offset = _DIRENT * len(names)
    dirents = bytearray()
    for name in names:
        if name == b".":
            target = node
        elif name == b"..":
            target = node.parent or node
        else:
            target = node.children[name]
        dirents += ondisk.DIRENT.pack(target.nid, offset, _FILE_TYPE[type(target.entry)], 0)
        offset += len(name)
    return bytes(dirents) + b"".join(names)


def _pack_attributes(trusted: Sequence[tuple[bytes, bytes]]) -> bytes:
    body = bytearray(ondisk.XATTR_IBODY_HEADER.pack(0, 0, b""))
    for name, value in trusted:
        body += ondisk.XATTR_ENTRY.pack(len(name), ondisk.XATTR_INDEX_TRUSTED, len(value)) + name + value
        body += bytes(-len(body) % 4)
    return bytes(body)


def _align(value: int, unit: int) -> int:
    return -(-value // unit) * unit
