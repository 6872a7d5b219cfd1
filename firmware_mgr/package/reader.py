"""Reading a package: the parts that a user of this room needs, and a package that is a local file.

A card that reads over a wire uses `parse_header`, `verify_contents` and `decode_module` on what it fetched.
Refuses to know wires and stores.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

from firmware_mgr.model.errors import UsageError
from firmware_mgr.model.ids import Digest
from firmware_mgr.model.software import PackageRef
from firmware_mgr.package.contents import Module, TableOfContents, select
from firmware_mgr.package.decoding import CHUNK, decode_module
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

__all__ = [
    "HEADER_SIZE",
    "PackageFile",
    "PackageHeader",
    "Signature",
    "decode_module",
    "parse_header",
    "read_signatures",
    "select",
    "verify_contents",
]


class PackageFile:
    """An open package with its head read. Modules are checked against the table each time they are read."""

    def __init__(
        self,
        stream: BinaryIO,
        header: PackageHeader,
        toc: TableOfContents,
        signatures: tuple[Signature, ...],
        where: str,
    ) -> None:
        self._stream = stream
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
        where = str(path)
        try:
            stream = path.open("rb")
        except OSError as e:
            raise UsageError(
                "package cannot be read", where=where, expected="a package file (.fwp)", found=e.strerror
            ) from e
        try:
            header = parse_header(stream.read(HEADER_SIZE), where)
            length = os.fstat(stream.fileno()).st_size
            if length != header.total_length:
                raise PackageFormatError(
                    "file has another length than its header says",
                    where=where,
                    expected=header.total_length,
                    found=length,
                )
            head = header.raw + stream.read(header.head_length - HEADER_SIZE)
            toc = contents(header, head)
            return cls(stream, header, toc, read_signatures(header, head, where), where)
        except BaseException:
            stream.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._stream.close()

    def module_chunks(self, module: Module) -> Iterator[bytes]:
        """The module's file in pieces; the last one comes only when all was right. Raises PackageRefused."""
        if module not in self._modules:
            raise PackageRefused("module is not of this package", where=self.where, found=module.path)
        return decode_module(module, self._stored_chunks(module), self.where)

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
        for chunk in self._range(0, self.header.total_length):
            digest.update(chunk)
        return PackageRef(
            self.toc.name, self.toc.version, Digest(digest.hexdigest()), self.header.total_length
        )

    def _stored_chunks(self, module: Module) -> Iterator[bytes]:
        place = self.header.byte_range(module)
        return self._range(place.start, place.stop)

    def _range(self, start: int, stop: int) -> Iterator[bytes]:
        while start < stop:
            chunk = os.pread(self._stream.fileno(), min(CHUNK, stop - start), start)
            if not chunk:
                return
            start += len(chunk)
            yield chunk
