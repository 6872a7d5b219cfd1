"""What was said of all cards of a board, and which versions are preferred; their documents and keys.

A card's own configuration and its class go before a board's; a preference only says which version is meant
when nobody names one (docs/COMPOSITES.md).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from firmware_mgr.master.configuration import Configuration
from firmware_mgr.master.schema import Schema
from firmware_mgr.model.ids import check_name, check_version
from firmware_mgr.model.selection import check_class_name

BOARDS: Final = "boards/"
PREFERRED: Final = "preferred"


@dataclass(frozen=True, slots=True)
class BoardRecord:
    """`card_class` is the class of those that are in none, `location` is where those are of which nobody
    said anything else.
    """

    board: str
    configuration: Configuration = field(default_factory=Configuration)
    card_class: str | None = None
    location: str = ""

    def __post_init__(self) -> None:
        check_name(self.board, "board")
        if self.card_class is not None:
            check_class_name(self.card_class)

    @property
    def key(self) -> str:
        return f"{BOARDS}{self.board}"

    @property
    def empty(self) -> bool:
        return self == BoardRecord(self.board)

    def to_document(self) -> dict[str, Any]:
        return BOARD.write(self)

    @classmethod
    def from_document(cls, value: Mapping[str, Any], where: str = "board") -> BoardRecord:
        """Raises PeerError, or UsageError when it is newer than this program."""
        return BOARD.read(value, where)


@dataclass(frozen=True, slots=True)
class Preferred:
    """Versions by board and by package: what is meant by the newest."""

    images: dict[str, str] = field(default_factory=dict)
    packages: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for kind, versions in (("board", self.images), ("package", self.packages)):
            for name, version in versions.items():
                check_name(name, kind)
                check_version(version)

    def to_document(self) -> dict[str, Any]:
        return PREFERENCES.write(self)

    @classmethod
    def from_document(cls, value: Mapping[str, Any], where: str = PREFERRED) -> Preferred:
        """Raises PeerError, or UsageError when it is newer than this program."""
        return PREFERENCES.read(value, where)


BOARD: Final = Schema("board", BoardRecord)
PREFERENCES: Final = Schema("preferred", Preferred)
