"""Finds the block device nodes of our partitions by name, whatever the disk's kind calls them.

Knows sysfs (`vda4`, `mmcblk0p4`, `nvme0n1p4`). Refuses to know what is in a partition.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable
from pathlib import Path

from firmware_mgr.model.errors import DeviceError

#: include/uapi/linux/fs.h
BLKRRPART = 0x125F


def reread_table(disk: Path) -> None:
    """Have the kernel look at the disk's partition table anew; it does not while one of them is in use."""
    try:
        descriptor = os.open(disk, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return
    try:
        fcntl.ioctl(descriptor, BLKRRPART)
    except OSError:
        pass  # in use: what the kernel knows stays, and the caller finds what it wants there or not
    finally:
        os.close(descriptor)


def partition_node(
    disk: Path,
    name: str,
    *,
    sysfs: Path = Path("/sys/class/block"),
    reread: Callable[[Path], None] = reread_table,
) -> Path:
    """The node of the disk's partition of that name. Raises DeviceError that lists those there are."""
    found = _names(disk, sysfs)
    if name not in found:
        reread(disk)
        found = _names(disk, sysfs)
    if name not in found:
        known = ", ".join(sorted(found)) or "none"
        raise DeviceError("no such partition on the disk", where=str(disk), expected=name, found=known)
    return disk.parent / found[name]


def _names(disk: Path, sysfs: Path) -> dict[str, str]:
    """Partition name to node name. Of two with one name, the first by number."""
    found: dict[int, tuple[str, str]] = {}
    for entry in (sysfs / disk.resolve().name).glob("*/partition"):
        try:
            words = dict(
                line.split("=", 1)
                for line in (entry.parent / "uevent").read_text().splitlines()
                if "=" in line
            )
            found[int(entry.read_text())] = words["PARTNAME"], words["DEVNAME"]
        except (OSError, ValueError, KeyError):
            continue
    return {label: node for _, (label, node) in sorted(found.items(), reverse=True)}
