"""Which part of a burn each write of a record belongs to, by where it goes and what it says.

Knows the flash layout, the store's areas and the control record. A sync belongs to what
was written before it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from enum import Enum

from firmware_mgr.flash.control import TRIES
from firmware_mgr.flash.control_layout import COPY_OFFSETS, COPY_SIZE, ControlRecord, Target
from firmware_mgr.flash.errors import FlashFormatError
from firmware_mgr.flash.gpt import BOOT_A, BOOT_B, CONTROL, DATA, STATE, STORE, Partition
from firmware_mgr.flash.store_geometry import Geometry
from tests.flash.powercut.medium import Ask, Event
from tests.flash.recorded.recording import POWER_ON, Recording


class Phase(Enum):
    """In the order in which a pristine card passes through them, about."""

    TABLE = "partition table"
    STATE = "state"
    CONTROL = "control, by the agent"
    BOOT = "boot partition"
    CONTENT = "store, content"
    INDEX = "store, index"
    LOADER = "control, by the loader"
    COMMIT = "control, commit"
    DATA = "data"
    POWER = POWER_ON


_BY_PARTITION = {BOOT_A: Phase.BOOT, BOOT_B: Phase.BOOT, STATE: Phase.STATE, DATA: Phase.DATA}


def with_phases(recording: Recording, table: Sequence[Partition]) -> Recording:
    """The same with the phase as each event's site. `table` is the one that the flash ends with."""
    namer = _Namer(table)
    return replace(recording, events=tuple(namer.named(event) for event in recording.events))


class _Namer:
    def __init__(self, table: Sequence[Partition]) -> None:
        self._table = table
        store = next(partition for partition in table if partition.name == STORE)
        self._zones = [store.offset + zone for zone in Geometry.of(store.size).zones]
        self._zone_size = Geometry.of(store.size).zone_size
        self._blobs = store.offset + Geometry.of(store.size).blobs_start
        self._record: ControlRecord | None = None
        self._latest = Phase.TABLE

    def named(self, event: Event) -> Event:
        if event.site == POWER_ON:
            self._latest = Phase.POWER
        elif event.ask is Ask.WRITE:
            self._latest = self._phase(event)
        return replace(event, site=self._latest.value)

    def _phase(self, event: Event) -> Phase:
        for partition in self._table:
            if partition.offset <= event.offset < partition.offset + partition.size:
                if partition.name == CONTROL:
                    return self._control(event, event.offset - partition.offset)
                if partition.name == STORE:
                    return self._store(event.offset)
                return _BY_PARTITION.get(partition.name, Phase.TABLE)
        return Phase.TABLE

    def _store(self, offset: int) -> Phase:
        in_zone = any(zone <= offset < zone + self._zone_size for zone in self._zones)
        return Phase.INDEX if offset < self._blobs or in_zone else Phase.CONTENT

    def _control(self, event: Event, offset: int) -> Phase:
        """The kernel may write a whole page where the agent wrote a sector: the record is in it somewhere."""
        for place in COPY_OFFSETS:
            if offset <= place < offset + len(event.data):
                raw = event.data[place - offset : place - offset + COPY_SIZE]
                try:
                    record = ControlRecord.decode(raw, "control")
                except FlashFormatError:
                    continue
                before, self._record = self._record, record
                if before is not None and _counted(before, record):
                    return Phase.LOADER
                committed = record.boot.letter is not None and record.trial is None
                if committed and record.left(record.boot.letter) == TRIES:
                    return Phase.COMMIT
        return Phase.CONTROL


def _counted(before: ControlRecord, after: ControlRecord) -> bool:
    """Whether nothing happened but one start, as a loader notes it."""
    a, b = replace(before, seq=after.seq), after
    return b in (
        replace(a, left_a=max(0, a.left_a - 1)),
        replace(a, left_b=max(0, a.left_b - 1)),
        replace(a, trial=None) if a.trial is Target.NETBOOT else None,
    ) and (a != b)
