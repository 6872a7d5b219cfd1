"""A boot partition's FAT file system, made without mounting anything: the same files give the same bytes.

Knows mkfs.fat and mcopy. Refuses to know what the files are.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

from firmware_mgr.imaging.board import Board
from firmware_mgr.model.errors import UsageError

#: Programs, and the Debian package each comes with.
TOOLS = {"mkfs.fat": "dosfstools", "mcopy": "mtools"}
#: FAT16, since its root directory is a fixed area: no chain of clusters that damage could make endless.
_FAT = ("-F", "16", "-s", "4", "-r", "64", "-i", "46574d42", "-n", "FWBOOT", "--invariant")
#: With 2 KiB clusters a file system of 128 MiB has a FAT entry for every 16-bit number. U-Boot's FAT driver
#: does not check cluster numbers, and sticks on one past the end of the FAT (ADR 0001, what the runs taught).
FILE_SYSTEM_BYTES = 128 << 20
_MIB = 1 << 20


def fat_image(board: Board, files: Mapping[str, bytes], built: int) -> bytes:
    """The used part of a FAT file system with the files in this order, in whole MiB.

    `built` is seconds since 1970. What follows the used part belongs to no file, so it need not be burned.
    Raises UsageError when the board's boot partition is smaller than the file system.
    """
    if board.flash.boot < FILE_SYSTEM_BYTES:
        raise UsageError(
            "boot partition is too small for its file system",
            where=f"board {board.name}: flash.boot",
            expected=f"at least {FILE_SYSTEM_BYTES // _MIB} MiB",
            found=f"{board.flash.boot // _MIB} MiB",
        )
    with tempfile.TemporaryDirectory(prefix="fwmgr-fat-") as scratch:
        folder = Path(scratch)
        image = folder / "partition"
        with image.open("wb") as stream:
            stream.truncate(FILE_SYSTEM_BYTES)
        run(["mkfs.fat", *_FAT, image.name], folder, built)
        folders = _folders(files)
        for name in folders:
            (folder / "tree" / name).mkdir(parents=True)
        for name, data in files.items():
            path = folder / "tree" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
            os.utime(path, (built, built))
        for name in reversed(folders):
            os.utime(folder / "tree" / name, (built, built))
        for name in dict.fromkeys(name.split("/")[0] for name in files):
            run(["mcopy", "-s", "-m", "-i", image.name, f"tree/{name}", "::/"], folder, built)
        whole = image.read_bytes()
    lengths = [len(data) for data in files.values()] + [1] * len(folders)
    return whole[: -(-_used_bytes(whole, lengths) // _MIB) * _MIB]


def _folders(files: Mapping[str, bytes]) -> list[str]:
    """Every folder of the files, parents first."""
    found = {str(parent) for name in files for parent in PurePosixPath(name).parents if str(parent) != "."}
    return sorted(found)


def _used_bytes(image: bytes, lengths: Sequence[int]) -> int:
    """Where the last file's last cluster ends. Zeros at a file's end are content like any other.

    mcopy fills an empty file system from the first cluster on; a folder takes one. Fields: Microsoft's FAT
    specification, §3.1.
    """
    sector, cluster_sectors, reserved, copies, root_entries, fat_sectors = (
        int.from_bytes(image[offset : offset + size], "little")
        for offset, size in ((11, 2), (13, 1), (14, 2), (16, 1), (17, 2), (22, 2))
    )
    cluster = sector * cluster_sectors
    data_start = (reserved + copies * fat_sectors) * sector + root_entries * 32
    return data_start + sum(-(-length // cluster) for length in lengths) * cluster


def check_tools(tools: Mapping[str, str]) -> None:
    """`tools` maps programs to Debian packages.

    Raises UsageError that lists what is missing, with the command that installs it.
    """
    missing = {name: package for name, package in tools.items() if shutil.which(name, path=_path()) is None}
    if missing:
        packages = " ".join(sorted(set(missing.values())))
        raise UsageError(
            "tools are missing", expected=", ".join(sorted(missing)), hint=f"apt-get install {packages}"
        )


def run(command: Sequence[str], folder: Path, built: int) -> None:
    """Run a tool in `folder`, with `built` as today. Raises UsageError when it fails."""
    environment = {
        "PATH": _path(),
        "SOURCE_DATE_EPOCH": str(built),
        "TZ": "UTC",
        "LC_ALL": "C.UTF-8",
        "MTOOLS_SKIP_CHECK": "1",
        "MTOOLSRC": "/dev/null",
    }
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise UsageError(
            f"{command[0]} failed", expected="exit 0", found=(done.stderr or done.stdout).strip()
        )


def _path() -> str:
    return os.environ.get("PATH", os.defpath) + ":/usr/sbin:/sbin"
