"""Who runs what: the software set of each class and slot, also of classes that no card is in yet. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from firmware_mgr.master.configuration import WantedFrom
from firmware_mgr.master.documents import CardRecord, ImageRecord, PackageRecord
from firmware_mgr.master.said import Said
from firmware_mgr.master.wanted import InOrder, Wanted, as_added
from firmware_mgr.model.errors import UsageError
from firmware_mgr.model.ids import CpuArch, SlotId
from firmware_mgr.model.software import SoftwareSet

#: Of a card that is only thought of; no error about it is shown with its slot.
_NOWHERE = SlotId.parse("1")

WouldRun = Callable[[CardRecord], Wanted]


@dataclass(frozen=True, slots=True)
class SetRow:
    """Cards of one class (None: of none) and board that should run the same. No slots: no card yet.

    `software` is what they should run, or what a burn-all would bring when nobody has said anything; None for
    slots where no card was seen, and where nothing fits, as `error` says then.
    """

    card_class: str | None
    board: str | None
    software: SoftwareSet | None
    origin: WantedFrom
    slots: tuple[SlotId, ...] = ()
    error: str = ""


def who_runs_what(
    said: Said,
    cards: Iterable[CardRecord],
    cpus: Mapping[str, CpuArch],
    images: Sequence[ImageRecord],
    packages: Sequence[PackageRecord],
    *,
    in_order: InOrder = as_added,
) -> list[SetRow]:
    """`cpus` by board, `in_order` as `wanted` takes it.

    Rows by class, board and first slot, with what classes would give to boards that no card is of.
    """

    def would_run(card: CardRecord) -> Wanted:
        return said.wanted(card, images, packages, in_order, newest=True)

    cards = list(cards)
    rows: dict[tuple[object, ...], SetRow] = {}
    for card in sorted(cards, key=lambda card: card.slot):
        row = _row(said, card, would_run)
        digest = None if row.software is None else row.software.digest
        key = (row.card_class, row.board, digest, row.origin, row.error)
        known = rows.get(key) or row
        rows[key] = replace(known, slots=(*known.slots, card.slot))
    seen = {(row.card_class, row.board) for row in rows.values()}
    thought = [
        _would_run(said, _thought(name, board, cpus[board]), would_run)
        for name in sorted(said.classes)
        for board in sorted(_boards(said, name, images) & set(cpus))
        if (name, board) not in seen
    ]
    return sorted([*rows.values(), *thought], key=_place)


def _place(row: SetRow) -> tuple[bool, str, str, bool, SlotId]:
    first = row.slots[0] if row.slots else _NOWHERE
    return (row.card_class is None, row.card_class or "", row.board or "", not row.slots, first)


def _boards(said: Said, name: str, images: Sequence[ImageRecord]) -> set[str]:
    """Those that the class names boot images for, else all that there are boot images for."""
    return set(said.classes[name].configuration.images) or {image.board for image in images}


def _thought(name: str, board: str, cpu: CpuArch) -> CardRecord:
    return CardRecord(_NOWHERE, 0.0, board=board, cpu=cpu, card_class=name)


def _row(said: Said, card: CardRecord, would_run: WouldRun) -> SetRow:
    if card.wanted is None and card.board is not None:
        return _would_run(said, card, would_run)
    return SetRow(said.class_name(card), card.board, card.wanted, card.wanted_from)


def _would_run(said: Said, card: CardRecord, would_run: WouldRun) -> SetRow:
    """What a burn-all would make of it."""
    name, board = said.class_name(card), card.board
    try:
        one = would_run(card)
    except UsageError as e:
        return SetRow(
            name, board, None, WantedFrom(), error=f"{e.what}: expected {e.expected}, found {e.found}"
        )
    return SetRow(name, board, one.software, one.origin)
