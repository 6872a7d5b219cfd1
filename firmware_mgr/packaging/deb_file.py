"""A .deb file, read in Python: control fields, maintainer scripts, and the entries of its data archive.

Knows deb(5): an ar archive of debian-binary, control.tar and data.tar, and how these are compressed. A .deb
may come from anywhere: whatever is wrong with it is a PeerError. Refuses to know what becomes of the files.
"""

from __future__ import annotations

import hashlib
import lzma
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any, Final

import zstandard

from firmware_mgr.model.errors import PeerError, UsageError
from firmware_mgr.packaging import deb_layout as layout
from firmware_mgr.packaging.debian_control import Control, parse_control
from firmware_mgr.packaging.tar_stream import EntryType, TarEntry, read_entries

_FORMAT: Final = "debian-binary"
_CONTROL: Final = "control.tar"
_DATA: Final = "data.tar"
#: Parts of control.tar that list things; all others that are files are scripts or their data.
_LISTS: Final = frozenset({"control", "conffiles", "md5sums", "sha256sums", "shlibs", "symbols"})


class ContentPool:
    """Each content once, by hash: what is the same for several CPUs is held once."""

    def __init__(self) -> None:
        self._held: dict[bytes, bytes] = {}

    def hold(self, data: bytes) -> bytes:
        """The same bytes, as the one object that is kept."""
        return self._held.setdefault(hashlib.sha256(data).digest(), data)


@dataclass(frozen=True, slots=True)
class DebPackage:
    """What a .deb holds. `scripts` are control.tar's files that dpkg or debconf would act on."""

    file: str
    control: Control
    conffiles: frozenset[str]
    scripts: Mapping[str, bytes]
    entries: tuple[TarEntry, ...]

    @property
    def label(self) -> str:
        """As people and messages name it: `libssl3:arm64`."""
        return f"{self.control.name}:{self.control.architecture}"

    @property
    def newest(self) -> int:
        """The newest time of any member, in seconds since 1970."""
        return max((entry.mtime for entry in self.entries), default=0)


def read_deb_file(path: Path, pool: ContentPool) -> DebPackage:
    """Read a .deb whole. Raises UsageError when it cannot be opened, PeerError when it is no sound .deb."""
    try:
        with path.open("rb") as stream:
            return _read(stream, path.name, pool)
    except OSError as e:
        raise UsageError(".deb file cannot be read", where=str(path), found=e.strerror) from e


def _read(stream: IO[bytes], file: str, pool: ContentPool) -> DebPackage:
    if stream.read(len(layout.AR_MAGIC)) != layout.AR_MAGIC:
        raise PeerError("not a Debian package", where=file, expected="an ar archive (deb(5))")
    name, member = _member(stream, file)
    version = b"".join(member.pieces())
    if name != _FORMAT or not version.startswith(b"2."):
        raise PeerError(
            "not a Debian package",
            where=file,
            expected=f"{_FORMAT} 2.0 first",
            found=f"{name} {version[:8]!r}",
        )
    control = _archive(stream, file, _CONTROL, layout.MAX_CONTROL)
    parts = {entry.path: entry.data for entry in control if entry.type is EntryType.FILE}
    if "control" not in parts:
        raise PeerError("no control file", where=f"{file}: {_CONTROL}", expected="a file control")
    entries = tuple(
        replace(entry, data=pool.hold(entry.data)) if entry.data else entry
        for entry in _archive(stream, file, _DATA, layout.MAX_UNPACKED)
    )
    rest = stream.read(1)
    if rest:
        raise PeerError("something behind data.tar", where=file, expected="the end", found=rest.hex())
    return DebPackage(
        file=file,
        control=parse_control(parts["control"], file),
        conffiles=_conffiles(parts.get("conffiles", b"")),
        scripts={name: parts[name] for name in sorted(set(parts) - _LISTS)},
        entries=entries,
    )


def _conffiles(raw: bytes) -> frozenset[str]:
    """Paths of a list such as `/etc/x`; a flag may stand before (`remove-on-upgrade /etc/x`)."""
    lines = raw.decode("utf-8", "surrogateescape").splitlines()
    return frozenset(line.split()[-1].lstrip("/") for line in lines if line.strip())


