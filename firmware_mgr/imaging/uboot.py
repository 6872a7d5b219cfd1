"""What U-Boot starts: scripts, the FIT image of kernel and root file system, a boot partition's file system.

Knows mkimage, mkfs.fat and mcopy, and the texts in `bootimages/u-boot/`. Refuses to know what is in kernel
and root file system. Equal inputs give equal bytes: every time stamp is the one given.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from firmware_mgr.imaging.board import Board
from firmware_mgr.model.errors import UsageError
from firmware_mgr.model.ids import CpuArch

#: mkimage's names of the CPUs.
_UBOOT_ARCH = {CpuArch.AARCH64: "arm64", CpuArch.ARMV7: "arm", CpuArch.X86_64: "x86_64"}
#: Programs, and the Debian package each comes with. mkimage calls dtc.
TOOLS = {
    "mkimage": "u-boot-tools",
    "dtc": "device-tree-compiler",
    "mkfs.fat": "dosfstools",
    "mcopy": "mtools",
}
_PLACEHOLDER = re.compile(r"@([A-Z0-9]+)@")

#: FAT16, since its root directory is a fixed area: no chain of clusters that damage could make endless.
_FAT = ("-F", "16", "-s", "4", "-r", "64", "-i", "46574d42", "-n", "FWBOOT", "--invariant")
#: With 2 KiB clusters a file system of 128 MiB has a FAT entry for every 16-bit number. U-Boot's FAT driver
#: does not check cluster numbers, and sticks on one past the end of the FAT (ADR 0001, what the runs taught).
FILE_SYSTEM_BYTES = 128 << 20
_MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class UBootFiles:
    """A boot partition's image, and what netboot serves: the script and the FIT image."""

    partition: bytes
    netboot_script: bytes
    fit: bytes


def build_uboot_files(
    board: Board, texts: Path, kernel_gz: bytes, initramfs: bytes, built: int
) -> UBootFiles:
    """All that a U-Boot board boots from. `texts` is the folder of scripts, `built` seconds since 1970.

    Raises UsageError when a tool is missing or the image does not fit the board's boot partition.
    """
    check_tools()
    console = f"console={board.console.device},{board.console.baud}"
    arguments = " ".join([console, *board.kernel.arguments])
    with tempfile.TemporaryDirectory(prefix="fwmgr-uboot-") as scratch:
        desk = _Desk(Path(scratch), built, _UBOOT_ARCH[board.cpu])
        tree = fill(_read(texts, "image.its"), {"ARCH": desk.arch})
        fit = desk.fit(tree, {"kernel.gz": kernel_gz, "initramfs": initramfs})
        # U-Boot's crc32 stores the high byte first, its itest reads the low byte first.
        checksum = zlib.crc32(fit).to_bytes(4, "big")
        values = {
            "ARGUMENTS": arguments,
            "LENGTH": f"{len(fit):x}",
            "CRC32": f"{int.from_bytes(checksum, 'little'):08x}",
            "TRIES": str(board.control.tries),
        }
        selector = desk.script(fill(_read(texts, "boot.scr.txt"), values), "fwmgr selector 1")
        start = desk.script(fill(_read(texts, "start.scr.txt"), values), "fwmgr start")
        netboot = desk.script(fill(_read(texts, "netboot.scr.txt"), values), "fwmgr netboot")
        partition = desk.fat({"boot.scr": selector, "start.scr": start, "boot.itb": fit})
    if board.flash.boot < FILE_SYSTEM_BYTES:
        raise UsageError(
            "boot partition is too small for U-Boot",
            where=f"board {board.name}: flash.boot",
            expected=f"at least {FILE_SYSTEM_BYTES // _MIB} MiB",
            found=f"{board.flash.boot // _MIB} MiB",
        )
    return UBootFiles(partition, netboot, fit)


