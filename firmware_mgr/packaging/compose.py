"""Sets and composite images from packages, boot images and card information: SPEC-package §10.

Every part is read whole and checked before it goes in. Refuses to know who will trust a package's signer: a
package keeps its own signatures.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from firmware_mgr.imaging.manifest import MANIFEST_NAME, read_boot_image
from firmware_mgr.model.errors import UsageError
from firmware_mgr.model.ids import Digest
from firmware_mgr.package.bundle import (
    INFORMATION_FILE,
    PACKAGE_FILE,
    WHOM_IT_FITS,
    Bundle,
    Member,
    MemberFile,
    MemberKind,
    Targets,
)
from firmware_mgr.package.bundle_table import encode_bundle
from firmware_mgr.package.card_information import CardInformation, parse_card_information
from firmware_mgr.package.layout import EnvelopeKind
from firmware_mgr.package.reader import PackageFile
from firmware_mgr.packaging.keys import SigningKey
from firmware_mgr.packaging.sealing import seal
from firmware_mgr.packaging.storing import store_file

#: Name and version of card information among members: a composite image has one at most.
INFORMATION_NAME = "cards"
INFORMATION_VERSION = "1"


@dataclass(frozen=True, slots=True)
class MemberSource:
    """A member before it is stored. `build_date` in seconds since 1970-01-01 UTC, 0 when nothing says."""

    kind: MemberKind
    name: str
    version: str
    files: dict[str, bytes]
    build_date: int = 0


@dataclass(frozen=True, slots=True)
class BundleHead:
    """What a set or composite image says of itself. Without a build date it is that of its newest member."""

    kind: EnvelopeKind
    name: str
    version: str
    build_date: int | None = None
    targets: Targets = WHOM_IT_FITS


def package_member(path: Path) -> MemberSource:
    """A package file, read and checked whole. Raises UsageError, PackageFormatError or PackageRefused."""
    with PackageFile.open_to_show(path) as package:
        package.check_content()
        toc = package.toc
    files = {PACKAGE_FILE: path.read_bytes()}
    return MemberSource(MemberKind.PACKAGE, toc.name, toc.version, files, toc.build_date)


def image_member(folder: Path) -> MemberSource:
    """A boot image's folder, checked against its manifest. Raises UsageError or PeerError."""
    image = read_boot_image(folder)
    manifest = image.manifest
    files = {name: image.path(name).read_bytes() for name in (MANIFEST_NAME, *manifest.files)}
    return MemberSource(MemberKind.BOOT_IMAGE, manifest.board, manifest.version, files, manifest.build_date)


def information_member(information: CardInformation) -> MemberSource:
    """Raises PackageFormatError when it is too long."""
    raw = json.dumps(information.document(), indent=1, sort_keys=True, ensure_ascii=False).encode()
    assert parse_card_information(raw, INFORMATION_FILE) == information
    return MemberSource(
        MemberKind.CARD_INFORMATION, INFORMATION_NAME, INFORMATION_VERSION, {INFORMATION_FILE: raw}
    )


def build_bundle(
    head: BundleHead,
    sources: Iterable[MemberSource],
    signing_keys: Sequence[SigningKey],
    signed_at: int | None = None,
) -> bytes:
    """The whole file. Raises UsageError when a part is illegal, or no key is given.

    `signed_at` is in seconds since 1970-01-01 UTC, the build date when it is not given.
    """
    bundle, content = pack_bundle(head, sources)
    when = bundle.build_date if signed_at is None else signed_at
    return seal(encode_bundle(bundle), content, signing_keys, head.kind, signed_at=when)


def pack_bundle(head: BundleHead, sources: Iterable[MemberSource]) -> tuple[Bundle, bytes]:
    """Table and content, not yet signed. Raises UsageError when a part is illegal."""
    content: list[bytes] = []
    members: list[Member] = []
    position = newest = 0
    for source in sorted(sources, key=lambda one: (_order(one.kind), one.name, one.version)):
        files = []
        for name, data in sorted(source.files.items()):
            pieces, stored = store_file(data, compress=source.kind is not MemberKind.PACKAGE)
            files.append(MemberFile(name, len(data), position, Digest.of(data), pieces))
            content.append(stored)
            position += len(stored)
        members.append(Member(source.kind, source.name, source.version, tuple(files)))
        newest = max(newest, source.build_date)
    twice = [one.title for one, other in pairwise(members) if one.place == other.place]
    if twice:
        raise UsageError("member stands twice", where=head.name, expected="each once", found=", ".join(twice))
    when = newest if head.build_date is None else head.build_date
    bundle = Bundle(head.kind, head.name, head.version, when, tuple(members), head.targets)
    return bundle, b"".join(content)


def _order(kind: MemberKind) -> int:
    return list(MemberKind).index(kind)
