"""Linux's calls for mounts, loop devices and namespaces, which Python 3.11 lacks. Root only.

Knows one call each, and the loop device's structure; refuses to know what is mounted where. Calls that change
namespaces are for processes with one thread. Failures are OSError with the call in their text.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import struct
from pathlib import Path

# include/uapi/linux/mount.h
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_REMOUNT = 0x1, 0x2, 0x4, 0x8, 0x20
MS_BIND, MS_MOVE, MS_REC, MS_PRIVATE = 0x1000, 0x2000, 0x4000, 0x40000
MNT_DETACH = 2
# include/uapi/linux/sched.h, prctl.h
CLONE_NEWNS = 0x0002_0000
PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER, PR_SET_NO_NEW_PRIVS = 1, 36, 38
# include/uapi/linux/loop.h; LOOP_CONFIGURE came with Linux 5.8
LOOP_CTL_GET_FREE, LOOP_CONFIGURE = 0x4C82, 0x4C0A
LO_FLAGS_READ_ONLY, LO_FLAGS_AUTOCLEAR = 1, 4
#: struct loop_config: fd, block_size, loop_info64 (flags is its ninth field), 64 reserved bytes.
LOOP_CONFIG = struct.Struct("=II QQQQQ IIII 64s64s32s QQ 64s")
assert LOOP_CONFIG.size == 304
LOOP_BLOCK = 4096

_OVER = Path("/.over")

_libc = ctypes.CDLL(None, use_errno=True)


def _call(name: str, *arguments: object) -> None:
    if getattr(_libc, name)(*arguments) < 0:
        number = ctypes.get_errno()
        shown = ", ".join(str(argument) for argument in arguments)
        raise OSError(number, f"{name}({shown}): {os.strerror(number)}")


def mount(source: str | Path, target: str | Path, kind: str = "none", flags: int = 0, data: str = "") -> None:
    """mount(2)."""
    _call(
        "mount", os.fsencode(source), os.fsencode(target), kind.encode(), ctypes.c_ulong(flags), data.encode()
    )


def unmount(target: str | Path, flags: int = 0) -> None:
    """umount2(2)."""
    _call("umount2", os.fsencode(target), flags)


def unshare_mounts() -> None:
    """Give this process a mount namespace of its own, from which nothing comes back."""
    _call("unshare", CLONE_NEWNS)
    mount("none", "/", flags=MS_REC | MS_PRIVATE)


def enter_mounts(namespace: int) -> None:
    """setns(2): join a mount namespace by its descriptor; root and current directory become its root."""
    _call("setns", namespace, CLONE_NEWNS)


def make_root(directory: Path) -> None:
    """Make a mounted directory the root of this namespace, and let go of the old one."""
    os.chdir(directory)
    _call("pivot_root", b".", b".")
    unmount(".", MNT_DETACH)
    os.chdir("/")


def set_process(option: int, value: int) -> None:
    """prctl(2) with one number."""
    zero = ctypes.c_ulong(0)
    _call("prctl", option, ctypes.c_ulong(value), zero, zero, zero)


def mount_image(image: int, target: Path, device: Path | None = None) -> None:
    """Mount the EROFS image that lies in a memory file, with an extra device if given.

    Loop device and memory go when the last user of the mount goes.
    """
    path, loop = _attach_loop(image)
    try:
        options = f"device={device}" if device else ""
        mount(path, target, "erofs", MS_RDONLY | MS_NODEV | MS_NOSUID, options)
    finally:
        os.close(loop)


def _attach_loop(backing: int) -> tuple[str, int]:
    """A read-only loop device, which is freed once its descriptor is closed and no mount holds it."""
    flags = LO_FLAGS_READ_ONLY | LO_FLAGS_AUTOCLEAR
    config = LOOP_CONFIG.pack(backing, LOOP_BLOCK, 0, 0, 0, 0, 0, 0, 0, 0, flags, b"", b"", b"", 0, 0, b"")
    control = os.open("/dev/loop-control", os.O_RDWR | os.O_CLOEXEC)
    try:
        while True:
            path = f"/dev/loop{fcntl.ioctl(control, LOOP_CTL_GET_FREE)}"
            loop = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                fcntl.ioctl(loop, LOOP_CONFIGURE, config)
                return path, loop
            except OSError as e:
                os.close(loop)
                if e.errno != errno.EBUSY:  # another took the number between the two calls
                    raise
    finally:
        os.close(control)


def root_can_be_pivoted(mountinfo: str) -> bool:
    """Whether pivot_root(2) works, from /proc/self/mountinfo (proc(5)): the root mount must have a parent.

    The root of an initramfs has none: its line names itself, or is not there.
    """
    for line in mountinfo.splitlines():
        number, parent, _, _, point = line.split(" ")[:5]
        if point == "/" and number != parent:
            return True
    return False


def prepare_root() -> None:
    """Make pivot_root(2) possible in an initramfs, by a bind of the root over itself; else do nothing.

    For the agent, once, before anything else is mounted or started. What is mounted already is taken along.
    Changes the root of the whole process, and nothing that it sees. /proc must be mounted.
    """
    if root_can_be_pivoted(Path("/proc/self/mountinfo").read_text()):
        return
    _OVER.mkdir(exist_ok=True)
    mount("/", _OVER, flags=MS_BIND | MS_REC)
    os.chdir(_OVER)
    mount(".", "/", flags=MS_MOVE)
    os.chroot(".")
    os.chdir("/")
    _OVER.rmdir()
