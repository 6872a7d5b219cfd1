"""From a requested name to a card's blob: a look-up in the card's mapping, after tricks have been refused.

Knows no file system: a name is text that is in the mapping or is not. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from firmware_mgr.netboot.served import Blob, ServedCard

MAX_NAME = 255


class NameFault(Enum):
    """Why a name is not served: a trick, or just absent (boot loaders probe for many files)."""

    TRICK = "trick"
    ABSENT = "absent"


@dataclass(frozen=True, slots=True)
class NameRefused:
    fault: NameFault
    reason: str


def name_trick(name: str) -> str | None:
    """What makes `name` illegal, or None when it is a plain relative name."""
    if not name:
        return "name is empty"
    if len(name) > MAX_NAME:
        return f"name has {len(name)} characters, {MAX_NAME} at most"
    if not name.isprintable():
        return "name holds control characters"
    if "\\" in name:
        return "name holds a backslash"
    if name.startswith("/"):
        return "name is absolute"
    if any(part in (".", "..") for part in name.split("/")):
        return "name holds a '.' or '..' part"
    return None


def find_file(card: ServedCard, name: str) -> Blob | NameRefused:
    """The card's blob called `name`, or the reason why there is none."""
    trick = name_trick(name)
    if trick is not None:
        return NameRefused(NameFault.TRICK, trick)
    blob = card.files.get(name)
    if blob is None:
        return NameRefused(NameFault.ABSENT, f"slot {card.slot} ({card.board}) is served no {name!r}")
    return blob


def printable(name: str) -> str:
    """A client's text made safe and short for events and logs."""
    text = name if name.isprintable() else ascii(name)[1:-1]
    return text if len(text) <= MAX_NAME else text[: MAX_NAME - 1] + "…"
