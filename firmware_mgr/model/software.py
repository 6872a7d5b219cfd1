"""What a card runs: boot image and package references, and the software set made of them.

A software set is ordered: when several packages hold a file, the first in the list wins (R-2.6).
Knows no file format; a reference is a name, a version and a digest.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from firmware_mgr.model.errors import PeerError, UsageError
from firmware_mgr.model.ids import Digest, check_name, check_version

#: Bytes of one file.
MAX_LENGTH = 2**63 - 1


@dataclass(frozen=True, slots=True)
class BootImageRef:
    """A boot image: for which board, which version, digest and length in bytes of its raw partition image."""

    board: str
    version: str
    digest: Digest
    length: int

    def __post_init__(self) -> None:
        check_name(self.board, "board")
        check_version(self.version)
        if self.length <= 0:
            raise UsageError("boot image is empty", expected="a length over 0", found=self.length)

    def document(self) -> dict[str, Any]:
        return {
            "board": self.board,
            "version": self.version,
            "digest": self.digest.hex,
            "length": self.length,
        }

    @classmethod
    def from_document(cls, doc: Mapping[str, Any]) -> Self:
        """Raises PeerError when a field is missing or wrong."""
        try:
            return cls(
                _text(doc["board"]),
                _text(doc["version"]),
                Digest(_text(doc["digest"])),
                _length(doc["length"]),
            )
        except (KeyError, TypeError, ValueError, UsageError) as e:
            raise PeerError("not a boot image reference", found=f"{e!s}") from e


@dataclass(frozen=True, slots=True)
class PackageRef:
    """A package: name, version, digest and length in bytes of the whole package file."""

    name: str
    version: str
    digest: Digest
    length: int

    def __post_init__(self) -> None:
        check_name(self.name, "package")
        check_version(self.version)

    def document(self) -> dict[str, Any]:
        return {"name": self.name, "version": self.version, "digest": self.digest.hex, "length": self.length}

    @classmethod
    def from_document(cls, doc: Mapping[str, Any]) -> Self:
        """Raises PeerError when a field is missing or wrong."""
        try:
            return cls(
                _text(doc["name"]),
                _text(doc["version"]),
                Digest(_text(doc["digest"])),
                _length(doc["length"]),
            )
        except (KeyError, TypeError, ValueError, UsageError) as e:
            raise PeerError("not a package reference", found=f"{e!s}") from e


@dataclass(frozen=True, slots=True)
class SoftwareSet:
    """A boot image and an ordered list of packages: all that a card runs."""

    boot_image: BootImageRef
    packages: tuple[PackageRef, ...]

    def __post_init__(self) -> None:
        names = [package.name for package in self.packages]
        if len(names) != len(set(names)):
            raise UsageError("a package stands twice in a software set", found=", ".join(names))

    @property
    def digest(self) -> Digest:
        """The identity of the set: equal digests mean the same boot image and packages in the same order."""
        return Digest(hashlib.sha256(canonical_json(self.document())).hexdigest())

    @property
    def digests(self) -> frozenset[Digest]:
        """Of its boot image and its packages."""
        return frozenset({self.boot_image.digest, *(package.digest for package in self.packages)})

    def document(self) -> dict[str, Any]:
        return {
            "boot_image": self.boot_image.document(),
            "packages": [package.document() for package in self.packages],
        }

    @classmethod
    def from_document(cls, doc: Mapping[str, Any]) -> Self:
        """Raises PeerError when a field is missing or wrong."""
        try:
            packages = tuple(PackageRef.from_document(item) for item in doc["packages"])
            return cls(BootImageRef.from_document(doc["boot_image"]), packages)
        except (KeyError, TypeError, UsageError) as e:
            raise PeerError("not a software set", found=f"{e!s}") from e


def _text(raw: object) -> str:
    if not isinstance(raw, str):
        raise TypeError(f"expected a text, found {type(raw).__name__}")
    return raw


def _length(raw: object) -> int:
    """Bytes; not a truth value, not a fraction, not more than any disk has."""
    if type(raw) is not int or not 0 <= raw <= MAX_LENGTH:
        raise TypeError(f"expected a length of 0 to {MAX_LENGTH} bytes, found {type(raw).__name__}")
    return raw


def canonical_json(document: Any) -> bytes:
    """JSON with sorted keys, no spaces, UTF-8: equal documents give equal bytes."""
    return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
