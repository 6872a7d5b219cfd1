"""The two boot partitions, by letter. Knows nothing but the names."""

from __future__ import annotations

from enum import Enum


class Letter(Enum):
    """Boot partition a or b. The value stands in the control record and on the kernel's command line."""

    A = "a"
    B = "b"

    @property
    def other(self) -> Letter:
        return Letter.B if self is Letter.A else Letter.A

    @property
    def partition(self) -> str:
        """The partition's name in the table."""
        return f"boot-{self.value}"
