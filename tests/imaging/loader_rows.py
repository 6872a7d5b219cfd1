"""The decision table on the loader itself: U-Boot in QEMU, a power-on for each row (docs/adr/0001).

A row is a control record and which of the two images start. The partitions hold the real selector; an image
that starts says so and resets in place of starting a kernel, one that does not has a changed byte, which the
real second stage finds. The model is `flash.control.decide_boot`.
"""

from __future__ import annotations

import itertools
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from firmware_mgr.flash.control import BootDecision, decide_boot, read_control
from firmware_mgr.flash.control_layout import COPY_OFFSETS, ControlRecord, Maker, Target
from firmware_mgr.flash.device import FileDevice
from firmware_mgr.flash.gpt import FlashLayout, find, plan, write_table
from firmware_mgr.flash.letter import Letter
from firmware_mgr.imaging.board import Board
from firmware_mgr.imaging.recipe import SHIPPED_BOOTIMAGES
from firmware_mgr.imaging.uboot import build_uboot_files
from firmware_mgr.lab.machine import MODERN, VIRT_PFLASH_BYTES
from firmware_mgr.lab.qemu import write_sparse
from firmware_mgr.lab.uboot_environment import power_on_environment

MIB = 1 << 20
FLASH_BYTES = 320 * MIB
LAYOUT = FlashLayout(control=MIB, boot=128 * MIB, store=0, state=4 * MIB)
#: From power-on to the loader's last word, in seconds; it takes one or two on an idle host.
DEADLINE = 60.0
STARTED = "FW: STARTED"
#: In place of the second stage of an image that starts.
_STARTS = f'echo "{STARTED} ${{fw_slot}}"\nreset\n'
_BUILT = 1_700_000_000


@dataclass(frozen=True, slots=True)
class Row:
    """`record` None: neither copy is usable."""

    record: ControlRecord | None
    good: frozenset[Letter]

    def __str__(self) -> str:
        images = "".join(sorted(letter.value for letter in self.good)) or "none"
        if self.record is None:
            return f"no record, good {images}"
        trial = "-" if self.record.trial is None else self.record.trial.value
        tries = f"a {self.record.left_a} b {self.record.left_b}"
        return f"boot {self.record.boot.value} trial {trial} {tries}, good {images}"


def every_row() -> list[Row]:
    """3 boot × 4 trial × tries 0 or 1 of each × each image good or not, and no record: 196."""
    goods = [frozenset(chosen) for count in range(3) for chosen in itertools.combinations(Letter, count)]
    records = [
        ControlRecord(boot, trial, a, b, Maker.AGENT, 5)
        for boot in Target
        for trial in (None, *Target)
        for a in (0, 1)
        for b in (0, 1)
    ]
    return [Row(record, good) for record in (*records, None) for good in goods]


@dataclass(frozen=True)
class LoaderBench:
    """Runs rows on a U-Boot board's loader. `folder` is empty at first and holds its files."""

    board: Board
    folder: Path

    @cached_property
    def _environment(self) -> Path:
        path = self.folder / "env.img"
        write_sparse(path, power_on_environment(netboot=False), VIRT_PFLASH_BYTES)
        return path

    @cached_property
    def _partitions(self) -> dict[bool, bytes]:
        """A boot partition that starts, and one that does not."""
        files = build_uboot_files(self.board, SHIPPED_BOOTIMAGES / "u-boot", b"kernel", b"initramfs", _BUILT)
        at = files.partition.index(files.fit) + len(files.fit) // 2
        bad = files.partition[:at] + bytes([files.partition[at] ^ 1]) + files.partition[at + 1 :]
        image, text, script = (self.folder / name for name in ("good.fat", "starts.txt", "start.scr"))
        image.write_bytes(files.partition)
        text.write_text(_STARTS)
        make = ["mkimage", "-A", "arm", "-O", "linux", "-T", "script", "-C", "none", "-d", text, script]
        subprocess.run(make, check=True, capture_output=True)
        with image.open("r+b") as file:
            file.truncate(LAYOUT.boot)
        subprocess.run(["mcopy", "-o", "-i", image, script, "::/start.scr"], check=True, capture_output=True)
        with image.open("rb") as file:
            good = file.read(len(files.partition))
        image.unlink()
        return {True: good, False: bad}

    def differences(self, row: Row) -> list[str]:
        """What the loader did otherwise than the model; empty when they agree."""
        flash = self.folder / "flash.img"
        flash.unlink(missing_ok=True)
        write_sparse(flash, b"", FLASH_BYTES)
        with FileDevice(flash) as device:
            table = plan(LAYOUT, FLASH_BYTES)
            write_table(device, table)
            for letter in Letter:
                find(table, letter.partition).window(device).write(0, self._partitions[letter in row.good])
            control = find(table, "control").window(device)
            if row.record is not None:
                raw = row.record.encode()
                control.write(COPY_OFFSETS[0], raw + bytes(-len(raw) % control.block_size))
            decision = decide_boot(read_control(control), row.good)
        said = self._power_on(flash)
        with FileDevice(flash) as device:
            after = read_control(find(plan(LAYOUT, FLASH_BYTES), "control").window(device)).record
        differences = _differences(decision, said)
        if after != decision.record:
            differences.append(f"expected control {decision.record}, found {after}")
        return differences

    def _power_on(self, flash: Path) -> list[str]:
        """What the loader says, up to where the row ends."""
        qemu = self.board.qemu
        command = [
            *(qemu.binary, "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"),
            *("-machine", qemu.machine, "-cpu", qemu.cpu, "-m", str(qemu.memory_mib), "-accel", "tcg"),
            *("-bios", self.board.firmware.file, "-serial", "stdio"),
            *("-drive", f"if=pflash,unit=1,format=raw,readonly=on,file={self._environment}"),
            *("-drive", f"if=none,id=flash,format=raw,cache=writeback,file={flash}"),
            *("-device", f"virtio-blk-pci,{MODERN},drive=flash"),
        ]
        with subprocess.Popen(
            ["timeout", f"{DEADLINE:g}", *command],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        ) as machine:
            assert machine.stdout is not None
            said = list(_up_to_the_end(machine.stdout))
            machine.terminate()
        return said


def _up_to_the_end(lines: Iterator[str]) -> Iterator[str]:
    for line in lines:
        yield line.strip()
        if line.startswith((STARTED, "FW: netboot")):
            return


def _differences(decision: BootDecision, said: list[str]) -> list[str]:
    failed = "".join(letter.value for letter in decision.failed)
    if decision.target is Target.NETBOOT:
        wanted = [f"FW: netboot why={decision.why.value} fail={failed}"]
    else:
        letter = decision.target.value
        wanted = [f"{STARTED} {letter}"]
        start = f"FW: start {letter} why={decision.why.value} left={decision.left} "
        fits = [line for line in said if line.startswith(start) and line.endswith(f" fail={failed}")]
        if not fits:
            wanted.append(f"{start}… fail={failed}")
    missing = [line for line in wanted if line not in said]
    heard = [line for line in said if line.startswith("FW:")]
    return [f"expected {line!r}, heard {heard or said[-5:]}" for line in missing]
