"""What a set or composite image says of itself: its members, and whom it is for. SPEC-package §10.

Every value is checked when it is made. Refuses to know bytes, and what is in a member's files.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from firmware_mgr.model.errors import UsageError
from firmware_mgr.model.ids import Digest, SlotId, check_name, check_version
from firmware_mgr.package.checks import check_files, check_range, check_set, refuse
from firmware_mgr.package.layout import MAX_CONTENT, MAX_MODULE, MAX_TIME, EnvelopeKind
from firmware_mgr.package.layout_tables import MAX_FILES, MAX_MEMBERS
from firmware_mgr.package.paths import check_path
from firmware_mgr.package.pieces import Compression, Piece, check_pieces, stored_length

#: The files of a member (§10.3).
PACKAGE_FILE = "package.fwp"
INFORMATION_FILE = "cards.json"
IMAGE_MANIFEST = "manifest.json"
IMAGE_PARTITION = "boot.img"
IMAGE_NETBOOT = "net/"
MAX_INFORMATION = 1 << 20


class MemberKind(Enum):
    """What a member is."""

    BOOT_IMAGE = "boot image"
    PACKAGE = "package"
    CARD_INFORMATION = "card information"


#: Members in the order of their codes.
MEMBER_ORDER = (MemberKind.BOOT_IMAGE, MemberKind.PACKAGE, MemberKind.CARD_INFORMATION)


@dataclass(frozen=True, slots=True)
class MemberFile:
    """A file of a member; `offset` in bytes from the beginning of content."""

    name: str
    length: int
    offset: int
    sha256: Digest
    pieces: tuple[Piece, ...]

    def __post_init__(self) -> None:
        check_path(self.name)
        check_range(self.length, MAX_MODULE, "illegal length", self.name)
        check_range(self.offset, MAX_CONTENT, "outside of content", self.name)
        check_pieces(self.pieces, self.length, self.sha256, self.name)

    @property
    def stored_length(self) -> int:
        """How many bytes it has in content."""
        return stored_length(self.pieces)


@dataclass(frozen=True, slots=True)
class Member:
    """A boot image (`name` is its board), a package, or card information."""

    kind: MemberKind
    name: str
    version: str
    files: tuple[MemberFile, ...]

    def __post_init__(self) -> None:
        check_name(self.name, "board" if self.kind is MemberKind.BOOT_IMAGE else "member")
        check_version(self.version)
        check_set([file.name for file in self.files], f"{self.title}: files", MAX_FILES)
        _FILE_RULES[self.kind](self)

    @property
    def title(self) -> str:
        return f"{self.kind.value} {self.name} {self.version}"

    def file(self, name: str) -> MemberFile:
        """Raises UsageError when it has no such file."""
        for file in self.files:
            if file.name == name:
                return file
        raise UsageError("member has no such file", where=self.title, expected=name)

    @property
    def place(self) -> tuple[int, str, str]:
        """By what members are sorted."""
        return MEMBER_ORDER.index(self.kind), self.name, self.version


def _only(member: Member, name: str) -> MemberFile:
    names = [file.name for file in member.files]
    if names != [name]:
        refuse(member.title, "wrong files", name, ", ".join(names) or "none")
    return member.files[0]


def _check_package(member: Member) -> None:
    file = _only(member, PACKAGE_FILE)
    if any(piece.compression is not Compression.NONE for piece in file.pieces):
        refuse(member.title, "package is stored compressed", "as it is", "compressed pieces")


def _check_information(member: Member) -> None:
    check_range(_only(member, INFORMATION_FILE).length, MAX_INFORMATION, "illegal length", member.title)


def _check_image(member: Member) -> None:
    names = {file.name for file in member.files}
    netboot = {name for name in names if name.startswith(IMAGE_NETBOOT)}
    if not {IMAGE_MANIFEST, IMAGE_PARTITION} <= names or not netboot:
        expected = f"{IMAGE_MANIFEST}, {IMAGE_PARTITION}, {IMAGE_NETBOOT}…"
        refuse(member.title, "wrong files", expected, ", ".join(sorted(names)))
    for name in names:
        above = name
        while "/" in above:
            above = above.rpartition("/")[0]
            if above in names:
                refuse(member.title, "a file stands below another", f"{above} a directory", name)


_FILE_RULES = {
    MemberKind.BOOT_IMAGE: _check_image,
    MemberKind.PACKAGE: _check_package,
    MemberKind.CARD_INFORMATION: _check_information,
}


@dataclass(frozen=True, slots=True)
class Targets:
    """Whom and what a composite image is meant for; all empty: whom it fits."""

    slots: tuple[str, ...] = ()
    boards: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for what, names in self.lists():
            check_set(names, f"targets: {what}")
        for slot in self.slots:
            if str(SlotId.parse(slot)) != slot:
                refuse("targets", "slot is not written in its one way", SlotId.parse(slot), slot)
        for kind, names in (("board", self.boards), ("card class", self.classes), ("package", self.packages)):
            for name in names:
                check_name(name, kind)

    def lists(self) -> tuple[tuple[str, tuple[str, ...]], ...]:
        """Each list with what it lists."""
        return (
            ("slots", self.slots),
            ("boards", self.boards),
            ("classes", self.classes),
            ("packages", self.packages),
        )


#: No target is named: it is for whom it fits.
WHOM_IT_FITS = Targets()


@dataclass(frozen=True, slots=True)
class Bundle:
    """The table of contents of a set or composite image. `build_date` in seconds since 1970-01-01 UTC."""

    kind: EnvelopeKind
    name: str
    version: str
    build_date: int
    members: tuple[Member, ...]
    targets: Targets = WHOM_IT_FITS

    def __post_init__(self) -> None:
        check_name(self.name, self.kind.words)
        check_version(self.version)
        check_range(self.build_date, MAX_TIME, "build date out of range")
        if not 1 <= len(self.members) <= MAX_MEMBERS:
            raise UsageError(
                "illegal number of members", expected=f"1 to {MAX_MEMBERS}", found=len(self.members)
            )
        check_set([member.place for member in self.members], "members", MAX_MEMBERS)
        check_files(sum(len(member.files) for member in self.members))
        self._check_kinds()
        _check_offsets(self.members)

    def _check_kinds(self) -> None:
        if self.kind is EnvelopeKind.PACKAGE:
            raise UsageError("a package has modules, not members", where=self.name)
        if self.kind is EnvelopeKind.SET:
            others = [member.title for member in self.members if member.kind is not MemberKind.PACKAGE]
            if others or self.targets != WHOM_IT_FITS:
                refuse(self.name, "a set has packages only", "packages", ", ".join(others) or "targets")
        if len(self.of_kind(MemberKind.CARD_INFORMATION)) > 1:
            raise UsageError("card information stands twice", where=self.name, expected="one at most")

    def of_kind(self, kind: MemberKind) -> tuple[Member, ...]:
        """The members of that kind, in order."""
        return tuple(member for member in self.members if member.kind is kind)

    @property
    def content_length(self) -> int:
        """The length of content in bytes, as the files have it."""
        return sum(file.stored_length for member in self.members for file in member.files)


def _check_offsets(members: Sequence[Member]) -> None:
    position = unpacked = 0
    for member in members:
        for file in member.files:
            if file.offset != position:
                refuse(f"{member.title}: {file.name}", "gap or overlap in content", position, file.offset)
            position += file.stored_length
            unpacked += file.length
    check_range(max(position, unpacked), MAX_CONTENT, "content is too long")
