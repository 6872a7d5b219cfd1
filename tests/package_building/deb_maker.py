"""Small .debs made byte by byte, right and wrong ones: no dpkg, and nothing that it would refuse to make."""

from __future__ import annotations

import gzip
import lzma
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import zstandard

from firmware_mgr.imaging.tree import File, Folder, Link, Node

BUILT = 1_700_000_000
FILE, HARD_LINK, SYMLINK, CHARACTER_DEVICE, BLOCK_DEVICE, DIRECTORY, FIFO = (
    b"%d" % kind for kind in range(7)
)
LONG_NAME, LONG_LINK, PAX, PAX_GLOBAL = b"L", b"K", b"x", b"g"

COMPRESS: Mapping[str, Callable[[bytes], bytes]] = {
    "": lambda data: data,
    ".gz": lambda data: gzip.compress(data, 1, mtime=0),
    ".xz": lambda data: lzma.compress(data, preset=0),
    ".zst": lambda data: zstandard.ZstdCompressor(level=1).compress(data),
}


def entry(
    name: str | bytes,
    data: bytes = b"",
    kind: bytes = FILE,
    *,
    mode: int = 0o644,
    link: str = "",
    owner: tuple[int, int] = (0, 0),
    mtime: int = BUILT,
    size: int | None = None,
    prefix: str = "",
    magic: bytes = b"ustar\x0000",
) -> bytes:
    """A tar header and its content; `size` may lie."""
    raw = name if isinstance(name, bytes) else name.encode()
    fields = [
        raw.ljust(100, b"\0"),
        b"%07o\0" % mode,
        b"%07o\0" % owner[0],
        b"%07o\0" % owner[1],
        b"%011o\0" % (len(data) if size is None else size),
        b"%011o\0" % mtime,
        b" " * 8,
        kind,
        link.encode().ljust(100, b"\0"),
        magic,
        bytes(32 + 32 + 8 + 8),
        prefix.encode().ljust(155, b"\0"),
        bytes(12),
    ]
    header = b"".join(fields)
    assert len(header) == 512
    header = header[:148] + b"%06o\0 " % sum(header) + header[156:]
    return header + data + bytes(-len(data) % 512)


def pax(**records: str) -> bytes:
    """A pax header with these records, for the entry behind it."""
    body = b""
    for key, value in records.items():
        record = f" {key}={value}\n".encode()
        length = len(record)
        while length != len(str(length)) + len(record):
            length = len(str(length)) + len(record)
        body += str(length).encode() + record
    return entry("./PaxHeaders/x", body, PAX)


def tar(*entries: bytes) -> bytes:
    return b"".join(entries) + bytes(1024)


def ar(*members: tuple[str, bytes]) -> bytes:
    raw = b"!<arch>\n"
    for name, data in members:
        raw += b"%-16s%-12d%-6d%-6d%-8s%-10d`\n" % (name.encode(), BUILT, 0, 0, b"100644", len(data))
        raw += data + b"\n" * (len(data) % 2)
    return raw


def control(name: str = "tool", version: str = "1.0-1", arch: str = "arm64", **fields: str) -> bytes:
    lines = {"Package": name, "Version": version, "Architecture": arch, **fields, "Description": "test"}
    return "".join(f"{key.replace('_', '-')}: {value}\n" for key, value in lines.items()).encode()


def deb_bytes(
    data: bytes,
    stanza: bytes | None = None,
    *,
    suffix: str = ".xz",
    control_suffix: str = ".xz",
    scripts: Mapping[str, str] | None = None,
) -> bytes:
    """A .deb around a data.tar."""
    parts = [entry("./control", stanza or control())]
    parts += [entry(f"./{name}", text.encode(), mode=0o755) for name, text in (scripts or {}).items()]
    return ar(
        ("debian-binary", b"2.0\n"),
        (f"control.tar{control_suffix}", COMPRESS[control_suffix](tar(*parts))),
        (f"data.tar{suffix}", COMPRESS[suffix](data)),
    )


def tree_entries(tree: Mapping[str, Node]) -> Iterable[bytes]:
    """Entries for a tree, with directories for parents, as dpkg-deb orders them."""
    folders = {"/".join(path.split("/")[:count]) for path in tree for count in range(1, path.count("/") + 1)}
    nodes: dict[str, Node] = {**{path: Folder() for path in folders}, **tree}
    yield entry("./", kind=DIRECTORY, mode=0o755)
    for path, node in sorted(nodes.items()):
        if isinstance(node, Folder):
            yield entry(f"./{path}/", kind=DIRECTORY, mode=node.mode)
        elif isinstance(node, Link):
            yield entry(f"./{path}", kind=SYMLINK, mode=0o777, link=node.target)
        else:
            yield entry(f"./{path}", node.data, mode=node.mode)


def write_deb(
    folder: Path,
    tree: Mapping[str, Node],
    name: str = "tool",
    arch: str = "arm64",
    version: str = "1.0-1",
    *,
    scripts: Mapping[str, str] | None = None,
    more: Iterable[bytes] = (),
    **fields: str,
) -> Path:
    """A .deb of a tree, and of `more` entries behind it, in a folder; fields such as Depends."""
    stanza = control(name, version, arch, **fields)
    path = folder / f"{name}_{version.replace(':', '%3a')}_{arch}.deb"
    path.write_bytes(deb_bytes(tar(*tree_entries(tree), *more), stanza, scripts=scripts))
    return path


def script(text: str = "exit 0") -> File:
    return File(f"#!/bin/sh\n{text}\n".encode(), 0o755)
