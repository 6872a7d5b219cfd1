"""Reading a package: the parts that a user of this room needs, and a package that is a local file.

A card that reads over a wire uses `parse_header`, `verify_contents` and `decode_module` on what it fetched.
Refuses to know wires and stores.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

from firmware_mgr.model.ids import Digest
from firmware_mgr.model.software import PackageRef
from firmware_mgr.package.contents import Module, TableOfContents, select
from firmware_mgr.package.decoding import decode_module
from firmware_mgr.package.errors import PackageFormatError, PackageRefused
from firmware_mgr.package.head import (
    PackageHeader,
    Signature,
    parse_header,
    read_signatures,
    show_contents,
    verify_contents,
)
from firmware_mgr.package.layout import HEADER_SIZE
from firmware_mgr.package.trust import Trust
from firmware_mgr.package.window import Window

__all__ = [
    "HEADER_SIZE",
    "PackageFile",
    "PackageHeader",
    "Signature",
    "decode_module",
    "parse_header",
    "read_head",
    "read_signatures",
    "select",
    "verify_contents",
]


def read_head(window: Window, where: str) -> tuple[PackageHeader, bytes]:
    """Header and head of a file of any kind, unverified. Raises PackageFormatError."""
    header = parse_header(window.read(range(HEADER_SIZE)), where)
    if window.length != header.total_length:
        raise PackageFormatError(
            "file has another length than its header says",
            where=where,
            expected=header.total_length,
            found=window.length,
        )
    return header, header.raw + window.read(range(HEADER_SIZE, header.head_length))


class PackageFile:
    """An open package with its head read. Modules are checked against the table each time they are read."""

    def __init__(
        self,
        window: Window,
        header: PackageHeader,
        toc: TableOfContents,
        signatures: tuple[Signature, ...],
        where: str,
    ) -> None:
        self._window = window
        self.header = header
        self.toc = toc
        self.signatures = signatures
        self.where = where
        self._modules = frozenset(toc.modules)

    @classmethod
    def open(cls, path: Path, trust: Trust) -> Self:
        """Open and verify the head. Raises UsageError (no file), PackageFormatError or PackageRefused."""
        return cls._open(path, lambda header, head: verify_contents(header, head, trust, str(path)))

    @classmethod
    def open_to_show(cls, path: Path) -> Self:
        """Open without a look at who signed: to be shown to a person, never to be followed."""
        return cls._open(path, lambda header, head: show_contents(header, head, str(path)))

    @classmethod
    def _open(cls, path: Path, contents: Callable[[PackageHeader, bytes], TableOfContents]) -> Self:
        window = Window.of(path)
        try:
            return cls.within(window, str(path), contents)
        except BaseException:
            window.stream.close()
            raise

    @classmethod
    def within(
        cls, window: Window, where: str, contents: Callable[[PackageHeader, bytes], TableOfContents]
    ) -> Self:
        """A package that is a part of another file. `contents` verifies, or only shows."""
        header, head = read_head(window, where)
        toc = contents(header, head)
        return cls(window, header, toc, read_signatures(header, head, where), where)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._window.stream.close()

    def module_chunks(self, module: Module) -> Iterator[bytes]:
        """The module's file in parts; the last one comes only when all was right. Raises PackageRefused."""
        if module not in self._modules:
            raise PackageRefused("module is not of this package", where=self.where, found=module.path)
        return decode_module(module, self._window.chunks(self.header.byte_range(module)), self.where)

    def module_bytes(self, module: Module) -> bytes:
        """The module's whole file, checked. Takes memory for its declared length. Raises PackageRefused."""
        return b"".join(self.module_chunks(module))

    def check_content(self) -> None:
        """Check every module. Raises PackageRefused at the first that is wrong."""
        for module in self.toc.modules:
            for _ in self.module_chunks(module):
                pass

    def reference(self) -> PackageRef:
        """The package as software sets name it: with the SHA-256 of the whole file, which is read for it."""
        digest = hashlib.sha256()
        for chunk in self._window.chunks():
            digest.update(chunk)
        return PackageRef(
            self.toc.name, self.toc.version, Digest(digest.hexdigest()), self.header.total_length
        )
