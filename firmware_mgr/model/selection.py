"""Which cards a command is for: `3`, `2/3`, `1-4`, `2/1-8`, `2/*`, `all`, `board:NAME`, `composite:NAME`, a
class's name. Pure.

The one place where such words are read. A selector is a list of terms with commas; a card that several terms
name is meant once. Knows slots, boards and names of classes; not what is done to the cards.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from firmware_mgr.model.errors import UsageError
from firmware_mgr.model.ids import SlotId, check_name

ALL = "all"
_BOARD = "board:"
_RANGE = re.compile(r"(?:(?P<shelf>[1-9][0-9]{0,3})/)?(?P<first>[1-9][0-9]{0,3})-(?P<last>[1-9][0-9]{0,3})")
_SHELF = re.compile(r"(?P<shelf>[1-9][0-9]{0,3})/\*")
_FORMS = "slots (3, 2/3), ranges (1-4, 2/1-8), shelves (2/*), all, board:NAME, composite:NAME, or a class"


@dataclass(frozen=True, slots=True)
class Candidate:
    """A slot that may be meant."""

    slot: SlotId
    board: str | None = None
    card_class: str | None = None


def check_class_name(text: str) -> str:
    """A class's name stands beside slots in selectors, so it begins with a letter. Raises UsageError."""
    check_name(text, "class")
    if not text[0].isalpha() or text == ALL:
        raise UsageError("not a class name", expected=f"a letter first, and not {ALL}", found=text)
    return text


def select(
    terms: Sequence[str],
    candidates: Iterable[Candidate],
    classes: Iterable[str],
    sets: Mapping[str, Collection[SlotId]] | None = None,
) -> list[SlotId]:
    """The slots that the terms name, in order of slots. `sets` are slots that a term with a colon names.

    Raises UsageError for a term that cannot be read, and for one that names nobody.
    """
    known, named = list(candidates), set(classes)
    found: set[SlotId] = set()
    for term in [part.strip() for text in terms for part in text.split(",")]:
        listed = (sets or {}).get(term)
        meant = _meant(term, known, named) if listed is None else {one.slot for one in known} & set(listed)
        if not meant:
            slots = ", ".join(str(slot) for slot in sorted(one.slot for one in known)[:20]) or "none"
            raise UsageError("selects no card", where=term, expected=f"some of the slots {slots}")
        found |= meant
    if not found:
        raise UsageError("no cards are named", expected=_FORMS)
    return sorted(found)


def _meant(term: str, known: Sequence[Candidate], classes: set[str]) -> set[SlotId]:
    if term == ALL:
        return {one.slot for one in known}
    if match := _SHELF.fullmatch(term):
        return {one.slot for one in known if one.slot.shelf == int(match["shelf"])}
    if match := _RANGE.fullmatch(term):
        first, last = int(match["first"]), int(match["last"])
        if first > last:
            raise UsageError("range runs backwards", expected=f"{last}-{first}", found=term)
        shelf = int(match["shelf"] or 1)
        return {one.slot for one in known if one.slot.shelf == shelf and first <= one.slot.number <= last}
    if term.startswith(_BOARD):
        return {one.slot for one in known if one.board == term.removeprefix(_BOARD)}
    if term in classes:
        return {one.slot for one in known if one.card_class == term}
    if term[:1].isdigit():
        slot = SlotId.parse(term)
        return {one.slot for one in known if one.slot == slot}
    listed = ", ".join(sorted(classes)) or "none"
    raise UsageError("selects no card", expected=_FORMS, found=repr(term), hint=f"classes: {listed}")
