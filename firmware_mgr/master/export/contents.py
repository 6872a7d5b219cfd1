"""What an export says of itself before anything else: its files with lengths, modes and digests
(SPEC-export §2).

Knows the document and its rules. Knows no envelope and no disk. Pure.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Self

from firmware_mgr.model.errors import PeerError, UsageError
from firmware_mgr.model.ids import Digest
from firmware_mgr.model.software import canonical_json

FORMAT: Final = "fwmgr-master-export"
VERSION: Final = 1
#: The longest contents document that is read, in bytes: some hundred thousand files.
MAX_DOCUMENT: Final = 64 << 20
MAX_FILES: Final = 400_000
#: A tar header of POSIX.1-1988 holds eleven octal digits.
MAX_LENGTH: Final = 8**11 - 1
MAX_PATH: Final = 255
CATALOGUE: Final = "catalogue.sqlite"
BLOBS: Final = "blobs/blobs/sha256/"

#: Printable ASCII; a segment never begins with a dot, so that there is neither "." nor "..".
_SEGMENT = r"[ -\-0-~][ -.0-~]*"
_PATH = re.compile(rf"{_SEGMENT}(?:/{_SEGMENT})*")
_FIELDS: Final = frozenset({"format", "version", "made_at", "fwmgr", "site", "revision", "files"})


@dataclass(frozen=True, slots=True, order=True)
class ExportedFile:
    """A file of the master's directory; `path` is relative to it."""

    path: str
    length: int
    mode: int
    digest: Digest

    def __post_init__(self) -> None:
        if len(self.path) > MAX_PATH or not _PATH.fullmatch(self.path):
            raise UsageError(
                "a file has a name that cannot be exported",
                where=repr(self.path),
                expected="printable ASCII, 255 characters at most, no part that begins with a dot",
            )
        if not 0 <= self.length <= MAX_LENGTH:
            raise UsageError(
                "a file is too long", where=self.path, expected=f"at most {MAX_LENGTH}", found=self.length
            )
        if not 0 <= self.mode <= 0o777:
            raise UsageError("not a file's mode", where=self.path, expected="0 to 777", found=oct(self.mode))
        if self.path.startswith(BLOBS) and self.path != blob_path(self.digest):
            raise UsageError(
                "a blob is not what its name says",
                where=self.path,
                expected=f"bytes of that digest, under {BLOBS}",
                found=self.digest,
                hint="add the boot image or package again, which mends it",
            )


@dataclass(frozen=True, slots=True)
class Contents:
    """`made_at`: seconds since 1970. `site`: fingerprint of the authority's key. `revision`: that of the
    catalogue.
    """

    made_at: int
    fwmgr: str
    site: str
    revision: int
    files: tuple[ExportedFile, ...]

    def __post_init__(self) -> None:
        paths = [file.path for file in self.files]
        if paths != sorted(set(paths)):
            raise UsageError("files are listed twice or out of order", where="contents")
        if len(paths) > MAX_FILES:
            raise UsageError("too many files", expected=f"at most {MAX_FILES}", found=len(paths))
        folders = {path[:end] for path in paths for end in range(len(path)) if path[end] == "/"}
        for path in paths:
            if path in folders:
                raise UsageError("a file and a folder have the same name", where=path)
        if CATALOGUE not in paths:
            raise UsageError("no catalogue among the files", expected=CATALOGUE)

    @property
    def length(self) -> int:
        """Bytes of all files together."""
        return sum(file.length for file in self.files)

    def document(self) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "version": VERSION,
            "made_at": self.made_at,
            "fwmgr": self.fwmgr,
            "site": self.site,
            "revision": self.revision,
            "files": [
                {
                    "path": file.path,
                    "length": file.length,
                    "mode": f"{file.mode:03o}",
                    "sha256": file.digest.hex,
                }
                for file in self.files
            ],
        }

    def encode(self) -> bytes:
        return canonical_json(self.document()) + b"\n"

    @classmethod
    def decode(cls, raw: bytes, where: str) -> Self:
        """Raises PeerError with what is wrong, UsageError when a newer fwmgr wrote it."""
        try:
            document = json.loads(raw)
        except (ValueError, RecursionError) as e:
            raise PeerError("the contents are not JSON", where=where, found=str(e)) from e
        if not isinstance(document, dict) or document.get("format") != FORMAT:
            raise PeerError("not an export of a master", where=where, expected=f"format {FORMAT}")
        version = document.get("version")
        if type(version) is int and version > VERSION:
            raise UsageError(
                "this export was written by a newer fwmgr",
                where=where,
                expected=f"version {VERSION} or older",
                found=f"version {version}",
                hint="import it with that version",
            )
        if version != VERSION:
            raise PeerError("unknown version", where=where, expected=VERSION, found=version)
        contents = cls._read(document, where)
        if contents.encode() != raw:
            raise PeerError("the contents are not in their one form", where=where, expected="canonical JSON")
        return contents

    @classmethod
    def _read(cls, document: Mapping[str, Any], where: str) -> Self:
        if document.keys() != _FIELDS:
            raise PeerError(
                "the contents have other fields",
                where=where,
                expected=", ".join(sorted(_FIELDS)),
                found=", ".join(sorted(map(str, document))),
            )
        try:
            files = tuple(
                ExportedFile(
                    _typed(item["path"], str),
                    _typed(item["length"], int),
                    int(_typed(item["mode"], str), 8),
                    Digest(_typed(item["sha256"], str)),
                )
                for item in _typed(document["files"], list)
            )
            return cls(
                _typed(document["made_at"], int),
                _typed(document["fwmgr"], str),
                _typed(document["site"], str),
                _typed(document["revision"], int),
                files,
            )
        except UsageError as e:
            at = f"{where}, {e.where}" if e.where else where
            raise PeerError(e.what, where=at, expected=e.expected, found=e.found) from e
        except (KeyError, TypeError, ValueError) as e:
            raise PeerError("the contents are broken", where=where, found=repr(e)) from e


def blob_path(digest: Digest) -> str:
    return f"{BLOBS}{digest.hex[:2]}/{digest.hex}"


def _typed(value: Any, kind: type) -> Any:
    if type(value) is not kind:
        raise TypeError(f"{value!r:.60} is no {kind.__name__}")
    return value
