"""What the master remembers: cards, boot images, packages, operations; and the keys they lie under.

Knows the fields of each kind and its schema (docs/CATALOGUE.md). Pure; knows no back end.
Times are seconds since 1970 by the master's clock.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Final

from firmware_mgr.link.messages import BootPieces
from firmware_mgr.master.configuration import Configuration, Origin, WantedFrom
from firmware_mgr.master.schema import Schema
from firmware_mgr.model.errors import UsageError
from firmware_mgr.model.ids import NEUTRAL_CPU, CpuArch, Digest, MacAddress, SlotId, check_name, check_version
from firmware_mgr.model.lifecycle import CardState
from firmware_mgr.model.software import BootImageRef, PackageRef, SoftwareSet
from firmware_mgr.package.trust import Role

CARDS: Final = "cards/"
IMAGES: Final = "images/"
PACKAGES: Final = "packages/"
OPERATIONS: Final = "operations/"

_FINGERPRINT = re.compile(r"[0-9a-f]{64}")
_OPERATION_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9.\-]{0,63}")


class Admission(Enum):
    """How a slot lets a card in (design, choice 5)."""

    OPEN = "open"  # the first card seen is let in and its key pinned
    PINNED = "pinned"  # only the key in `key_fingerprint`; another waits for approval
    APPROVED = "approved"  # each key is approved by hand


@dataclass(frozen=True, slots=True)
class CardRecord:
    """A slot and the card in it (R-1.2).

    What it should run is `wanted`, and `wanted_from` where its parts came from; `own` is what the user
    says of this card alone, `location` what they say of where it is.
    `actual` is what its flash was last known to hold, `running` what it last said it runs, both as reported.
    `last_good` is the set it was last in service with, `rejected` are images that failed their trial here,
    `tries` the power cycles since it last served; `renewable` lets one new key in (burn-all).
    """

    slot: SlotId
    updated_at: float
    mac: MacAddress | None = None
    board: str | None = None
    cpu: CpuArch | None = None
    card_class: str | None = None
    admission: Admission = Admission.OPEN
    key_fingerprint: str | None = None
    wanted: SoftwareSet | None = None
    wanted_from: WantedFrom = field(default_factory=WantedFrom)
    own: Configuration = field(default_factory=Configuration)
    actual: dict[str, Any] | None = None
    last_validated: Digest | None = None
    last_good: SoftwareSet | None = None
    rejected: tuple[Digest, ...] = ()
    tries: int = 0
    renewable: bool = False
    state: CardState = CardState.ABSENT
    reason: str = ""
    present: bool = False
    running: dict[str, Any] | None = None
    location: str = ""

    def __post_init__(self) -> None:
        if self.board is not None:
            check_name(self.board, "board")
        if self.card_class is not None:
            check_name(self.card_class, "card class")
        if self.key_fingerprint is not None and not _FINGERPRINT.fullmatch(self.key_fingerprint):
            raise UsageError(
                "not a key fingerprint", expected="64 lower-case hex digits", found=self.key_fingerprint
            )

    @property
    def key(self) -> str:
        return card_key(self.slot)

    @property
    def held_packages(self) -> frozenset[Digest]:
        """The packages that its flash was last known to hold."""
        stored = (self.actual or {}).get("packages", ())
        return frozenset(Digest(str(package["digest"])) for package in stored)

    def to_document(self) -> dict[str, Any]:
        return CARD.write(self)

    @classmethod
    def from_document(cls, value: Mapping[str, Any], where: str = "card") -> CardRecord:
        """Raises PeerError, or UsageError when it is newer than this program."""
        return CARD.read(value, where)


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file by the name under which it is served; its bytes are a blob of `length` bytes."""

    name: str
    digest: Digest
    length: int


