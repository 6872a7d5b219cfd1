"""What a user says that a class, or one card, should run: a wish, which `wanted` makes a software set.

Packages are named in order, the first wins a file (R-2.6): `NAME` is the newest version, `NAME=VERSION` that
one. They hold for cards of any CPU (R-1.5); boot images are named by board.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from firmware_mgr.model.errors import UsageError
from firmware_mgr.model.ids import check_name, check_version
from firmware_mgr.model.pristine import PristineOrder
from firmware_mgr.model.software import check_features


class Origin(Enum):
    """Where a part of a card's wanted set comes from; the first that says something decides."""

    CARD = "card"  # the card's own configuration
    CLASS = "class"
    BOARD = "board"  # what was said of all cards of the board; of the pristine order, the board file
    DEFAULT = "default"  # the preferred or newest that fits


@dataclass(frozen=True, slots=True)
class Configuration:
    """None, and a board that is not in `images`, leave the question to the next in line.

    `features` are groups of modules, sorted (`model.software`).
    """

    packages: tuple[str, ...] | None = None
    images: dict[str, str] = field(default_factory=dict)  # board to version
    order: PristineOrder | None = None
    save_image: bool | None = None
    features: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        names = []
        for wish in self.packages or ():
            name, equals, version = wish.partition("=")
            names.append(check_name(name, "package"))
            if equals:
                check_version(version)
        if len(names) != len(set(names)):
            raise UsageError("a package is named twice", found=", ".join(names))
        for board, version in self.images.items():
            check_name(board, "board")
            check_version(version)
        check_features(self.features or ())

    @property
    def empty(self) -> bool:
        return self == Configuration()


@dataclass(frozen=True, slots=True)
class WantedFrom:
    """Where the parts of a wanted set came from when it was worked out."""

    boot_image: Origin = Origin.DEFAULT
    packages: Origin = Origin.DEFAULT
    features: Origin = Origin.DEFAULT


def read_images(texts: list[str]) -> dict[str, str]:
    """`BOARD=VERSION` each. Raises UsageError."""
    images = {}
    for text in texts:
        board, equals, version = text.partition("=")
        if not equals:
            raise UsageError("no board is named", expected="BOARD=VERSION", found=text)
        images[check_name(board, "board")] = check_version(version)
    return images


def with_features(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a document whose configuration did not know features yet."""
    return {**fields, "configuration": {**fields["configuration"], "features": None}}
