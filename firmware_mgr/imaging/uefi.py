"""What UEFI firmware starts: a unified kernel image, netbooted as it is and burned as the partition's loader.

Knows the sections that systemd's stub reads (systemd-stub(7)) and where firmware looks in a partition that no
variable names. Refuses to know what is in kernel and root file system, and how boots are counted.
"""

from __future__ import annotations

import gzip
from dataclasses import dataclass

from firmware_mgr.card.efi_layout import LOADER_NAMES
from firmware_mgr.imaging.board import Board
from firmware_mgr.imaging.fat import fat_image
from firmware_mgr.imaging.pe import with_sections
from firmware_mgr.model.errors import UsageError


@dataclass(frozen=True, slots=True)
class UefiFiles:
    """A boot partition's image, and the unified kernel image that netboot serves and the partition holds."""

    partition: bytes
    unified: bytes


def build_uefi_files(board: Board, stub: bytes, kernel_gz: bytes, initramfs: bytes, built: int) -> UefiFiles:
    """All that a UEFI board boots from; `built` is seconds since 1970. Equal inputs give equal bytes.

    Raises UsageError when the stub is no UEFI program or the image does not fit the board's boot partition.
    """
    console = f"console={board.console.device},{board.console.baud}"
    sections = {
        ".cmdline": " ".join([console, *board.kernel.arguments]).encode() + b"\0",
        ".linux": gzip.decompress(kernel_gz),
        ".initrd": initramfs,
    }
    unified = with_sections(stub, sections, f"stub of board {board.name}")
    name = LOADER_NAMES.get(board.cpu)
    if name is None:
        raise UsageError("UEFI knows no such CPU", where=f"board {board.name}", found=board.cpu.value)
    return UefiFiles(fat_image(board, {f"EFI/BOOT/{name}": unified}, built), unified)
