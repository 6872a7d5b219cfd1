"""A class: a group of cards that a user names, with what its cards should run (R-1.5). Its document and key.

A card tells its class in its own record, so that a card is in one class at most.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from firmware_mgr.master.configuration import Configuration, with_features
from firmware_mgr.master.schema import Schema
from firmware_mgr.model.selection import check_class_name

CLASSES: Final = "classes/"


@dataclass(frozen=True, slots=True)
class ClassRecord:
    name: str
    created_at: float
    configuration: Configuration = field(default_factory=Configuration)

    def __post_init__(self) -> None:
        check_class_name(self.name)

    @property
    def key(self) -> str:
        return f"{CLASSES}{self.name}"

    def to_document(self) -> dict[str, Any]:
        return CLASS.write(self)

    @classmethod
    def from_document(cls, value: Mapping[str, Any], where: str = "class") -> ClassRecord:
        """Raises PeerError, or UsageError when it is newer than this program."""
        return CLASS.read(value, where)


#: Schema 1 knew no features.
CLASS: Final = Schema("class", ClassRecord, 2, {1: with_features})
