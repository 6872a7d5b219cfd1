"""Which versions of boot images and packages may go: those that nobody refers to, but for the newest of each.

Pure. Older versions are kept for going back to, as many as the user says; who refers to one is `removal`'s.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from firmware_mgr.master.documents import CardRecord, ImageRecord, PackageRecord
from firmware_mgr.master.plan import age
from firmware_mgr.master.removal import who_refers
from firmware_mgr.master.said import Said
from firmware_mgr.model.errors import UsageError
from firmware_mgr.model.ids import Digest

#: Versions of each name that stay in any case, unless the user says another number.
KEEP: Final = 2

Software = ImageRecord | PackageRecord


@dataclass(frozen=True, slots=True)
class Collected:
    """What goes, and how many bytes nobody needs then."""

    images: tuple[ImageRecord, ...]
    packages: tuple[PackageRecord, ...]
    freed: int

    @property
    def records(self) -> list[Software]:
        return [*self.images, *self.packages]


def collect(
    images: Sequence[ImageRecord],
    packages: Sequence[PackageRecord],
    cards: Iterable[CardRecord],
    users: Said,
    keep: int = KEEP,
) -> Collected:
    """Raises UsageError when not even the newest of each would stay."""
    if keep < 1:
        hint = "to remove the last one: fwmgr package remove, fwmgr image remove"
        raise UsageError("the newest of each name stays", where="keep", expected=1, found=keep, hint=hint)
    cards = list(cards)
    run = frozenset[Digest]().union(*(_digests(card) for card in cards))
    named_by = [card for card in cards if not card.own.empty]
    everything: list[Software] = [*images, *packages]
    old = [version for name in _by_name(everything).values() for version in name[keep:]]
    old_digests = {record.digest for version in old for record in version}
    left = [record for record in everything if record.digest not in old_digests]
    going = [
        record
        for version in old
        if not any(one.digest in run or who_refers(one, named_by, users, left) for one in version)
        for record in version
    ]
    gone = {record.key for record in going}
    staying = [record for record in everything if record.key not in gone]
    needed = {digest for record in staying for digest in _lengths(record)}
    bytes_of = {digest: length for record in going for digest, length in _lengths(record).items()}
    return Collected(
        tuple(one for one in going if isinstance(one, ImageRecord)),
        tuple(one for one in going if isinstance(one, PackageRecord)),
        sum(length for digest, length in bytes_of.items() if digest not in needed),
    )


def _digests(card: CardRecord) -> frozenset[Digest]:
    """What the card should run, and what it would go back to: as `who_refers` has it."""
    sets = [card.wanted, card.last_good if card.present else None]
    return frozenset(digest for one in sets if one is not None for digest in one.digests)


def _by_name(records: Iterable[Software]) -> dict[tuple[str, str], list[list[Software]]]:
    """The versions of each name, the one added last first; each with all its files."""
    names: dict[tuple[str, str], dict[str, list[Software]]] = {}
    for record in records:
        kind = ("image", record.board) if isinstance(record, ImageRecord) else ("package", record.name)
        names.setdefault(kind, {}).setdefault(record.version, []).append(record)
    return {
        name: sorted(versions.values(), key=lambda files: max(map(age, files)), reverse=True)
        for name, versions in names.items()
    }


def _lengths(record: Software) -> dict[Digest, int]:
    """The blobs of a record, with their bytes."""
    served = {file.digest: file.length for file in record.files} if isinstance(record, ImageRecord) else {}
    return {**served, record.digest: record.length}
