"""Burned rigs that an earlier run left: a run on the same code begins from them instead of burning one.

Everything that a burned card, its master's directory and the record of the burn-all come from goes into the
key. What could only change how they are looked at does not: documents, tests, the twin, the demo.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from firmware_mgr.imaging.cache import CACHE_VARIABLE, DEFAULT_CACHE
from tests.scenarios.software import TOP

#: Files and folders of the source tree that decide what is burned and how.
_SOURCES = ("firmware_mgr", "bootimages", "board-configs", "packages", "requirements.lock")
_SCENARIO_SOURCES = (
    "burned_cache",
    "key_desk",
    "provisioned",
    "rig",
    "snapshots",
    "software",
    "variables",
)
_LEFT_OUT = ("firmware_mgr/lab/sim/", "firmware_mgr/app/sim_", "firmware_mgr/app/demo")
#: Debian packages that cards run on, and those that make their images.
_MACHINES = ("qemu-system-arm", "qemu-system-x86", "u-boot-qemu", "ovmf", "ipxe-qemu", "seabios")
_MAKERS = (
    "u-boot-tools",
    "device-tree-compiler",
    "mtools",
    "dosfstools",
    "kmod",
    "busybox-static",
    "python3.11",
)
#: So many rigs are kept, the latest; each takes half a GiB.
KEPT = 2


def burned_key(boards: Sequence[str], cards: int, *, record_writes: bool = False) -> str:
    """The digest of all that makes a burned rig of these boards what it is."""
    digest = hashlib.sha256(f"{','.join(boards)} {cards} {record_writes}\n".encode())
    paths = [TOP / "tests" / "scenarios" / f"{name}.py" for name in _SCENARIO_SOURCES]
    for name in _SOURCES:
        paths += [TOP / name] if (TOP / name).is_file() else (TOP / name).rglob("*")
    for path in sorted(paths):
        where = path.relative_to(TOP).as_posix()
        if path.is_file() and "__pycache__" not in where and not where.startswith(_LEFT_OUT):
            digest.update(f"{where} {hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    command = ["dpkg-query", "--show", "--showformat", "${Package} ${Version}\n", *_MACHINES, *_MAKERS]
    digest.update(subprocess.run(command, check=True, capture_output=True).stdout)
    return digest.hexdigest()[:32]


class BurnedCache:
    """Folders by key, below the builds' cache. Several runs may use it at once."""

    def __init__(self, directory: Path | None = None) -> None:
        cache = Path(os.environ.get(CACHE_VARIABLE, TOP / DEFAULT_CACHE))
        self._directory = directory or cache / "burned"

    def take(self, key: str, folder: Path) -> bool:
        """Copy what is kept under `key` into `folder`; False when there is nothing."""
        with self._locked():
            kept = self._directory / key
            if not kept.is_dir():
                return False
            _copy(kept, folder)
            os.utime(kept)
            return True

    def put(self, key: str, folder: Path) -> None:
        """Keep a copy of `folder`, and of the others the latest ones."""
        with self._locked():
            draft = self._directory / f"{key}.draft"
            shutil.rmtree(draft, ignore_errors=True)
            draft.mkdir()
            _copy(folder, draft)
            shutil.rmtree(self._directory / key, ignore_errors=True)
            draft.replace(self._directory / key)
            os.utime(self._directory / key)
            kept = [path for path in self._directory.iterdir() if path.is_dir()]
            for old in sorted(kept, key=lambda path: path.stat().st_mtime)[:-KEPT]:
                shutil.rmtree(old)

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Nobody else burns meanwhile: who needs the same rig waits here, and finds it then."""
        with self._locked("burning"):
            yield

    @contextmanager
    def _locked(self, name: str = "lock") -> Iterator[None]:
        self._directory.mkdir(parents=True, exist_ok=True)
        with (self._directory / name).open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def _copy(source: Path, target: Path) -> None:
    command = ["cp", "--archive", "--sparse=always", "--reflink=auto", f"{source}/.", str(target)]
    subprocess.run(command, check=True)
