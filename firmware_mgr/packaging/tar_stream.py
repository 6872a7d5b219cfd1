"""A tar archive as a stream: every header checked, every length bounded before it is believed.

Knows ustar, GNU long names and pax headers. Python's own reader takes a damaged header for the end of the
archive; here that is an error. Refuses to know what entries are for, and to touch a file system.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final

from firmware_mgr.model.errors import PeerError
from firmware_mgr.package.paths import MAX_PART, MAX_PATH
from firmware_mgr.packaging import deb_layout as layout


class EntryType(Enum):
    """What an entry is. The value is for people."""

    FILE = "file"
    HARD_LINK = "hard link"
    SYMLINK = "symbolic link"
    CHARACTER_DEVICE = "character device"
    BLOCK_DEVICE = "block device"
    DIRECTORY = "directory"
    FIFO = "FIFO"


_TYPES: Final = {
    b"0": EntryType.FILE,
    b"\0": EntryType.FILE,
    b"7": EntryType.FILE,
    b"1": EntryType.HARD_LINK,
    b"2": EntryType.SYMLINK,
    b"3": EntryType.CHARACTER_DEVICE,
    b"4": EntryType.BLOCK_DEVICE,
    b"5": EntryType.DIRECTORY,
    b"6": EntryType.FIFO,
}
_LONG_NAME, _LONG_LINK, _PAX = b"L", b"K", b"x"
#: pax records that say what an entry is; the others are told by name.
_PAX_FIELDS: Final = frozenset({"path", "linkpath", "size", "mtime", "uid", "gid"})
_PAX_IDLE: Final = frozenset({"atime", "ctime", "uname", "gname", "comment"})


@dataclass(frozen=True, slots=True)
class TarEntry:
    """An entry. `path` is normal, and empty for the root; `extras` are pax records that are not obeyed."""

    path: str
    type: EntryType
    mode: int
    uid: int
    gid: int
    mtime: int
    link: str
    data: bytes = b""
    extras: tuple[str, ...] = ()


def read_entries(pieces: Iterator[bytes], where: str, limit: int) -> Iterator[TarEntry]:
    """The entries of an archive of at most `limit` bytes. Raises PeerError when anything is wrong with it."""
    source = _Source(pieces, where, limit)
    seen: dict[str, EntryType] = {}
    pending: dict[str, str] = {}
    count, has_pax = 0, False
    while (raw := source.block()) is not None:
        count += 1
        if count > layout.MAX_ENTRIES:
            source.refuse("too many entries", f"{layout.MAX_ENTRIES} at most", count)
        header = _header(raw, source)
        size = _number(header.size, "size", source)
        if header.type in (_LONG_NAME, _LONG_LINK):
            key = "path" if header.type == _LONG_NAME else "linkpath"
            text = source.content(size, layout.MAX_LONG_NAME, "long name")
            pending.setdefault(key, _text(text.removesuffix(b"\0"), source))
        elif header.type == _PAX:
            if has_pax:
                source.refuse("two pax headers of one entry", "one at most", "another")
            has_pax = True
            pending |= _pax(source.content(size, layout.MAX_PAX, "pax header"), source)
        else:
            entry = _entry(header, size, pending, source)
            _check_once(entry, seen, source)
            pending, has_pax = {}, False
            yield entry
    if pending:
        source.refuse("a long name or pax header belongs to no entry", "an entry after it", "the end")


class _Source:
    """Blocks and contents out of pieces of any length, counted against the limit."""

    def __init__(self, pieces: Iterator[bytes], where: str, limit: int) -> None:
        self._pieces = pieces
        self._where = where
        self._limit = limit
        self._buffer = bytearray()
        self._taken = 0

    def refuse(self, what: str, expected: object, found: object) -> None:
        raise PeerError(f"not a sound tar archive: {what}", where=self._where, expected=expected, found=found)

    def block(self) -> bytes | None:
        """The next header; None at the end mark, behind which there may be zeros only."""
        raw = self._take(layout.BLOCK)
        if any(raw):
            return raw
        if any(self._take(layout.BLOCK)):
            self.refuse("one block of zeros where the end has two", "zeros", "a header")
        for piece in self._pieces:
            self._buffer += piece
            self._count(len(piece))
            if self._buffer.count(0) != len(self._buffer):
                break
            self._buffer.clear()
        if self._buffer.count(0) != len(self._buffer):
            self.refuse("something behind its end", "zeros", "other bytes")
        return None

    def content(self, size: int, limit: int, what: str) -> bytes:
        """The bytes of an entry, and the padding behind them."""
        if size > limit:
            self.refuse(f"{what} is too long", f"{limit} bytes at most", size)
        raw = self._take(size)
        self._take(-size % layout.BLOCK)
        return raw

    def _take(self, size: int) -> bytes:
        if self._taken + size > self._limit:
            self.refuse("too long", f"{self._limit} bytes at most, unpacked", f"{self._taken + size} or more")
        while len(self._buffer) < size:
            piece = next(self._pieces, None)
            if piece is None:
                self.refuse("it ends too early", f"{size} more bytes", len(self._buffer))
                break
            self._buffer += piece
        raw = bytes(memoryview(self._buffer)[:size])
        del self._buffer[:size]
        self._taken += size
        return raw

    def _count(self, size: int) -> None:
        self._taken += size
        if self._taken > self._limit:
            self.refuse("too long", f"{self._limit} bytes at most, unpacked", f"{self._taken} or more")


def _header(raw: bytes, source: _Source) -> Any:
    header = layout.TAR_HEADER.parse(raw)
    place = layout.CHECKSUM_PLACE
    total = sum(raw) - sum(raw[place]) + ord(" ") * (place.stop - place.start)
    if _number(header.checksum, "checksum", source) != total:
        source.refuse("wrong checksum of a header", total, header.checksum.decode("ascii", "replace"))
    if header.magic not in (layout.USTAR_MAGIC, layout.GNU_MAGIC):
        source.refuse("unknown form", "ustar or GNU tar", header.magic.hex())
    return header


def _entry(header: Any, size: int, pending: dict[str, str], source: _Source) -> TarEntry:
    kind = _TYPES.get(header.type)
    if kind is None:
        source.refuse("entry of unknown type", "file, link, directory, device or FIFO", repr(header.type))
        raise AssertionError
    name = _text(header.name.partition(b"\0")[0], source)
    prefix = _text(header.prefix.partition(b"\0")[0], source) if header.magic == layout.USTAR_MAGIC else ""
    if "size" in pending:
        size = _decimal(pending["size"], "size", source)
    if kind is not EntryType.FILE and size:
        source.refuse(f"a {kind.value} with content", 0, size)
    return TarEntry(
        path=_path(pending.get("path") or (f"{prefix}/{name}" if prefix else name), source),
        type=kind,
        mode=_number(header.mode, "mode", source) & 0o7777,
        uid=_decimal(pending["uid"], "uid", source)
        if "uid" in pending
        else _number(header.uid, "uid", source),
        gid=_decimal(pending["gid"], "gid", source)
        if "gid" in pending
        else _number(header.gid, "gid", source),
        mtime=_decimal(pending["mtime"].partition(".")[0], "mtime", source)
        if "mtime" in pending
        else _number(header.mtime, "mtime", source),
        link=_within_bounds(
            pending.get("linkpath") or _text(header.link.partition(b"\0")[0], source), "link target", source
        ),
        data=source.content(size, layout.MAX_FILE, f"file {name!r}") if size else b"",
        extras=tuple(sorted(set(pending) - _PAX_FIELDS - _PAX_IDLE)),
    )


def _check_once(entry: TarEntry, seen: dict[str, EntryType], source: _Source) -> None:
    """Each path once (a directory may be named again), and none below anything but directories."""
    before = seen.get(entry.path)
    if before is not None and not before is entry.type is EntryType.DIRECTORY:
        source.refuse("a path stands twice", "each path once", repr(entry.path))
    if not entry.path and entry.type is not EntryType.DIRECTORY:
        source.refuse("its root is no directory", "a directory", entry.type.value)
    parent = entry.path
    while "/" in parent:
        parent = parent.rpartition("/")[0]
        known = seen.get(parent)
        if known is EntryType.DIRECTORY:
            break  # so are its parents, by then
        if known is not None:
            found = f"{entry.path!r} below {parent!r}, a {known.value}"
            source.refuse("a path below something else than a directory", "directories", found)
        seen[parent] = EntryType.DIRECTORY
    seen[entry.path] = entry.type
    if len(seen) > layout.MAX_PLACES:
        source.refuse("too many folders", f"{layout.MAX_PLACES} paths at most, with parents", len(seen))


def _path(name: str, source: _Source) -> str:
    """`./usr/bin/x` as `usr/bin/x`; nothing that could lead out is mended."""
    parts = name.split("/")
    if name.startswith("/") or ".." in parts:
        source.refuse("a path leaves its place", "a relative path without '..'", repr(name))
    if not name or "\0" in name:
        source.refuse("an entry without a proper name", "a path", repr(name))
    parts = [part for part in parts if part not in ("", ".")]
    longest = max((len(_raw(part)) for part in parts), default=0)
    if longest > MAX_PART:
        source.refuse("a part of a path is too long", f"{MAX_PART} bytes at most", longest)
    return _within_bounds("/".join(parts), "path", source)


def _within_bounds(path: str, what: str, source: _Source) -> str:
    """A path as it is, when it is short enough."""
    length = len(_raw(path))
    if length > MAX_PATH:
        source.refuse(f"{what} is too long", f"{MAX_PATH} bytes at most", length)
    return path


def _pax(raw: bytes, source: _Source) -> dict[str, str]:
    """The records `LENGTH KEY=VALUE\\n`, each as long as it says (POSIX pax, extended headers)."""
    records: dict[str, str] = {}
    at = count = 0
    while at < len(raw):
        count += 1
        if count > layout.MAX_PAX_RECORDS:
            source.refuse("too many records in a pax header", f"{layout.MAX_PAX_RECORDS} at most", count)
        digits = raw[at : at + 7].partition(b" ")[0]
        length = int(digits) if digits.isdigit() and len(digits) <= 6 else 0
        record = raw[at : at + length]
        key, equals, value = record[len(digits) + 1 :].removesuffix(b"\n").partition(b"=")
        if not equals or not key or len(record) != length or not record.endswith(b"\n"):
            source.refuse("malformed pax header", "records of LENGTH KEY=VALUE", repr(raw[at : at + 40]))
        if key.startswith(b"GNU.sparse"):
            source.refuse("sparse file", "a plain one", repr(key))
        records[_text(key, source)] = (
            _text(value, source) if key.decode("utf-8", "replace") in _PAX_FIELDS else ""
        )
        at += length
    return records


def _number(field: bytes, what: str, source: _Source) -> int:
    if field[0] == 0x80:
        return int.from_bytes(field[1:], "big")
    digits = field.strip(b" \0")
    if not set(digits) <= set(b"01234567"):
        source.refuse(f"{what} is no number", "octal digits", repr(field))
    return int(digits or b"0", 8)


def _decimal(text: str, what: str, source: _Source) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 20):
        source.refuse(f"{what} is no number", "decimal digits", repr(text))
    return int(text)


def _text(raw: bytes, source: _Source) -> str:
    """Names that are not UTF-8 are kept apart from each other, and told apart from such that are."""
    return raw.decode("utf-8", "surrogateescape")


def _raw(text: str) -> bytes:
    """The bytes that such a text came from."""
    return text.encode("utf-8", "surrogateescape")
