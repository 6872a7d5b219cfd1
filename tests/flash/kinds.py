"""The kinds of flash that a store must do with, each as a device that tests can look behind.

Sizes leave every kind about the same room for blobs, 3.4 to 3.8 MiB.
"""

from __future__ import annotations

from collections.abc import Callable

from firmware_mgr.flash.chip_twins import NandTwin, NorTwin
from firmware_mgr.flash.device import MemoryDevice
from firmware_mgr.flash.erase_block_device import ChipGeometry, EraseBlockDevice

KIB, MIB = 1 << 10, 1 << 20
NOR = ChipGeometry(88 * 64 * KIB, 64 * KIB, 512)
NAND = ChipGeometry(64 * 128 * KIB, 128 * KIB, 2 * KIB)
#: Marked in the factory: a root slot, another one's twin, one in each zone, two among the blobs.
FACTORY_BAD = (1, 10, 18, 27, 45, 59)


class ErasedFlash(EraseBlockDevice):
    """A twin as a device, with what tests ask of a MemoryDevice."""

    def __init__(self, chip: NorTwin | NandTwin) -> None:
        super().__init__(chip)
        self.chip = chip

    @property
    def operations(self) -> int:
        return self.chip.operations

    def flip_bit(self, offset: int, bit: int) -> None:
        self.chip.flip_bit(offset, bit)


Device = MemoryDevice | ErasedFlash


def nor() -> NorTwin:
    return NorTwin(NOR)


def nand() -> NandTwin:
    return NandTwin(NAND, factory_bad=FACTORY_BAD)


KINDS: dict[str, Callable[[], Device]] = {
    "512": lambda: MemoryDevice(4 * MIB),
    "4096": lambda: MemoryDevice(4 * MIB, block_size=4096),
    "NOR": lambda: ErasedFlash(nor()),
    "NAND": lambda: ErasedFlash(nand()),
}
