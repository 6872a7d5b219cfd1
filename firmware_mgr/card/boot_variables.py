"""The boot variables that go with a control record, and bringing UEFI's in line with it (SPEC-uefi-boot).

Knows which option is next and in which order the others come, as a pure function of the record; writes only
what differs. Refuses to know who is started in the end: the selector of whatever starts decides that.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from uuid import UUID

from firmware_mgr.card.efi_layout import (
    LOADER,
    LOADER_NAMES,
    LoadOption,
    decode_numbers,
    encode_numbers,
    option_name,
    partition_path,
)
from firmware_mgr.card.efi_variables import EfiVariables
from firmware_mgr.flash.control import CANDIDATES, Why
from firmware_mgr.flash.control_layout import ControlRecord
from firmware_mgr.flash.gpt import Partition, find
from firmware_mgr.flash.letter import Letter
from firmware_mgr.model.errors import DeviceError
from firmware_mgr.model.ids import CpuArch

log = logging.getLogger("agent")

STUB_PARTITION = "LoaderDevicePartUUID"
BOOT_ORDER, BOOT_NEXT, BOOT_CURRENT = "BootOrder", "BootNext", "BootCurrent"


class Option(Enum):
    """What firmware may be told to start. The values of partitions' options are their numbers.

    A *counted* option starts the same file; whoever is started by it knows that its start was counted before.
    """

    A = 0x0FA0
    A_COUNTED = 0x0FA1
    B = 0x0FB0
    B_COUNTED = 0x0FB1
    NETWORK = -1

    @property
    def letter(self) -> Letter | None:
        return _LETTERS.get(self)

    @property
    def counted(self) -> bool:
        return self in (Option.A_COUNTED, Option.B_COUNTED)

    @classmethod
    def of(cls, letter: Letter, *, counted: bool = False) -> Option:
        return next(option for option in cls if option.letter is letter and option.counted is counted)


_LETTERS = {
    Option.A: Letter.A,
    Option.A_COUNTED: Letter.A,
    Option.B: Letter.B,
    Option.B_COUNTED: Letter.B,
}
#: The numbers of load options that are ours.
OUR_NUMBERS = {option.value: option for option in Option if option.letter is not None}


@dataclass(frozen=True, slots=True)
class Shadow:
    """What the firmware goes by: `next`, once, and then `order`."""

    next: Option | None
    order: tuple[Option, ...]


def shadow(record: ControlRecord) -> Shadow:
    """The variables for this record.

    What shall start is `next`, which firmware deletes before it starts it: who comes up far enough sets it
    again. What dies before that finds the others in its way: first the other partition, whose selector counts
    what it sends back, then the network, and the dead one itself last.
    """
    chain = [
        (why, target)
        for why, target in CANDIDATES[record.trial, record.boot]
        if target.letter is None or record.left(target.letter) > 0
    ]
    why, head = chain[0]
    if head.letter is None:
        return Shadow(Option.NETWORK if why is Why.TRIAL else None, (Option.NETWORK,))
    first = Option.of(head.letter)
    others = [Option.of(letter) for _, target in chain[1:] if (letter := target.letter) is not None]
    return Shadow(first, (*others, Option.NETWORK, first))


class BootVariables:
    """Firmware whose variables follow control."""

    def __init__(self, variables: EfiVariables, cpu: CpuArch) -> None:
        self._variables = variables
        self._file = f"\\EFI\\BOOT\\{LOADER_NAMES[cpu]}"

    def follow(self, record: ControlRecord, partitions: Sequence[Partition], block_size: int) -> None:
        """Options first, then their order, then which is next: a cut in between leaves what can start."""
        wanted = shadow(record)
        self._set_order(wanted, partitions, block_size)
        if wanted.next is not None:
            self._set_next(wanted.next)
        elif self._variables.read(BOOT_NEXT) is not None:
            self._variables.delete(BOOT_NEXT)

    def start_once(self, option: Option, partitions: Sequence[Partition], block_size: int) -> None:
        """Start this next, and only once. Raises DeviceError when there is nothing to netboot by."""
        self._set_options(partitions, block_size)
        self._set_next(option)

    def _set_order(self, wanted: Shadow, partitions: Sequence[Partition], block_size: int) -> None:
        self._set_options(partitions, block_size)
        network = self._network()
        numbers: list[int] = []
        for option in wanted.order:
            numbers += network if option is Option.NETWORK else [option.value]
        numbers += [number for number in self._order() if number not in {*numbers, *OUR_NUMBERS}]
        self._set(BOOT_ORDER, encode_numbers(numbers))

    def _set_options(self, partitions: Sequence[Partition], block_size: int) -> None:
        for number, option in OUR_NUMBERS.items():
            self._set(option_name(number), self._load_option(option, partitions, block_size).encode())

    def _set_next(self, option: Option) -> None:
        if option is Option.NETWORK:
            network = self._network()
            if not network:
                raise DeviceError("firmware has no way to netboot", where="UEFI boot options")
            self._set(BOOT_NEXT, encode_numbers(network[:1]))
            return
        self._set(BOOT_NEXT, encode_numbers([option.value]))

    def current(self) -> Option | None:
        """Which of our options this start came by; None for any other."""
        raw = self._variables.read(BOOT_CURRENT)
        numbers = () if raw is None else decode_numbers(raw)
        return OUR_NUMBERS.get(numbers[0]) if numbers else None

    def started_from(self, partitions: Sequence[Partition]) -> Letter | None:
        """The boot partition that this start came from; None: netbooted. Raises DeviceError.

        The option that firmware says it started decides. What systemd's stub left tells only where an option
        led that is not ours: it leaves the first partition that it was loaded from since the reset, also when
        that did not start and firmware has gone on to something else.
        """
        raw = self._variables.read(BOOT_CURRENT)
        for number in decode_numbers(raw or b"")[:1]:
            if number in OUR_NUMBERS:
                return OUR_NUMBERS[number].letter
            option = _decoded(self._variables.read(option_name(number)), option_name(number))
            if option is not None and option.is_by_network_card:
                return None
        left = self._variables.read(STUB_PARTITION, LOADER)
        try:
            guid = None if left is None else UUID(left.decode("utf-16-le").rstrip("\0"))
        except ValueError:
            guid = None
        return next((letter for letter in Letter if find(partitions, letter.partition).guid == guid), None)

    def _load_option(self, option: Option, partitions: Sequence[Partition], block_size: int) -> LoadOption:
        letter = option.letter
        assert letter is not None
        partition = find(partitions, letter.partition)
        path = partition_path(
            partitions.index(partition) + 1,
            partition.offset // block_size,
            partition.size // block_size,
            partition.guid,
            self._file,
        )
        return LoadOption(f"fwmgr {letter.partition}" + (", counted" if option.counted else ""), path)

    def _order(self) -> tuple[int, ...]:
        return decode_numbers(self._variables.read(BOOT_ORDER) or b"")

    def _network(self) -> tuple[int, ...]:
        """The firmware's own options that netboot, in its own order."""
        found = []
        for number in self._order():
            option = _decoded(self._variables.read(option_name(number)), option_name(number))
            if option is not None and option.is_network:
                found.append(number)
        return tuple(found)

    def _set(self, name: str, value: bytes) -> None:
        if self._variables.read(name) != value:
            self._variables.write(name, value)


def _decoded(raw: bytes | None, where: str) -> LoadOption | None:
    """A load option, if it is one. What others wrote may be anything; it is left as it is."""
    try:
        return None if raw is None else LoadOption.decode(raw, where)
    except DeviceError as e:
        log.warning("passed over: %s", e)
        return None
