"""Boot images and packages that leave the catalogue, and who still refers to one. The rules are pure.

Knows cards' records, and what was said of classes, boards and preferences. What a card's flash holds is its
own: it is not a reference, unless the card is to go back to it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from firmware_mgr.master.configuration import Configuration
from firmware_mgr.master.documents import CardRecord, ImageRecord, PackageRecord
from firmware_mgr.master.plan import is_called
from firmware_mgr.master.said import Said
from firmware_mgr.model.errors import UsageError
from firmware_mgr.model.software import SoftwareSet


def who_refers(
    record: ImageRecord | PackageRecord,
    cards: Iterable[CardRecord],
    users: Said,
    left: Sequence[ImageRecord | PackageRecord],
) -> list[str]:
    """Sentences on who refers to it. `left` is what would be there without it: a name that one of these has
    too refers to that one. What an absent card was last in service with is not kept for it.
    """
    clear = "--clear images" if isinstance(record, ImageRecord) else "--clear packages"
    said = []
    for card in cards:
        if _holds(card.wanted, record):
            said.append(f"slot {card.slot} should run it")
        if card.present and _holds(card.last_good, record):
            said.append(f"slot {card.slot} goes back to it")
        if _names(card.own, record, left):
            said.append(f"slot {card.slot} names it (fwmgr card set {card.slot} {clear})")
    said += [
        f"class {one.name} names it (fwmgr class set {one.name} {clear})"
        for one in users.classes.values()
        if _names(one.configuration, record, left)
    ]
    said += [
        f"board {one.board} names it (fwmgr board set {one.board} {clear})"
        for one in users.boards.values()
        if _names(one.configuration, record, left)
    ]
    preferred = Configuration(
        tuple(f"{name}={version}" for name, version in users.preferred.packages.items()),
        users.preferred.images,
    )
    if _names(preferred, record, left):
        said.append("it is the preferred version (fwmgr prefer --clear …)")
    return said


def _holds(software: SoftwareSet | None, record: ImageRecord | PackageRecord) -> bool:
    return software is not None and record.digest in software.digests


def _names(
    configuration: Configuration,
    record: ImageRecord | PackageRecord,
    left: Sequence[ImageRecord | PackageRecord],
) -> bool:
    if isinstance(record, ImageRecord):
        named = configuration.images.get(record.board)
        images = [one for one in left if isinstance(one, ImageRecord) and one.board == record.board]
        return (
            named is not None
            and is_called(record, named)
            and not any(is_called(one, named) for one in images)
        )
    wishes = configuration.packages or ()
    others = [one.version for one in left if isinstance(one, PackageRecord) and one.name == record.name]
    if f"{record.name}={record.version}" in wishes:
        return record.version not in others
    return record.name in wishes and not others


def check_unused(what: str, referring: Sequence[str]) -> None:
    """Raises UsageError that lists who refers to it."""
    if referring:
        shown = "; ".join(referring[:10]) + (
            f"; and {len(referring) - 10} more" if len(referring) > 10 else ""
        )
        hint = "give these something else to run, and remove it then"
        raise UsageError("still referred to", where=what, expected="nobody", found=shown, hint=hint)


def pick_packages(name: str, version: str, packages: Iterable[PackageRecord]) -> list[PackageRecord]:
    """All files of that version: there may be one for each CPU. Raises UsageError."""
    named = [package for package in packages if package.name == name]
    found = [package for package in named if package.version == version]
    if not found:
        known = ", ".join(sorted({f"{one.name}={one.version}" for one in named})) or "none"
        hint = "see what there is: fwmgr package list"
        raise UsageError("no such package", expected=f"one of {known}", found=f"{name}={version}", hint=hint)
    return found
