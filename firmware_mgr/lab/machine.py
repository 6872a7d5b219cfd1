"""The command line of a virtual card's QEMU, as a pure function of board and wiring.

Knows QEMU's options. Refuses to start anything.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from firmware_mgr.imaging.board import Board
from firmware_mgr.lab.plan import mac_of
from firmware_mgr.model.errors import UsageError
from firmware_mgr.model.ids import SlotId

#: QEMU's translated code per machine, in MiB: its default grows with the host's memory, for one machine.
TRANSLATION_CACHE_MIB = 256
#: A card has no clock that runs without power: it starts at the epoch.
CLOCK_AT_POWER_ON = "1970-01-01T00:00:00"
#: The size of each pflash of QEMU's virt machine, which refuses a smaller file.
VIRT_PFLASH_BYTES = 64 << 20


class Lever(Enum):
    """What forces a board to netboot for one power-on."""

    U_BOOT_ENVIRONMENT = "u-boot-env"


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

    @classmethod
    def of(cls, board: Board, *, memory_mib: int | None = None) -> QemuBoard:
        """The QEMU side of a board file. Raises UsageError when the board has no backplane register."""
        if board.slot.fw_cfg is None:
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
        )


@dataclass(frozen=True, slots=True)
class Wiring:
    """What is particular to one power-on of one slot.

    `environment` is the loader's environment when the netboot lever is pulled, `capture` the file that
    takes the card's frames. On `console` and `qmp` somebody listens already.
    """

    slot: SlotId
    tap: str
    flash: Path
    console: Path
    qmp: Path
    environment: Path | None = None
    capture: Path | None = None


def command_line(board: QemuBoard, wiring: Wiring) -> list[str]:
    """QEMU's arguments: a machine that connects to its listeners, and stays stopped until told to go."""
    arguments = [
        board.binary,
        *("-name", f"slot-{wiring.slot.number}"),
        *("-nodefaults", "-no-user-config", "-display", "none", "-S"),
        *("-machine", board.machine, "-accel", f"tcg,tb-size={TRANSLATION_CACHE_MIB}"),
        *("-cpu", board.cpu, "-smp", str(board.smp), "-m", str(board.memory_mib)),
        *("-rtc", f"base={CLOCK_AT_POWER_ON}"),
        *("-bios", str(board.firmware)),
        *("-chardev", f"socket,id=console,path={_value(wiring.console)},server=off"),
        *("-serial", "chardev:console"),
        *("-chardev", f"socket,id=qmp,path={_value(wiring.qmp)},server=off"),
        *("-mon", "chardev=qmp,mode=control"),
        *("-drive", f"if=none,id=flash,format=raw,cache=writeback,file={_value(wiring.flash)}"),
        *("-device", "virtio-blk-pci,drive=flash"),
        *("-netdev", f"tap,id=backplane,ifname={wiring.tap},script=no,downscript=no"),
        *("-device", f"virtio-net-pci,netdev=backplane,mac={mac_of(wiring.slot)},romfile="),
        *("-device", "virtio-rng-pci"),
        *("-fw_cfg", f"name={board.slot_register},string={wiring.slot}"),
    ]
    if wiring.environment is not None:
        # Unit 0 holds the firmware; U-Boot's virt builds look for their environment in unit 1.
        arguments += ["-drive", f"if=pflash,unit=1,format=raw,file={_value(wiring.environment)}"]
    if wiring.capture is not None:
        arguments += ["-object", f"filter-dump,id=capture,netdev=backplane,file={_value(wiring.capture)}"]
    return arguments


def _value(path: Path) -> str:
    """A path as the value of a QEMU option, where a comma is written twice."""
    return str(path).replace(",", ",,")
