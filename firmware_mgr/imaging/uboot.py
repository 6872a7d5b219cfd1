"""What U-Boot starts: scripts, the FIT image of kernel and root file system, a boot partition's file system.

Knows mkimage, and the texts in `bootimages/u-boot/`. Refuses to know what is in kernel and root file system.
Equal inputs give equal bytes: every time stamp is the one given.
"""

from __future__ import annotations

import re
import tempfile
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from firmware_mgr.imaging import fat
from firmware_mgr.imaging.board import Board
from firmware_mgr.model.errors import UsageError
from firmware_mgr.model.ids import CpuArch

#: mkimage's names of the CPUs.
_UBOOT_ARCH = {CpuArch.AARCH64: "arm64", CpuArch.ARMV7: "arm", CpuArch.X86_64: "x86_64"}
#: Programs, and the Debian package each comes with. mkimage calls dtc.
TOOLS = {
    "mkimage": "u-boot-tools",
    "dtc": "device-tree-compiler",
    **fat.TOOLS,
}
#: What netboot serves: the script that is asked for first, and the FIT image.
NETBOOT_SCRIPT = "boot.scr.uimg"
NETBOOT_FIT = "boot.itb"
_PLACEHOLDER = re.compile(r"@([A-Z0-9]+)@")


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
    fat.check_tools(TOOLS)
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
    partition = fat.fat_image(board, {"boot.scr": selector, "start.scr": start, "boot.itb": fit}, built)
    return UBootFiles(partition, netboot, fit)


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

    def _run(self, command: Sequence[str]) -> None:
        fat.run(command, self.folder, self.built)
