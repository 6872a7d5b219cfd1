"""Reading a composite image or set that comes from outside: unpacked, every member checked, bytes kept.

Knows how members become records. What they bring about is `composite_desk`'s.
"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from firmware_mgr.master.composite import CompositeRecord, TargetRecord
from firmware_mgr.master.documents import ImageRecord, PackageRecord
from firmware_mgr.master.files import disk_errors, make_directories
from firmware_mgr.master.intake import Intake, News, TakenPackage
from firmware_mgr.model.errors import DeviceError
from firmware_mgr.package.bundle import PACKAGE_FILE, Member, MemberKind, Targets
from firmware_mgr.package.bundle_reader import BundleFile
from firmware_mgr.package.card_information import CardInformation
from firmware_mgr.package.errors import PackageRefused
from firmware_mgr.package.head import signed_contents
from firmware_mgr.package.trust import Role, Trust

#: What is being read: member, bytes done, bytes in all.
Reading = tuple[str, int, int]


@dataclass(frozen=True, slots=True)
class TakenImage:
    """`record` is the stored one when nothing is new."""

    record: ImageRecord
    news: News


@dataclass(frozen=True, slots=True)
class TakenComposite:
    """All bytes are kept; no record is written yet."""

    record: CompositeRecord
    images: tuple[TakenImage, ...]
    packages: tuple[TakenPackage, ...]
    information: CardInformation | None
    known: bool  # the very same file came before

    @property
    def new_images(self) -> list[ImageRecord]:
        return [taken.record for taken in self.images if taken.news.is_new]

    @property
    def new_packages(self) -> list[PackageRecord]:
        return [taken.record for taken in self.packages if taken.news.is_new]


class CompositeReader:
    """`unpack` is a folder of its own, emptied at the start. `reading` says how far it has come."""

    def __init__(
        self, intake: Intake, trust: Callable[[], Trust], clock: Callable[[], float], unpack: Path
    ) -> None:
        self._intake = intake
        self._trust = trust
        self._clock = clock
        self._unpack = unpack
        self._turn = asyncio.Lock()
        self.reading: Reading | None = None
        with disk_errors("cannot make a folder to unpack in", unpack):
            shutil.rmtree(unpack, ignore_errors=True)
            make_directories(unpack, 0o700)

    async def take(
        self, file: Path, known: Sequence[CompositeRecord], images: Sequence[ImageRecord]
    ) -> TakenComposite:
        """One at a time. Raises UsageError, PackageFormatError or PackageRefused; no record is written."""
        async with self._turn:
            packages = await self._intake.stored_packages()
            try:
                return await asyncio.to_thread(self._take, file, known, images, packages)
            finally:
                self.reading = None

    def _take(
        self,
        file: Path,
        known: Sequence[CompositeRecord],
        images: Sequence[ImageRecord],
        packages: Sequence[PackageRecord],
    ) -> TakenComposite:
        trust, now = self._trust(), self._clock()
        with BundleFile.open(file, trust.held()) as bundle:
            table = bundle.bundle
            digest, length = bundle.digest(), bundle.header.total_length
            held = any(one.digest == digest for one in known)
            signers = sorted(signature.key for signature in bundle.signatures)
            judge = trust.held() if held else trust
            role = judge.check_package(signed_contents(bundle.header, table), signers, str(file))
            taken_images: list[TakenImage] = []
            taken_packages: list[TakenPackage] = []
            done, total = 0, sum(_length(member) for member in table.members)
            self._check_room(table.members)
            for member in table.members:
                self.reading = (member.title, done, total)
                if member.kind is MemberKind.BOOT_IMAGE:
                    taken_images.append(self._image(bundle, member, images, now))
                    _check_tested(taken_images[-1], role, _where(bundle, member))
                elif member.kind is MemberKind.PACKAGE:
                    stored = [*packages, *(one.record for one in taken_packages if one.news.is_new)]
                    taken_packages.append(self._package(bundle, member, stored, now))
                done += _length(member)
            information = bundle.card_information()
        record = CompositeRecord(
            table.kind.words,
            table.name,
            table.version,
            digest,
            length,
            now,
            table.build_date,
            role.value,
            tuple(signers),
            _targets(table.targets),
            tuple(taken.record.ref for taken in taken_images),
            tuple(taken.record.ref for taken in taken_packages),
            information is not None,
            _concerned(information),
        )
        return TakenComposite(record, tuple(taken_images), tuple(taken_packages), information, held)

    def _check_room(self, members: Sequence[Member]) -> None:
        """Room for all members as blobs, and one of them unpacked beside them. Raises DeviceError."""
        lengths = [_length(member) for member in members]
        needed = sum(lengths) + max(lengths)
        with disk_errors("cannot see how much room there is", self._unpack):
            free = shutil.disk_usage(self._unpack).free
        if free < needed:
            raise DeviceError(
                "not enough room to read it",
                where=str(self._unpack),
                expected=f"{needed} bytes free",
                found=free,
                hint="fwmgr package collect removes what nobody refers to",
            )

    def _image(
        self, bundle: BundleFile, member: Member, images: Sequence[ImageRecord], now: float
    ) -> TakenImage:
        bundle.image_manifest(member)
        with self._unpacked(bundle, member) as folder:
            record = self._intake.take_image(folder, _where(bundle, member), now)
        known = next((one for one in images if one.key == record.key), None)
        return TakenImage(record, News.ADDED) if known is None else TakenImage(known, News.KNOWN)

    def _package(
        self, bundle: BundleFile, member: Member, stored: Sequence[PackageRecord], now: float
    ) -> TakenPackage:
        bundle.package(member)  # it is the one that the table says
        with self._unpacked(bundle, member) as folder:
            return self._intake.take_package(folder / PACKAGE_FILE, _where(bundle, member), stored, now)

    @contextmanager
    def _unpacked(self, bundle: BundleFile, member: Member) -> Iterator[Path]:
        with disk_errors("cannot unpack", self._unpack):
            folder = Path(tempfile.mkdtemp(dir=self._unpack))
        try:
            with disk_errors("cannot unpack", folder):
                bundle.extract(member, folder)
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _length(member: Member) -> int:
    return sum(file.length for file in member.files)


def _where(bundle: BundleFile, member: Member) -> str:
    return f"{bundle.where}: {member.title}"


def _check_tested(taken: TakenImage, role: Role, where: str) -> None:
    """Who may sign for tests alone brings no boot image for cards that take no test packages."""
    if role is Role.TEST and taken.news.is_new and not taken.record.takes_test:
        raise PackageRefused(
            "boot image for all cards in what is signed for tests alone",
            where=where,
            expected="a boot image whose cards take test packages, or signatures of release keys",
            hint="fwmgr image build --test makes such a boot image",
        )


def _concerned(information: CardInformation | None) -> TargetRecord:
    if information is None:
        return TargetRecord()
    cards = information.cards
    slots = sorted(str(card.slot) for card in cards if card.slot is not None)
    boards = sorted(card.board for card in cards if card.board is not None)
    return TargetRecord(tuple(slots), tuple(boards), tuple(sorted(information.classes)))


def _targets(targets: Targets) -> TargetRecord:
    return TargetRecord(targets.slots, targets.boards, targets.classes, targets.packages)
