"""What a card runs: boot image and package references, and the software set made of them.

A software set is ordered: when several packages hold a file, the first in the list wins (R-2.6).
Knows no file format; a reference is a name, a version and a digest.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from firmware_mgr.model.errors import PeerError, UsageError
from firmware_mgr.model.ids import Digest, check_name, check_version

#: Bytes of one file.
MAX_LENGTH = 2**63 - 1
#: Features of one set (as card information has them, SPEC-package §10.4).
MAX_FEATURES = 1_024


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
    """A boot image and an ordered list of packages: all that a card runs.

    `features` are the groups of modules that are asked for, sorted; None: those that are wanted anyway.
    """

    boot_image: BootImageRef
    packages: tuple[PackageRef, ...]
    features: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        if self.features is not None:
            check_features(self.features)
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
        """Without features as it was before there were any, so that digests stay."""
        document: dict[str, Any] = {
            "boot_image": self.boot_image.document(),
            "packages": [package.document() for package in self.packages],
        }
        return document if self.features is None else {**document, "features": list(self.features)}

    @classmethod
    def from_document(cls, doc: Mapping[str, Any]) -> Self:
        """Raises PeerError when a field is missing or wrong."""
        try:
            packages = tuple(PackageRef.from_document(item) for item in doc["packages"])
            features = None
            if "features" in doc:
                if not isinstance(doc["features"], list) or len(doc["features"]) > MAX_FEATURES:
                    raise TypeError(f"expected a list of at most {MAX_FEATURES} features")
                features = tuple(_text(item) for item in doc["features"])
            return cls(BootImageRef.from_document(doc["boot_image"]), packages, features)
        except (KeyError, TypeError, UsageError) as e:
            raise PeerError("not a software set", found=f"{e!s}") from e


def check_features(features: Sequence[str], where: str = "") -> None:
    """Raises UsageError unless they are names of groups, sorted, each once, and not too many."""
    for name in features:
        check_name(name, "group")
    if list(features) != sorted(set(features)):
        raise UsageError("features are not sorted and unique", where=where, found=", ".join(features)[:200])
    if len(features) > MAX_FEATURES:
        raise UsageError(
            "too many features", where=where, expected=f"{MAX_FEATURES} at most", found=len(features)
        )


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
