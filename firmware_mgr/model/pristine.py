"""The three ways in which a card with empty flash comes into service (R-3.1). Names only.

What each order means for verdicts is `master/verdict.py`; docs/CLASSES.md describes them.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from firmware_mgr.model.errors import UsageError


class PristineOrder(Enum):
    STORE_FIRST = "store-first"  # image and packages are stored together, then the card restarts from flash
    IMAGE_FIRST = (
        "image-first"  # the image is stored and started from flash, then packages are stored and run
    )
    FROM_RAM = "from-ram"  # the image stays in RAM, packages are stored and run at once

    @classmethod
    def parse(cls, text: str) -> PristineOrder:
        """Raises UsageError that lists the orders."""
        try:
            return cls(text)
        except ValueError:
            expected = ", ".join(order.value for order in cls)
            raise UsageError("no such pristine order", expected=f"one of {expected}", found=text) from None


@dataclass(frozen=True, slots=True)
class Provisioning:
    """How a card is provisioned. `save_image` matters for FROM_RAM alone: without it the card netboots each
    time, and its boot partitions are left alone.
    """

    order: PristineOrder = PristineOrder.STORE_FIRST
    save_image: bool = True

    @property
    def netboots_always(self) -> bool:
        return self.order is PristineOrder.FROM_RAM and not self.save_image


#: What an agent of protocol 1 is given, whatever is configured.
STORE_FIRST = Provisioning()