class _Member:
    """A part of an ar archive. It must be read to its end before the next one is."""

    def __init__(self, stream: IO[bytes], size: int, where: str) -> None:
        self._stream = stream
        self._left = size
        self._size = size
        self._where = where

    def read(self, size: int = -1) -> bytes:
        """Up to `size` bytes; none at the end."""
        raw = self._stream.read(min(self._left, size) if size >= 0 else self._left)
        if not raw and self._left:
            raise PeerError("file ends too early", where=self._where, expected=f"{self._left} more bytes")
        self._left -= len(raw)
        return raw

    def pieces(self) -> Iterator[bytes]:
        while piece := self.read(layout.PIECE):
            yield piece

    def finish(self) -> None:
        """Read what is left, and the padding."""
        for _ in self.pieces():
            pass
        if self._size % 2:
            self._stream.read(1)


def _member(stream: IO[bytes], file: str) -> tuple[str, _Member]:
    raw = stream.read(layout.AR_HEADER.sizeof())
    if len(raw) != layout.AR_HEADER.sizeof():
        raise PeerError("file ends too early", where=file, expected="an ar header", found=f"{len(raw)} bytes")
    header = layout.AR_HEADER.parse(raw)
    digits = header.size.strip()
    if header.end != layout.AR_END or not digits.isdigit():
        raise PeerError(
            "wrong ar header", where=file, expected="a name, a size and its end mark", found=repr(raw)
        )
    name = header.name.rstrip(b" ").removesuffix(b"/").decode("ascii", "replace")
    name = name if name.isprintable() else repr(name)
    if name == _FORMAT and int(digits) > layout.AR_HEADER.sizeof():
        raise PeerError(
            "not a Debian package", where=f"{file}: {name}", expected="2.0", found=f"{int(digits)} bytes"
        )
    return name, _Member(stream, int(digits), f"{file}: {name}")


def _archive(stream: IO[bytes], file: str, wanted: str, limit: int) -> list[TarEntry]:
    name, member = _member(stream, file)
    unpack = _UNPACKERS.get(name.removeprefix(wanted)) if name.startswith(wanted) else None
    if unpack is None:
        expected = ", ".join(wanted + suffix for suffix in _UNPACKERS)
        raise PeerError("another part than expected", where=file, expected=expected, found=name)
    where = f"{file}: {name}"
    try:
        entries = list(read_entries(unpack(member), where, limit))
    except (lzma.LZMAError, zlib.error, zstandard.ZstdError, EOFError) as e:
        raise PeerError("cannot be unpacked", where=where, found=str(e)) from e
    member.finish()
    return entries


def _plain(member: _Member) -> Iterator[bytes]:
    yield from member.pieces()


def _gzip(member: _Member) -> Iterator[bytes]:
    decoder = zlib.decompressobj(wbits=31)  # zlib.h: 16 for the gzip form, and the widest window
    for piece in member.pieces():
        left = piece
        while left:
            if decoder.eof:
                decoder = zlib.decompressobj(wbits=31)
            yield decoder.decompress(left, layout.PIECE)
            left = decoder.unused_data if decoder.eof else decoder.unconsumed_tail
    while rest := (b"" if decoder.eof else decoder.decompress(b"", layout.PIECE)):
        yield rest
    if not decoder.eof:
        raise EOFError("compressed data ends too early")


def _xz(member: _Member) -> Iterator[bytes]:
    def new() -> lzma.LZMADecompressor:
        return lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=layout.MAX_DECODER_MEMORY)

    decoder = new()
    for piece in member.pieces():
        left = piece
        while left or not (decoder.needs_input or decoder.eof):
            if decoder.eof:
                left = left.lstrip(b"\0")  # padding between streams
                if not left:
                    break
                decoder = new()
            yield decoder.decompress(left, layout.PIECE)
            left = decoder.unused_data if decoder.eof else b""
    if not decoder.eof:
        raise EOFError("compressed data ends too early")


def _zstd(member: _Member) -> Iterator[bytes]:
    def new() -> Any:
        return zstandard.ZstdDecompressor(max_window_size=layout.MAX_DECODER_MEMORY).decompressobj()

    decoder = new()
    for piece in member.pieces():
        # A step of input is small, so that one of output is bounded: zstd's blocks hold 128 KiB at most.
        for at in range(0, len(piece), _ZSTD_STEP):
            left = piece[at : at + _ZSTD_STEP]
            while left:
                if decoder.eof:
                    decoder = new()
                yield decoder.decompress(left)
                left = decoder.unused_data if decoder.eof else b""
    if not decoder.eof:
        raise EOFError("compressed data ends too early")


_ZSTD_STEP: Final = 512
_UNPACKERS: Final[Mapping[str, Callable[[_Member], Iterator[bytes]]]] = {
    "": _plain,
    ".gz": _gzip,
    ".xz": _xz,
    ".zst": _zstd,
}
