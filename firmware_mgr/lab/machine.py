"""The command line of a virtual card's QEMU, as a pure function of board and wiring.

Knows QEMU's options. Refuses to start anything.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from pathlib import Path

from firmware_mgr.imaging.board import Board
from firmware_mgr.lab.plan import label
from firmware_mgr.model.errors import UsageError
from firmware_mgr.model.ids import MacAddress, SlotId

#: QEMU's translated code per machine, in MiB: its default grows with the host's memory, for one machine.
TRANSLATION_CACHE_MIB = 256
#: The size of each pflash of QEMU's virt machine, which refuses a smaller file.
VIRT_PFLASH_BYTES = 64 << 20
#: Recorded writes are in units of the flash's own blocks.
LOGGED_SECTOR = 512
#: U-Boot 2023.01 reads byte 0 of a legacy virtio device's configuration whatever offset it asks for
#: (drivers/virtio/virtio_pci_legacy.c), so that every card would be 52:52:52:52:52:52: no legacy mode then.
MODERN = "disable-legacy=on"


class Lever(Enum):
    """What forces a board to netboot for one power-on."""

    U_BOOT_ENVIRONMENT = "u-boot-env"
    BOOT_INDEX = "boot-index"


@dataclass(frozen=True, slots=True)
class QemuBoard:
    """A board as QEMU needs it: memory in MiB, flash in bytes, the backplane register's fw_cfg name."""

    name: str
    flash_bytes: int
    binary: str = "qemu-system-aarch64"
    machine: str = "virt"
    cpu: str = "cortex-a57"
    memory_mib: int = 512
    smp: int = 1
    firmware: Path = Path("/usr/lib/u-boot/qemu_arm64/u-boot.bin")
    firmware_package: str | None = "u-boot-qemu"
    slot_register: str = "opt/fwmgr/slot"
    lever: Lever = Lever.U_BOOT_ENVIRONMENT
    #: UEFI: what a new card's store of variables holds. Such a board's firmware is its first flash chip.
    new_variables: Path | None = None

    @classmethod
    def of(cls, board: Board, *, memory_mib: int | None = None) -> QemuBoard:
        """The QEMU side of a board file. Raises UsageError when the board has no backplane register."""
        if board.slot is None or board.slot.fw_cfg is None:
            raise UsageError(
                "board cannot stand in a virtual chassis",
                where=board.name,
                expected="slot.fw_cfg in its board file",
            )
        return cls(
            name=board.name,
            flash_bytes=board.flash.size,
            binary=board.qemu.binary,
            machine=board.qemu.machine,
            cpu=board.qemu.cpu,
            memory_mib=memory_mib or board.qemu.memory_mib,
            smp=board.qemu.smp,
            firmware=Path(board.firmware.file),
            firmware_package=board.firmware.debian_package,
            slot_register=board.slot.fw_cfg,
            lever=Lever(board.lever.kind),
            new_variables=None if board.firmware.uefi is None else Path(board.firmware.uefi.variables),
        )


@dataclass(frozen=True, slots=True)
class Wiring:
    """What is particular to one power-on of one slot.

    `second_flash` is the chip beside the firmware: U-Boot's environment, in which the lever is set, or UEFI's
    variables. `network_first` is UEFI's lever. `capture` is the file that takes the card's frames, `writes`
    the empty one that takes a log of what is written to its flash. Without a `backplane` the card
    cannot read its slot. `clock` is what its clock shows, in seconds since 1970; one without a clock of its
    own starts at 0. On `console` and `qmp` somebody listens already.
    """

    slot: SlotId
    mac: MacAddress
    tap: str
    flash: Path
    console: Path
    qmp: Path
    second_flash: Path
    network_first: bool = False
    capture: Path | None = None
    backplane: bool = True
    clock: int = 0
    writes: Path | None = None


def command_line(board: QemuBoard, wiring: Wiring) -> list[str]:
    """QEMU's arguments: a machine that connects to its listeners, and stays stopped until told to go."""
    lever = ",bootindex=0" if wiring.network_first else ""
    arguments = [
        board.binary,
        *("-name", f"slot-{label(wiring.slot)}"),
        *("-nodefaults", "-no-user-config", "-display", "none", "-S"),
        *("-machine", board.machine, "-accel", f"tcg,tb-size={TRANSLATION_CACHE_MIB}"),
        *("-cpu", board.cpu, "-smp", str(board.smp), "-m", str(board.memory_mib)),
        *("-rtc", f"base={datetime.fromtimestamp(wiring.clock, UTC):%Y-%m-%dT%H:%M:%S}"),
        *_firmware(board, wiring),
        *("-chardev", f"socket,id=console,path={_value(wiring.console)},server=off"),
        *("-serial", "chardev:console"),
        *("-chardev", f"socket,id=qmp,path={_value(wiring.qmp)},server=off"),
        *("-mon", "chardev=qmp,mode=control"),
        *("-drive", f"if=none,id=flash,{_flash(wiring)}"),
        *("-device", f"virtio-blk-pci,{MODERN},drive=flash"),
        *("-netdev", _tap(wiring)),
        *("-device", f"virtio-net-pci,{MODERN},netdev=backplane,mac={wiring.mac},romfile={lever}"),
        *("-device", f"virtio-rng-pci,{MODERN}"),
    ]
    if wiring.backplane:
        arguments += ["-fw_cfg", f"name={board.slot_register},string={wiring.slot}"]
    if wiring.capture is not None:
        arguments += ["-object", f"filter-dump,id=capture,netdev=backplane,file={_value(wiring.capture)}"]
    return arguments


def _firmware(board: QemuBoard, wiring: Wiring) -> list[str]:
    """The firmware, and the flash chip beside it."""
    second = f"if=pflash,unit=1,format=raw,file={_value(wiring.second_flash)}"
    if board.new_variables is None:
        # Unit 0 holds the firmware; U-Boot's virt builds look for their environment in unit 1.
        return ["-bios", str(board.firmware), "-drive", f"{second},readonly=on"]
    first = f"if=pflash,unit=0,format=raw,readonly=on,file={_value(board.firmware)}"
    return ["-drive", first, "-drive", second]


def _flash(wiring: Wiring) -> str:
    """The card's flash; recorded, behind the filter that logs each write and flush before it goes on."""
    if wiring.writes is None:
        return f"format=raw,cache=writeback,file={_value(wiring.flash)}"
    # The log need not survive the host: its own flushes would only cost time.
    return (
        f"driver=blklogwrites,cache=writeback,file.driver=file,file.filename={_value(wiring.flash)},"
        f"log.driver=file,log.filename={_value(wiring.writes)},log.cache.no-flush=on,"
        f"log-sector-size={LOGGED_SECTOR}"
    )


def _tap(wiring: Wiring) -> str:
    options = f"tap,id=backplane,ifname={wiring.tap},script=no,downscript=no"
    # A capture would begin each frame with the ten bytes of a virtio header, if the tap had any.
    return options if wiring.capture is None else f"{options},vnet_hdr=off"


def _value(path: Path) -> str:
    """A path as the value of a QEMU option, where a comma is written twice."""
    return str(path).replace(",", ",,")
