"""Reading a set or composite image that is a local file: members, their files, the packages inside.

Knows that a member counts only when it is what the table says. Refuses to know catalogues, and what a boot
image's manifest means beyond its board and version.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self

from firmware_mgr.model.ids import Digest
from firmware_mgr.package.bundle import (
    IMAGE_MANIFEST,
    INFORMATION_FILE,
    PACKAGE_FILE,
    Bundle,
    Member,
    MemberFile,
    MemberKind,
)
from firmware_mgr.package.card_information import CardInformation, parse_card_information
from firmware_mgr.package.contents import TableOfContents
from firmware_mgr.package.decoding import decode_file
from firmware_mgr.package.errors import PackageFormatError, PackageRefused
from firmware_mgr.package.head import (
    PackageHeader,
    Signature,
    read_signatures,
    show_bundle,
    show_contents,
    verify_bundle,
    verify_contents,
)
from firmware_mgr.package.layout import HEADER_SIZE, EnvelopeKind
from firmware_mgr.package.reader import PackageFile, parse_header, read_head
from firmware_mgr.package.trust import Trust
from firmware_mgr.package.window import Window

#: The largest manifest of a boot image that is looked into.
MAX_MANIFEST = 4 << 20

_Contents = Callable[[PackageHeader, bytes], TableOfContents]


class BundleFile:
    """An open set or composite image. Files are checked against the table each time they are read."""

    def __init__(
        self,
        window: Window,
        header: PackageHeader,
        bundle: Bundle,
        signatures: tuple[Signature, ...],
        where: str,
        *,
        trust: Trust | None,
    ) -> None:
        self._window = window
        self.header = header
        self.bundle = bundle
        self.signatures = signatures
        self.where = where
        self._trust = trust

    @classmethod
    def open(cls, path: Path, trust: Trust) -> Self:
        """Open and verify the head. Raises UsageError (no file), PackageFormatError or PackageRefused."""
        return cls._open(path, trust)

    @classmethod
    def open_to_show(cls, path: Path) -> Self:
        """Open without a look at who signed: to be shown to a person, never to be followed."""
        return cls._open(path, None)

    @classmethod
    def _open(cls, path: Path, trust: Trust | None) -> Self:
        where, window = str(path), Window.of(path)
        try:
            header, head = read_head(window, where)
            if trust is None:
                bundle = show_bundle(header, head, where)
            else:
                bundle = verify_bundle(header, head, trust, where)
            return cls(window, header, bundle, read_signatures(header, head, where), where, trust=trust)
        except BaseException:
            window.stream.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._window.stream.close()

    def digest(self) -> Digest:
        """SHA-256 of the whole file, which is read for it."""
        sha256 = hashlib.sha256()
        for chunk in self._window.chunks():
            sha256.update(chunk)
        return Digest(sha256.hexdigest())

    def file_chunks(self, member: Member, file: MemberFile) -> Iterator[bytes]:
        """The file in parts, each verified; the last one when all was right. Raises PackageRefused."""
        spot = f"{self.where}: {member.title}: {file.name}"
        if member not in self.bundle.members or file not in member.files:
            raise PackageRefused("file is not of this bundle", where=spot)
        stored = self._window.chunks(self.header.byte_range(file))
        return decode_file(file, stored, spot)

    def package(self, member: Member) -> PackageFile:
        """The package inside, read in place, its own signatures checked as this file's were.

        It shares this file and ends with it. Raises PackageFormatError or PackageRefused, also when it is
        another package than the table says.
        """
        where = f"{self.where}: {member.title}"
        window = self._window.part(self.header.byte_range(member.file(PACKAGE_FILE)))
        contents: _Contents = partial(show_contents, where=where)
        if self._trust is not None:
            contents = partial(verify_contents, trust=self._trust, where=where)
        package = PackageFile.within(window, where, contents)
        found = f"{package.toc.name} {package.toc.version}"
        if found != f"{member.name} {member.version}":
            raise PackageRefused(
                "package is another one", where=where, expected=f"{member.name} {member.version}", found=found
            )
        return package

    def image_manifest(self, member: Member) -> bytes:
        """A boot image's manifest as it stands, of the board and version that the table says."""
        where, file = f"{self.where}: {member.title}", member.file(IMAGE_MANIFEST)
        if file.length > MAX_MANIFEST:
            raise PackageFormatError(
                "manifest is too long", where=where, expected=MAX_MANIFEST, found=file.length
            )
        raw = b"".join(self.file_chunks(member, file))
        try:
            document = json.loads(raw)
            found = f"{document['board']} {document['version']}"
            listed = sorted(document["files"])
        except (ValueError, KeyError, TypeError, RecursionError) as e:
            raise PackageFormatError("not a boot image's manifest", where=where, found=repr(e)[:200]) from e
        if found != f"{member.name} {member.version}":
            raise PackageRefused(
                "boot image is another one",
                where=where,
                expected=f"{member.name} {member.version}",
                found=found,
            )
        names = [file.name for file in member.files if file.name != IMAGE_MANIFEST]
        if listed != names:
            raise PackageRefused(
                "manifest lists other files", where=where, expected=", ".join(names), found=", ".join(listed)
            )
        return raw

    def card_information(self) -> CardInformation | None:
        """Raises PackageFormatError or PackageRefused; None when there is none."""
        for member in self.bundle.of_kind(MemberKind.CARD_INFORMATION):
            raw = b"".join(self.file_chunks(member, member.file(INFORMATION_FILE)))
            return parse_card_information(raw, f"{self.where}: {INFORMATION_FILE}")
        return None

    def extract(self, member: Member, folder: Path) -> None:
        """Write the member's files into an empty folder, each under its name. Raises as `file_chunks`."""
        for file in member.files:
            path = folder / file.name
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("xb") as out:
                for chunk in self.file_chunks(member, file):
                    out.write(chunk)
                out.flush()
                os.fsync(out.fileno())

    def check_content(self) -> None:
        """Check every byte, and that every member is what the table says. Raises at the first that is not."""
        for member in self.bundle.members:
            for file in member.files:
                for _ in self.file_chunks(member, file):
                    pass
            if member.kind is MemberKind.PACKAGE:
                self.package(member).check_content()
            elif member.kind is MemberKind.BOOT_IMAGE:
                self.image_manifest(member)
        self.card_information()


def kind_of(path: Path) -> EnvelopeKind:
    """What a file says that it is. Raises UsageError or PackageFormatError."""
    window = Window.of(path)
    with window.stream:
        return parse_header(window.read(range(HEADER_SIZE)), str(path)).kind
