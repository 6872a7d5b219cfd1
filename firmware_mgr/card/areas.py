"""A card's flash, opened: table, control, boot partitions, store and state. Opening writes nothing.

Knows which areas there are and whether each can be read; what is in them is for `inspection` and `burn`.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from firmware_mgr.card.firmware import Firmware, ReadsControl
from firmware_mgr.card.loader import LoaderWords
from firmware_mgr.flash.boot_partition import BootPartitions
from firmware_mgr.flash.control import write_control
from firmware_mgr.flash.control_layout import ControlRecord
from firmware_mgr.flash.device import FlashDevice, Window
from firmware_mgr.flash.errors import FlashFormatError, StoreMissing
from firmware_mgr.flash.gpt import (
    BOOT_A,
    BOOT_B,
    CONTROL,
    DATA,
    STATE,
    STORE,
    FlashLayout,
    Partition,
    find,
    plan,
    read_table,
)
from firmware_mgr.flash.letter import Letter
from firmware_mgr.flash.store import Store
from firmware_mgr.link.messages import AreaState, BootSource
from firmware_mgr.model.errors import DeviceError, UsageError

#: What lies before the first partition: nothing but zeros means that nobody ever wrote a table.
_HEAD_BYTES = 64 * 1024
#: With and without room for what processes keep, which flash of earlier versions does not have.
OUR_PARTITIONS = frozenset({CONTROL, BOOT_A, BOOT_B, STORE, STATE})
OUR_TABLES = (OUR_PARTITIONS, OUR_PARTITIONS | {DATA})


@dataclass
class Areas:
    """What cannot be read or opened is None: `partitions` (the table), `store`, `state`."""

    device: FlashDevice
    layout: FlashLayout
    words: LoaderWords
    table: AreaState
    partitions: tuple[Partition, ...] | None = None
    store: Store | None = None
    store_state: AreaState = AreaState.EMPTY
    state: Store | None = None
    firmware: Firmware = field(default_factory=ReadsControl)
    foreign: bool = False  # a readable table that is not ours: another system's flash

    @property
    def in_use(self) -> Letter | None:
        """The boot partition that we run from; None when we were netbooted."""
        return {BootSource.A: Letter.A, BootSource.B: Letter.B}.get(self.words.source)

    def window(self, name: str) -> Window:
        """Raises FlashFormatError when the table has no such partition."""
        if self.partitions is None:
            raise FlashFormatError("there is no partition table", where="flash", expected=name)
        return find(self.partitions, name).window(self.device)

    def set_control(self, record: ControlRecord) -> None:
        """Make this the current record, and have the firmware follow it. Raises DeviceError.

        In this order: whatever the firmware starts by old variables goes by control.
        """
        written = write_control(self.window("control"), record)
        assert self.partitions is not None, "there is a window"
        self.firmware.follow(written, self.partitions, self.device.block_size)

    def has(self, name: str) -> bool:
        """Whether the table has a partition of that name."""
        return any(partition.name == name for partition in self.partitions or ())

    @property
    def boot(self) -> BootPartitions:
        return BootPartitions({letter: self.window(letter.partition) for letter in Letter}, self.in_use)

    def open_stores(self) -> None:
        """Open store and state, as far as they can be. Both stay None on flash without a table."""
        if self.partitions is None:
            return
        try:
            self.store, self.store_state = Store.open(self.window("store")), AreaState.GOOD
        except StoreMissing:
            self.store, self.store_state = None, AreaState.EMPTY
        except DeviceError:
            self.store, self.store_state = None, AreaState.BAD
        try:
            self.state = Store.open(self.window("state"))
        except DeviceError:
            self.state = None


def open_areas(
    device: FlashDevice, layout: FlashLayout, words: LoaderWords, firmware: Firmware | None = None
) -> Areas:
    """Open what can be opened. Raises DeviceError only when the flash itself cannot be read at all.

    Without `firmware` the loader reads control itself.
    """
    areas = _open(device, layout, words)
    if firmware is not None:
        areas.firmware = firmware
    return areas


def _open(device: FlashDevice, layout: FlashLayout, words: LoaderWords) -> Areas:
    try:
        areas = Areas(device, layout, words, AreaState.GOOD, read_table(device))
    except FlashFormatError:
        return Areas(device, layout, words, AreaState.EMPTY if _never_written(device) else AreaState.BAD)
    if {partition.name for partition in areas.partitions or ()} not in OUR_TABLES:
        return Areas(device, layout, words, AreaState.BAD, foreign=True)
    areas.open_stores()
    return areas


def _never_written(device: FlashDevice) -> bool:
    """Raises DeviceError when nothing can be read. One bad place is what a cut may leave of a table."""
    blocks: list[bytes] = []
    problem: DeviceError | None = None
    for offset in range(0, min(_HEAD_BYTES, device.size), device.block_size):
        try:
            blocks.append(device.read(offset, device.block_size))
        except DeviceError as e:
            problem = e
    if problem is not None and not blocks:
        raise problem
    return problem is None and not any(map(any, blocks))


def earlier_table(device: FlashDevice, layout: FlashLayout) -> tuple[Partition, ...]:
    """The table that an earlier version made for the board. Raises DeviceError as `expected_table`."""
    return expected_table(device, replace(layout, data=0))


def expected_table(device: FlashDevice, layout: FlashLayout) -> tuple[Partition, ...]:
    """The table that the board file asks for. Raises DeviceError when the flash is too small for it."""
    try:
        return plan(layout, device.size)
    except UsageError as e:
        raise DeviceError(e.what, where="flash", expected=e.expected, found=e.found, hint=e.hint) from e
