"""The errors of flash: what was found on it, or what it refused. All are faults of the device."""

from __future__ import annotations

from firmware_mgr.model.errors import DeviceError


class FlashFormatError(DeviceError):
    """What is on flash is not what belongs there: no table, a broken record, an unknown version."""


class StoreMissing(FlashFormatError):
    """The partition holds no store: no root slot carries its magic."""


class StoreDamaged(FlashFormatError):
    """The partition held a store, but no root leads to a readable snapshot."""


class BadBlock(DeviceError):
    """An erase block that is bad, or has just turned out to be: nothing is read from it, or written to it."""


class BlobDamaged(DeviceError):
    """The bytes read from flash do not have the digest under which they are stored."""


class NoSpace(DeviceError):
    """There is no free extent that is long enough. `needed`, `free` and `largest` are bytes."""

    def __init__(self, what: str, *, where: str, needed: int, free: int, largest: int) -> None:
        self.needed = needed
        self.free = free
        self.largest = largest
        super().__init__(
            what,
            where=where,
            expected=f"{needed} bytes in one piece",
            found=f"{free} bytes free, {largest} in one piece",
            hint="collect packages that no set needs, or use a smaller set",
        )