def _used_bytes(image: bytes, lengths: Sequence[int]) -> int:
    """Where the last file's last cluster ends. Zeros at a file's end are content like any other.

    mcopy fills an empty file system from the first cluster on. Fields: Microsoft's FAT specification, §3.1.
    """
    sector, cluster_sectors, reserved, copies, root_entries, fat_sectors = (
        int.from_bytes(image[offset : offset + size], "little")
        for offset, size in ((11, 2), (13, 1), (14, 2), (16, 1), (17, 2), (22, 2))
    )
    cluster = sector * cluster_sectors
    data_start = (reserved + copies * fat_sectors) * sector + root_entries * 32
    return data_start + sum(-(-length // cluster) for length in lengths) * cluster


def check_tools() -> None:
    """Raises UsageError that lists what is missing, with the command that installs it."""
    path = os.environ.get("PATH", os.defpath) + ":/usr/sbin:/sbin"
    missing = {name: package for name, package in TOOLS.items() if shutil.which(name, path=path) is None}
    if missing:
        packages = " ".join(sorted(set(missing.values())))
        raise UsageError(
            "tools are missing", expected=", ".join(sorted(missing)), hint=f"apt-get install {packages}"
        )


def fill(text: str, values: Mapping[str, str]) -> str:
    """`text` with each @NAME@ replaced. Raises UsageError when a value is missing."""

    def value(match: re.Match[str]) -> str:
        try:
            return values[match[1]]
        except KeyError:
            raise UsageError(
                "text has an unknown placeholder", expected=", ".join(values), found=match[0]
            ) from None

    return _PLACEHOLDER.sub(value, text)


def _read(texts: Path, name: str) -> str:
    try:
        return (texts / name).read_text(encoding="utf-8")
    except OSError as e:
        raise UsageError("cannot be read", where=str(texts / name), found=e.strerror) from e


@dataclass(frozen=True, slots=True)
class _Desk:
    """A scratch folder in which U-Boot's tools work."""

    folder: Path
    built: int
    arch: str

    def script(self, text: str, title: str) -> bytes:
        (self.folder / "script").write_text(text)
        command = ["mkimage", "-A", self.arch, "-O", "linux", "-T", "script", "-C", "none", "-n", title]
        self._run([*command, "-d", "script", "script.uimg"])
        return (self.folder / "script.uimg").read_bytes()

    def fit(self, tree: str, parts: Mapping[str, bytes]) -> bytes:
        for name, data in parts.items():
            (self.folder / name).write_bytes(data)
        (self.folder / "image.its").write_text(tree)
        self._run(["mkimage", "-f", "image.its", "boot.itb"])
        return (self.folder / "boot.itb").read_bytes()

    def fat(self, files: Mapping[str, bytes]) -> bytes:
        """The used part of a FAT file system with the files in this order, in whole MiB.

        What follows it in the partition belongs to no file, so it need not be burned.
        """
        image = self.folder / "partition"
        with image.open("wb") as stream:
            stream.truncate(FILE_SYSTEM_BYTES)
        self._run(["mkfs.fat", *_FAT, image.name])
        for name, data in files.items():
            path = self.folder / name
            path.write_bytes(data)
            os.utime(path, (self.built, self.built))
            self._run(["mcopy", "-m", "-i", image.name, name, f"::/{name}"])
        whole = image.read_bytes()
        return whole[: -(-_used_bytes(whole, [len(data) for data in files.values()]) // _MIB) * _MIB]

    def _run(self, command: Sequence[str]) -> None:
        environment = {
            "PATH": os.environ.get("PATH", os.defpath) + ":/usr/sbin:/sbin",
            "SOURCE_DATE_EPOCH": str(self.built),
            "TZ": "UTC",
            "LC_ALL": "C.UTF-8",
            "MTOOLS_SKIP_CHECK": "1",
            "MTOOLSRC": "/dev/null",
        }
        done = subprocess.run(
            command, cwd=self.folder, env=environment, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise UsageError(
                f"{command[0]} failed", expected="exit 0", found=(done.stderr or done.stdout).strip()
            )
