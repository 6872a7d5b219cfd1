"""What follows from a composite's card information for classes, boards, slots and preferences. Pure.

What it says replaces what was said before, what it does not say stays (docs/COMPOSITES.md). Refuses to know
who writes it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from firmware_mgr.master.board_wish import BoardRecord, Preferred
from firmware_mgr.master.card_class import ClassRecord
from firmware_mgr.master.configuration import Configuration
from firmware_mgr.master.documents import CardRecord, ImageRecord, PackageRecord
from firmware_mgr.master.plan import is_called
from firmware_mgr.master.said import Said
from firmware_mgr.model.errors import UsageError
from firmware_mgr.model.ids import SlotId
from firmware_mgr.package.card_information import CardEntry, CardInformation, CardWish


@dataclass(frozen=True, slots=True)
class Follows:
    """`said` afterwards; `cards` are fields of records that change, also of slots that were never seen;
    `touched` are the slots of known cards whose wanted set is to be worked out.
    """

    said: Said
    cards: Mapping[SlotId, dict[str, Any]] = field(default_factory=dict)
    touched: frozenset[SlotId] = frozenset()


def follow(
    information: CardInformation,
    said: Said,
    cards: Mapping[SlotId, CardRecord],
    images: Sequence[ImageRecord],
    packages: Sequence[PackageRecord],
    *,
    known_boards: Collection[str],
    now: float,
) -> Follows:
    """`images` and `packages` are what there will be. Raises UsageError for what is named and not there."""
    _check_boards(information, known_boards)
    classes, boards = dict(said.classes), dict(said.boards)
    for name, wish in information.classes.items():
        before = classes.get(name) or ClassRecord(name, now)
        classes[name] = replace(before, configuration=merged(before.configuration, wish))
    own: dict[SlotId, dict[str, Any]] = {}
    for card in information.cards:
        _check_class(card, classes)
        if card.slot is not None:
            own[card.slot] = _of_slot(card, cards.get(card.slot))
        elif card.board is not None:
            boards[card.board] = _of_board(card, boards.get(card.board) or BoardRecord(card.board))
    preferred = Preferred(
        {**said.preferred.images, **information.preferred_images},
        {**said.preferred.packages, **information.preferred_packages},
    )
    for where, wish in _wishes(information):
        _check_versions(where, wish, images, packages)
    after = Said(classes, boards, preferred)
    return Follows(after, own, _touched(information, after, cards))


def merged(before: Configuration, wish: CardWish) -> Configuration:
    """The configuration with what the wish says."""
    packages = before.packages if wish.packages is None else wish.packages
    features = before.features if wish.features is None else wish.features
    return replace(before, images={**before.images, **wish.images}, packages=packages, features=features)


def _of_slot(card: CardEntry, record: CardRecord | None) -> dict[str, Any]:
    before = Configuration() if record is None else record.own
    fields: dict[str, Any] = {"own": merged(before, card.wish)}
    if card.card_class is not None:
        fields["card_class"] = card.card_class
    if card.location:
        fields["location"] = card.location
    return fields


def _of_board(card: CardEntry, before: BoardRecord) -> BoardRecord:
    return replace(
        before,
        configuration=merged(before.configuration, card.wish),
        card_class=card.card_class or before.card_class,
        location=card.location or before.location,
    )


def _touched(
    information: CardInformation, after: Said, cards: Mapping[SlotId, CardRecord]
) -> frozenset[SlotId]:
    """Known cards that are named, or whose class or board is: also when it says no more than before, what it
    names without a version may be another one now.
    """
    slots = {card.slot for card in information.cards}
    boards = {card.board for card in information.cards if card.board is not None}
    return frozenset(
        slot
        for slot, card in cards.items()
        if slot in slots or card.board in boards or after.class_name(card) in information.classes
    )


def _check_boards(information: CardInformation, known: Collection[str]) -> None:
    for card in information.cards:
        if card.board is not None and card.board not in known:
            raise UsageError(
                "no such board",
                where="card information",
                expected=f"one of {', '.join(sorted(known))}",
                found=card.board,
                hint="a board file of your own is named at the start: fwmgr master run --board FILE",
            )


def _place(card: CardEntry) -> str:
    return f"slot {card.slot}" if card.slot is not None else f"board {card.board}"


def _check_class(card: CardEntry, classes: Mapping[str, ClassRecord]) -> None:
    if card.card_class is not None and card.card_class not in classes:
        raise UsageError(
            "no such class",
            where=f"card information, {_place(card)}",
            expected=f"one of {', '.join(sorted(classes)) or 'none'}",
            found=card.card_class,
            hint=f"name it in the composite, or make it first: fwmgr class create {card.card_class}",
        )


def _wishes(information: CardInformation) -> list[tuple[str, CardWish]]:
    preferred = CardWish(
        information.preferred_images,
        tuple(f"{name}={version}" for name, version in information.preferred_packages.items()),
    )
    return [
        *((f"class {name}", wish) for name, wish in information.classes.items()),
        *((_place(card), card.wish) for card in information.cards),
        ("preferred", preferred),
    ]


def _check_versions(
    where: str, wish: CardWish, images: Sequence[ImageRecord], packages: Sequence[PackageRecord]
) -> None:
    for board, version in wish.images.items():
        known = [image for image in images if image.board == board]
        if not any(is_called(image, version) for image in known):
            versions = ", ".join(sorted({image.version for image in known})) or "none"
            _missing(where, "boot image", f"{board} {version}", versions)
    for text in wish.packages or ():
        name, _, version = text.partition("=")
        named = [package.version for package in packages if package.name == name]
        if not named or (version and version not in named):
            _missing(where, "package", text, ", ".join(sorted(set(named))) or "none")


def _missing(where: str, what: str, named: str, versions: str) -> None:
    raise UsageError(
        f"no such {what}",
        where=f"card information, {where}",
        expected=f"one that is in the composite or in the catalogue: {versions}",
        found=named,
        hint="put it into the composite, or add it first",
    )
