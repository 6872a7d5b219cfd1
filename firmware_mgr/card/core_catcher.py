"""Takes a core dump from the kernel (core(5), "Piping core dumps to a program") and keeps it, compressed.

    core_catcher.py PID SIGNAL TIME PLACE COMM        the dump comes on standard input

A program of its own that the kernel starts; it imports nothing but the standard library, for a fast start.
PLACE is the agent's run directory as seen from the first process: `/proc/AGENT/root/run/fwmgr`. Dumps lie in
its `data/cores`: ID.core.gz and ID.json beside it, which comes first and counts only together with the dump.
"""

from __future__ import annotations

import fcntl
import json
import os
import sys
import zlib
from pathlib import Path
from typing import BinaryIO

#: Dumps kept; the oldest goes first.
MAX_CORES = 8
#: Of the file system they lie in, dumps may take this part, and all of them at most so many bytes.
SHARE = 8
MAX_TOTAL = 64 << 20
_CHUNK = 256 * 1024
#: RFC 1952; level 1 of zlib: a process waits to be gone until this has ended.
_GZIP, _LEVEL = 31, 1


def room(folder: Path) -> int:
    """Bytes that all dumps together may take here."""
    space = os.statvfs(folder)
    return min(MAX_TOTAL, space.f_blocks * space.f_frsize // SHARE)


def make_room(folder: Path) -> int:
    """Drop the oldest dumps and what was never finished; bytes that the next one may take."""
    for stray in folder.iterdir():
        whole = stray.with_name(stray.name.split(".")[0] + ".core.gz")
        if stray.suffix == ".part" or not whole.exists():
            stray.unlink(missing_ok=True)
    limit = room(folder)
    cores = sorted(folder.glob("*.core.gz"))
    while cores and (len(cores) >= MAX_CORES or sum(core.stat().st_size for core in cores) > limit // 2):
        oldest = cores.pop(0)
        oldest.unlink()
        oldest.with_name(oldest.name.split(".")[0] + ".json").unlink(missing_ok=True)
    return limit - sum(core.stat().st_size for core in cores)


def keep(source: BinaryIO, folder: Path, document: dict[str, object], identifier: str) -> None:
    """Compress what comes to `identifier`, as far as there is room; the rest is cut off. Raises OSError."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    turn = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        # One after the other: what another is writing now looks like what was never finished.
        fcntl.flock(turn, fcntl.LOCK_EX)
        _keep(source, folder, document, identifier)
    finally:
        os.close(turn)


def _keep(source: BinaryIO, folder: Path, document: dict[str, object], identifier: str) -> None:
    limit = make_room(folder)
    packer = zlib.compressobj(_LEVEL, zlib.DEFLATED, _GZIP)
    part = folder / f"{identifier}.part"
    written, cut = 0, False
    with part.open("xb") as target:
        while chunk := source.read(_CHUNK):
            data = packer.compress(chunk)
            if written + len(data) + _CHUNK > limit:
                cut = True
                break
            written += target.write(data)
        target.write(packer.flush())
        target.flush()
        os.fsync(target.fileno())
    (folder / f"{identifier}.json").write_text(json.dumps({**document, "cut": cut}))
    part.replace(folder / f"{identifier}.core.gz")


def session_of(pid: str) -> str:
    """The process whose session it is (proc(5), stat, the sixth field): the one that the agent started."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()[3]
    except (OSError, IndexError):
        return pid


def main() -> None:
    pid, signal, moment, place, comm = sys.argv[1:6]
    root = Path(place)
    try:
        name = (root / "names" / session_of(pid)).read_text()
    except OSError:
        name = comm
    document = {"process": name, "pid": int(pid), "signal": int(signal), "time": float(moment)}
    keep(sys.stdin.buffer, root / "data" / "cores", document, f"{int(moment):010d}-{pid}")


if __name__ == "__main__":
    main()