@dataclass(frozen=True, slots=True)
class ImageRecord:
    """A boot image (R-1.1): the raw partition image with its pieces, and the files that netboot serves.

    `authority` and `keys` are whom its card believes: the site's authority, and ids of keys that may sign
    packages. None: an older fwmgr built it, and nobody knows. `root` is the root of trust that it carries,
    which goes before the keys; `takes_test` whether its card takes test packages (SPEC-trust).
    """

    board: str
    version: str
    digest: Digest
    length: int
    pieces: BootPieces
    files: tuple[StoredFile, ...]
    added_at: float
    authority: Digest | None = None
    keys: tuple[Digest, ...] | None = None
    root: dict[str, Any] | None = None
    takes_test: bool = False

    def __post_init__(self) -> None:
        BootImageRef(self.board, self.version, self.digest, self.length)
        size = self.pieces.piece_size
        expected = -(-self.length // size) if size > 0 else 0
        if size <= 0 or len(self.pieces.pieces) != expected:
            raise UsageError(
                "pieces do not cover the boot image",
                where=f"{self.board} {self.version}",
                expected=f"{expected} pieces of {size} bytes for {self.length} bytes",
                found=len(self.pieces.pieces),
            )
        names = [file.name for file in self.files]
        if len(names) != len(set(names)):
            raise UsageError("a file stands twice in a boot image", found=", ".join(names))

    @property
    def key(self) -> str:
        return image_key(self.ref)

    @property
    def ref(self) -> BootImageRef:
        return BootImageRef(self.board, self.version, self.digest, self.length)

    @property
    def blobs(self) -> frozenset[Digest]:
        """All blobs that this image needs."""
        return frozenset({self.digest, *(file.digest for file in self.files)})

    def to_document(self) -> dict[str, Any]:
        return IMAGE.write(self)

    @classmethod
    def from_document(cls, value: Mapping[str, Any], where: str = "image") -> ImageRecord:
        """Raises PeerError, or UsageError when it is newer than this program."""
        return IMAGE.read(value, where)


@dataclass(frozen=True, slots=True)
class PackageRecord:
    """A package (R-1.1). `cpus` are names of CPU architectures, or NEUTRAL_CPU; `contents` sums up its signed
    table of contents for people.

    `signed_by` are the ids of the keys that signed it; empty when an older master added it. `format` is that
    of the file: not every agent reads every format.
    """

    name: str
    version: str
    digest: Digest
    length: int
    cpus: tuple[str, ...]
    added_at: float
    contents: dict[str, Any] = field(default_factory=dict)
    format: int = 1

    def __post_init__(self) -> None:
        check_name(self.name, "package")
        check_version(self.version)
        known = {NEUTRAL_CPU, *(cpu.value for cpu in CpuArch)}
        for cpu in self.cpus:
            if cpu not in known:
                raise UsageError(
                    "not a CPU", where=f"package {self.name}", expected=", ".join(sorted(known)), found=cpu
                )

    @property
    def key(self) -> str:
        return package_key(self.ref)

    @property
    def signed_by(self) -> tuple[str, ...]:
        return tuple(self.contents.get("signed_by", ()))

    @property
    def is_test(self) -> bool:
        """Whether it was signed for tests only when it was added."""
        return self.contents.get("role") == Role.TEST.value

    @property
    def ref(self) -> PackageRef:
        return PackageRef(self.name, self.version, self.digest, self.length)

    def to_document(self) -> dict[str, Any]:
        return PACKAGE.write(self)

    @classmethod
    def from_document(cls, value: Mapping[str, Any], where: str = "package") -> PackageRecord:
        """Raises PeerError, or UsageError when it is newer than this program."""
        return PACKAGE.read(value, where)


@dataclass(frozen=True, slots=True)
class OperationRecord:
    """A long operation, resumed after a start of the master. `request` is what the user asked for; `cards`
    maps slots, as text, to whatever the operation keeps of each.
    """

    id: str
    kind: str
    created_at: float
    state: str
    cards: dict[str, dict[str, Any]]
    request: dict[str, Any] = field(default_factory=dict)
    reason: str = ""

    def __post_init__(self) -> None:
        operation_key(self.id)
        for slot in self.cards:
            SlotId.parse(slot)

    @property
    def key(self) -> str:
        return operation_key(self.id)

    def to_document(self) -> dict[str, Any]:
        return OPERATION.write(self)

    @classmethod
    def from_document(cls, value: Mapping[str, Any], where: str = "operation") -> OperationRecord:
        """Raises PeerError, or UsageError when it is newer than this program."""
        return OPERATION.read(value, where)


def _wish_becomes_configuration(fields: Mapping[str, Any]) -> Mapping[str, Any]:
    """Schema 1 had a flag beside the wanted set that told a user's wish from what was newest."""
    after = {name: value for name, value in fields.items() if name != "wanted_by_user"}
    wanted, by_user = fields["wanted"], fields["wanted_by_user"]
    origin = (Origin.CARD if by_user and wanted is not None else Origin.DEFAULT).value
    own: dict[str, Any] = {"packages": None, "images": {}, "order": None, "save_image": None}
    if by_user and wanted is not None:
        image = wanted["boot_image"]
        own["images"] = {image["board"]: image["version"]}
        own["packages"] = [f"{package['name']}={package['version']}" for package in wanted["packages"]]
    return {**after, "wanted_from": {"boot_image": origin, "packages": origin}, "own": own}


def _with_features_and_location(fields: Mapping[str, Any]) -> Mapping[str, Any]:
    """Schema 2 knew neither."""
    origin = {**fields["wanted_from"], "features": Origin.DEFAULT.value}
    return {**fields, "own": {**fields["own"], "features": None}, "wanted_from": origin, "location": ""}


CARD: Final = Schema("card", CardRecord, 3, {1: _wish_becomes_configuration, 2: _with_features_and_location})
#: Schema 1 did not know whom an image's card believes, schema 2 no root of trust.
IMAGE: Final = Schema(
    "image",
    ImageRecord,
    3,
    {
        1: lambda fields: {**fields, "authority": None, "keys": None},
        2: lambda fields: {**fields, "root": None, "takes_test": False},
    },
)
#: Schema 1 knew packages of format 1 only.
PACKAGE: Final = Schema("package", PackageRecord, 2, {1: lambda fields: {**fields, "format": 1}})
OPERATION: Final = Schema("operation", OperationRecord)


def card_key(slot: SlotId) -> str:
    return f"{CARDS}{slot}"


def image_key(ref: BootImageRef) -> str:
    return f"{IMAGES}{ref.board}/{ref.digest}"


def package_key(ref: PackageRef) -> str:
    return f"{PACKAGES}{ref.name}/{ref.digest}"


def operation_key(identifier: str) -> str:
    """Raises UsageError when the identifier cannot stand in a key."""
    if not _OPERATION_ID.fullmatch(identifier):
        raise UsageError(
            "not an operation", expected="letters, digits, . - (64 at most)", found=repr(identifier)
        )
    return f"{OPERATIONS}{identifier}"
