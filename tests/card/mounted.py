"""A program: mounts an EROFS image in a namespace of its own and prints what is there, as JSON.

Arguments: image, file with the extra device's bytes. Needs root and a kernel with EROFS.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

from firmware_mgr.card import mounts


def listing(root: Path) -> dict[str, list[object]]:
    """By path: type, permission bits, time, size or target, and hash of each entry."""
    found: dict[str, list[object]] = {}
    for folder, folders, files in os.walk(os.fsencode(root)):
        for name in [*folders, *files, b"."]:
            path = os.path.join(folder, name)
            status = os.lstat(path)
            kind = stat.S_IFMT(status.st_mode)
            key = os.path.relpath(path, os.fsencode(root)).decode("utf-8", "backslashreplace")
            entry: list[object] = [kind, stat.S_IMODE(status.st_mode), int(status.st_mtime)]
            if kind == stat.S_IFLNK:
                entry.append(os.readlink(path).decode("utf-8", "backslashreplace"))
            elif kind == stat.S_IFREG:
                entry += [status.st_size, hashlib.sha256(Path(os.fsdecode(path)).read_bytes()).hexdigest()]
            elif kind == stat.S_IFDIR:
                entry.append(sum(each.is_dir(follow_symlinks=False) for each in os.scandir(path)))
            found[key] = entry
    return found


def main() -> None:
    image, device = map(Path, sys.argv[1:])
    mounts.unshare_mounts()
    attach = ["losetup", "--find", "--show", "--read-only", str(device)]
    loop = subprocess.run(attach, check=True, capture_output=True, text=True).stdout.strip()
    try:
        with tempfile.TemporaryDirectory() as name:
            target = Path(name)
            with image.open("rb") as file:
                mounts.mount_image(file.fileno(), target, Path(loop))
            try:
                json.dump(listing(target), sys.stdout)
                assert target.stat().st_nlink == 2 + sum(
                    each.is_dir(follow_symlinks=False) for each in os.scandir(target)
                )
            finally:
                mounts.unmount(target)
    finally:
        subprocess.run(["losetup", "--detach", loop], check=True)


if __name__ == "__main__":
    main()
