"""What the card's firmware has to be told when control was written: a seam between loaders.

A loader that reads control itself (U-Boot's selector) is told nothing. UEFI firmware goes by variables of its
own: `boot_variables` keeps these in line.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from firmware_mgr.flash.control_layout import ControlRecord
from firmware_mgr.flash.gpt import Partition


class Firmware(Protocol):
    """Called after control was written, never before: control is what counts."""

    def follow(self, record: ControlRecord, partitions: Sequence[Partition], block_size: int) -> None:
        """Do the next start by this record. Doing it again changes nothing. Raises DeviceError."""


class ReadsControl:
    """The loader looks into control itself."""

    def follow(self, record: ControlRecord, partitions: Sequence[Partition], block_size: int) -> None:
        pass
