"""All that users have said of software beside single cards: classes, boards, preferences. Pure, immutable.

A change is another value of it: what would follow can be worked out before anything is written.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from firmware_mgr.master.board_wish import BoardRecord, Preferred
from firmware_mgr.master.card_class import ClassRecord
from firmware_mgr.master.configuration import Configuration
from firmware_mgr.master.documents import CardRecord, ImageRecord, PackageRecord
from firmware_mgr.master.wanted import InOrder, Place, Wanted, as_added, wanted, wanted_image
from firmware_mgr.model.errors import UsageError
from firmware_mgr.model.software import SoftwareSet
from firmware_mgr.package.root_chain import RootChain


@dataclass(frozen=True, slots=True)
class Said:
    """`classes` by name, `boards` by board."""

    classes: Mapping[str, ClassRecord] = field(default_factory=dict)
    boards: Mapping[str, BoardRecord] = field(default_factory=dict)
    preferred: Preferred = field(default_factory=Preferred)

    def of_board(self, board: str | None) -> BoardRecord | None:
        return None if board is None else self.boards.get(board)

    def class_name(self, card: CardRecord) -> str | None:
        """The class that the card is in: its own, else that of its board."""
        board = self.of_board(card.board)
        return card.card_class or (None if board is None else board.card_class)

    def class_of(self, card: CardRecord) -> ClassRecord | None:
        name = self.class_name(card)
        return None if name is None else self.classes.get(name)

    def location(self, card: CardRecord) -> str:
        board = self.of_board(card.board)
        return card.location or ("" if board is None else board.location)

    def by_board(self, card: CardRecord) -> Configuration:
        board = self.of_board(card.board)
        return Configuration() if board is None else board.configuration

    def is_about(self, card: CardRecord) -> bool:
        """Whether anybody said anything about the card's software."""
        said = (card.own, self.by_board(card))
        return any(not one.empty for one in said) or self.class_of(card) is not None

    def wanted(
        self,
        card: CardRecord,
        images: Sequence[ImageRecord],
        packages: Sequence[PackageRecord],
        in_order: InOrder = as_added,
        followed: RootChain | None = None,
        *,
        newest: bool,
    ) -> Wanted:
        """What the card should run; with `newest`, what nobody decided is looked up again. Raises
        UsageError.
        """
        place = replace(self._place(card, None if newest else card.wanted), followed=followed)
        return wanted(place, images, packages, in_order)

    def image_for(self, card: CardRecord, images: Sequence[ImageRecord]) -> ImageRecord | None:
        """The boot image that it should run; None when what is said of it does not fit."""
        try:
            ref = wanted_image(self._place(card, None), images)
        except UsageError:
            return None
        return next((image for image in images if image.ref == ref), None)

    def _place(self, card: CardRecord, kept: SoftwareSet | None) -> Place:
        return Place(
            card.slot,
            card.board or "",
            card.cpu,
            card.own,
            self.class_of(card),
            kept,
            card.wanted_from,
            card.held_packages,
            self.by_board(card),
            self.preferred,
        )
