"""Mounts a software set's root in a mount namespace of its own. Runs in the keeper, which has one thread.

Knows which mount goes where (docs/RUNNING.md, "What a process finds"); refuses to know packages and
processes.
"""

from __future__ import annotations

import os
import stat
import traceback
from collections.abc import Mapping
from pathlib import Path

from firmware_mgr.card import mounts
from firmware_mgr.card.mounts import MS_BIND, MS_NODEV, MS_NOEXEC, MS_NOSUID, MS_RDONLY, MS_REMOUNT

#: Linux, Documentation/admin-guide/devices.txt: character devices that programs expect, with their numbers.
DEVICES = {
    "null": (1, 3),
    "zero": (1, 5),
    "full": (1, 7),
    "random": (1, 8),
    "urandom": (1, 9),
    "tty": (5, 0),
}
DEVICE_LINKS = {
    "fd": "/proc/self/fd",
    "stdin": "/proc/self/fd/0",
    "stdout": "/proc/self/fd/1",
    "stderr": "/proc/self/fd/2",
}
#: Characters that mean something in overlayfs's `lowerdir`.
_SPECIAL = frozenset(":,\\")


def mount_source(image: int, partition: Path, scratch: Path) -> Path:
    """Mount the source in this namespace and return its directory."""
    target = scratch / "source"
    target.mkdir(exist_ok=True)
    mounts.mount_image(image, target, partition)
    return target


def make_world(
    tree: int,
    source: Path,
    shared: Mapping[str, str],
    scratch: Path,
    read_only: frozenset[str] = frozenset(),
) -> int:
    """A namespace with the tree above the source as its root: its descriptor. Raises OSError.

    `tree` is a descriptor of the tree's image, `shared` maps paths in the root to directories here;
    those of `read_only` cannot be written to.
    """
    ready, done = os.pipe()
    go, release = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(ready)
        os.close(release)
        try:
            _build(tree, source, shared, scratch, read_only)
            os.write(done, b"+")
            os.read(go, 1)  # stay until the parent holds the namespace
        except OSError as e:
            os.write(done, str(e.strerror or e).encode())
        except BaseException:
            os.write(done, traceback.format_exc(limit=-2).encode())
        finally:
            os._exit(0)
    os.close(done)
    os.close(go)
    try:
        with os.fdopen(ready, "rb", buffering=0) as answer:
            text = answer.read(4096)
            if text != b"+":
                raise OSError((text or b"the child that mounts has died").decode(errors="replace"))
            return os.open(f"/proc/{pid}/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
    finally:
        os.close(release)
        os.waitpid(pid, 0)


def _build(
    tree: int, source: Path, shared: Mapping[str, str], scratch: Path, read_only: frozenset[str]
) -> None:
    mounts.unshare_mounts()
    layer, root = scratch / "tree", scratch / "root"
    for directory in (layer, root):
        directory.mkdir(exist_ok=True)
    mounts.mount_image(tree, layer)
    if _SPECIAL & set(f"{layer}{source}"):
        raise OSError(f"overlayfs cannot take these paths: {layer}, {source}")
    options = f"lowerdir={layer}:{source},metacopy=on,redirect_dir=on"
    mounts.mount("fwmgr-set", root, "overlay", MS_RDONLY | MS_NODEV | MS_NOSUID, options)
    mounts.mount("proc", root / "proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC)
    _make_devices(root / "dev")
    for inside, outside in shared.items():
        mounts.mount(outside, root / inside, flags=MS_BIND)
        flags = MS_REMOUNT | MS_BIND | MS_NOSUID | MS_NODEV | (MS_RDONLY if inside in read_only else 0)
        mounts.mount("none", root / inside, flags=flags)
    mounts.make_root(root)


def _make_devices(dev: Path) -> None:
    mounts.mount("dev", dev, "tmpfs", MS_NOSUID | MS_NOEXEC, "mode=755,size=64k")
    for name, (major, minor) in DEVICES.items():
        os.mknod(dev / name, stat.S_IFCHR | 0o666, os.makedev(major, minor))
        os.chmod(dev / name, 0o666)  # whatever the mask
    for name, target in DEVICE_LINKS.items():
        os.symlink(target, dev / name)
    (dev / "shm").mkdir()
    mounts.mount("shm", dev / "shm", "tmpfs", MS_NOSUID | MS_NODEV | MS_NOEXEC, "mode=1777")
