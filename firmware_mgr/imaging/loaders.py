"""Which files a board's loader boots from: one row for each kind of loader.

Knows what each kind needs besides kernel and root file system. Refuses to know how its files are made.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from firmware_mgr.imaging import fat, uboot
from firmware_mgr.imaging.board import Board
from firmware_mgr.imaging.debs import DebFile, read_deb
from firmware_mgr.imaging.tree import File
from firmware_mgr.imaging.uboot import build_uboot_files
from firmware_mgr.imaging.uefi import build_uefi_files
from firmware_mgr.model.errors import UsageError

_UBOOT_TEXTS = "u-boot"


@dataclass(frozen=True, slots=True)
class LoaderInputs:
    """`bootimages` is the folder of scripts, `debs` the loader's own packages, `built` Unix seconds."""

    board: Board
    bootimages: Path
    debs: tuple[DebFile, ...]
    kernel_gz: bytes
    initramfs: bytes
    built: int


@dataclass(frozen=True, slots=True)
class LoaderFiles:
    """A boot partition's image, and what netboot serves by the name in a request."""

    partition: bytes
    netboot: Mapping[str, bytes]


@dataclass(frozen=True, slots=True)
class LoaderKind:
    """`tools` maps programs to Debian packages; `texts` is a folder of `bootimages/`, if it needs one."""

    make: Callable[[LoaderInputs], LoaderFiles]
    tools: Mapping[str, str]
    texts: str | None = None


def _uboot(inputs: LoaderInputs) -> LoaderFiles:
    texts = inputs.bootimages / _UBOOT_TEXTS
    made = build_uboot_files(inputs.board, texts, inputs.kernel_gz, inputs.initramfs, inputs.built)
    return LoaderFiles(
        made.partition, {uboot.NETBOOT_SCRIPT: made.netboot_script, uboot.NETBOOT_FIT: made.fit}
    )


def _uefi(inputs: LoaderInputs) -> LoaderFiles:
    stub = _stub(inputs)
    made = build_uefi_files(inputs.board, stub, inputs.kernel_gz, inputs.initramfs, inputs.built)
    return LoaderFiles(made.partition, {inputs.board.netboot.boot_file: made.unified})


def _stub(inputs: LoaderInputs) -> bytes:
    uefi = inputs.board.firmware.uefi
    assert uefi is not None, "checked when the board file was read"
    for deb in inputs.debs:
        node = read_deb(deb.path, lambda path: path == uefi.stub).get(uefi.stub)
        if isinstance(node, File):
            return node.data
    raise UsageError(
        "the stub is not in its package", where=f"board {inputs.board.name}: firmware.uefi", found=uefi.stub
    )


#: By a board file's `firmware.loader`.
LOADERS: Mapping[str, LoaderKind] = {
    "u-boot": LoaderKind(_uboot, uboot.TOOLS, _UBOOT_TEXTS),
    "uefi": LoaderKind(_uefi, fat.TOOLS),
}


def loader_packages(board: Board) -> tuple[str, ...]:
    """Debian packages of the card's CPU that the loader's files are made from."""
    return () if board.firmware.uefi is None else (board.firmware.uefi.stub_package,)
