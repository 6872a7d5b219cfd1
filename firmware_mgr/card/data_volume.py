"""The file system that processes keep their own in: ext4 on a partition, made, checked, mounted.

Runs e2fsprogs and mount(2). Refuses to decide when: `data_keeper` does.
"""

from __future__ import annotations

import asyncio
import errno
import os
from dataclasses import dataclass
from pathlib import Path

from firmware_mgr.card.mounts import MS_NODEV, MS_NOSUID, mount, unmount
from firmware_mgr.card.partitions import partition_node
from firmware_mgr.model.errors import DeviceError

KIND = "ext4"
OPTIONS = "errors=remount-ro,commit=5"
#: include/uapi/linux/fs.h
MS_NOATIME = 0x400
#: ext4's superblock lies at 1024, its magic 56 bytes on (Documentation/filesystems/ext4/super.rst).
_MAGIC_OFFSET, _MAGIC = 1024 + 56, b"\x53\xef"
#: e2fsck(8): 0 nothing to do, 1 and 2 errors corrected; everything else is not usable as it is.
_CLEAN, _CORRECTED = 0, 2
#: A check or a new file system may take so long; a boot does not wait longer.
TOOL_SECONDS = 60.0

#: What mount(2) says of a file system that is none or not whole; anything else is no reason to make it anew.
_DAMAGED = frozenset({errno.EINVAL, errno.EUCLEAN, errno.EBADMSG})

REPAIRED = "was damaged and is repaired; files that lost their names are in lost+found"
MADE_ANEW = "was damaged beyond repair and is made anew: what processes kept there is lost"


@dataclass(frozen=True, slots=True)
class Opened:
    """`detail` says what had to be done, for people; empty when nothing was lost."""

    detail: str


class Ext4Volume:
    """See DataVolume: the partition `name` of `disk`, mounted at `place`."""

    def __init__(self, disk: Path, name: str, place: Path) -> None:
        self._disk = disk
        self._name = name
        self._place = place

    async def open(self, made: bool) -> Opened:
        node = await asyncio.to_thread(self._node)
        detail = ""
        if made or _has_magic(node):
            detail = await self._check(node)
        else:
            await self._make(node)
        self._place.mkdir(parents=True, exist_ok=True)
        try:
            self._mount(node)
        except OSError as e:
            if e.errno == errno.ENODEV:
                raise DeviceError(
                    "kernel has no ext4", where=str(node), hint="name it in the board file's modules"
                ) from e
            if e.errno not in _DAMAGED:
                raise DeviceError("cannot be mounted", where=str(node), found=e.strerror) from e
            await self._make(node)
            detail = MADE_ANEW
            try:
                self._mount(node)
            except OSError as again:
                raise DeviceError("cannot be mounted", where=str(node), found=again.strerror) from again
        return Opened(detail)

    async def close(self) -> None:
        try:
            unmount(self._place)
        except OSError as e:
            raise DeviceError(
                "file system of the processes is in use",
                where=str(self._place),
                found=e.strerror,
                hint="reset the card first",
            ) from e

    def space(self) -> tuple[int, int]:
        """Bytes in all, and free."""
        found = os.statvfs(self._place)
        return found.f_blocks * found.f_frsize, found.f_bavail * found.f_frsize

    def _node(self) -> Path:
        return partition_node(self._disk, self._name)

    def _mount(self, node: Path) -> None:
        mount(node, self._place, KIND, MS_NOSUID | MS_NODEV | MS_NOATIME, OPTIONS)

    async def _check(self, node: Path) -> str:
        if await _run("e2fsck", "-p", str(node)) <= _CLEAN:
            return ""
        if await _run("e2fsck", "-f", "-y", str(node)) <= _CORRECTED:
            return REPAIRED
        await self._make(node)
        return MADE_ANEW

    async def _make(self, node: Path) -> None:
        code = await _run("mke2fs", "-q", "-F", "-t", KIND, "-m", "1", "-L", "fwmgr-data", str(node))
        if code:
            raise DeviceError("file system cannot be made", where=str(node), expected="exit 0", found=code)


def _has_magic(node: Path) -> bool:
    with node.open("rb") as file:
        file.seek(_MAGIC_OFFSET)
        return file.read(len(_MAGIC)) == _MAGIC


async def _run(*command: str) -> int:
    """The exit code. Raises DeviceError when the tool is missing, does not end, or is killed: one that was
    killed, for want of memory perhaps, has not said that anything is right or wrong.
    """
    try:
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
        )
    except OSError as e:
        raise DeviceError("tool does not start", where=command[0], found=e.strerror) from e
    try:
        code = await asyncio.wait_for(process.wait(), TOOL_SECONDS)
    except TimeoutError as e:
        process.kill()
        await process.wait()
        raise DeviceError(
            "tool does not end", where=" ".join(command), expected=f"within {TOOL_SECONDS:g} s"
        ) from e
    if code < 0:
        raise DeviceError("tool was killed", where=" ".join(command), found=f"signal {-code}")
    return code
