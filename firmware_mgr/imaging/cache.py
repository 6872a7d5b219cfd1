"""Built things in folders by the digest of what they were made from; safe when builders meet or are cut off.

Knows a folder's life: made aside, then renamed into place, so that a name always means a finished thing.
Refuses to know what is in it. One builder makes an entry; others that want the same wait for it.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from firmware_mgr.model.errors import UsageError
from firmware_mgr.model.ids import Digest

#: How many entries of a kind are kept; the ones not used for longest go first.
KEPT = 8
CACHE_VARIABLE = "FWMGR_CACHE"
DEFAULT_CACHE = Path(".cache/fwmgr")


def default_cache() -> Path:
    """$FWMGR_CACHE, or .cache/fwmgr below the current folder."""
    return Path(os.environ.get(CACHE_VARIABLE) or DEFAULT_CACHE)


@dataclass(frozen=True, slots=True)
class BuildCache:
    """Folders below `root`, one kind of thing each: `root/<kind>/<digest>/`."""

    root: Path

    def entry(self, kind: str, digest: Digest, build: Callable[[Path], None]) -> Path:
        """The folder for `digest`; when there is none, `build` fills an empty one, which then becomes it."""
        folder = self.root / kind
        folder.mkdir(parents=True, exist_ok=True)
        place = folder / digest.hex
        with _exclusive(folder / f".{digest.hex}.lock"):
            if not place.is_dir():
                draft = folder / f".{digest.hex}.draft"
                _remove(draft)  # a builder that was cut off left it
                draft.mkdir()
                build(draft)
                _sync(draft)
                draft.rename(place)
            os.utime(place)
        self._prune(folder, place)
        return place

    def _prune(self, folder: Path, current: Path) -> None:
        """Drop the entries that have not been used for longest."""
        with _exclusive(folder / ".prune.lock"):
            entries = [path for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")]
            entries.sort(key=lambda path: path.stat().st_mtime, reverse=True)
            for path in entries[KEPT:]:
                if path != current:
                    # Renamed first: a name means all of an entry or nothing.
                    rubbish = folder / f".{path.name}.old"
                    _remove(rubbish)
                    path.rename(rubbish)
                    _remove(rubbish)


def place_copy(source: Path, out: Path, is_ours: Callable[[Path], bool]) -> None:
    """Copy the folder `source` to `out`, whole or not at all. An `out` that is empty or ours is replaced.

    Raises UsageError when something else is there.
    """
    if out.exists() and not (out.is_dir() and (not any(out.iterdir()) or is_ours(out))):
        raise UsageError(
            "something else is there", where=str(out), expected="no folder, an empty one, or an image"
        )
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{out.name}.", dir=out.parent) as aside:
        copy = Path(aside) / "new"
        shutil.copytree(source, copy, copy_function=shutil.copyfile)
        _sync(copy)
        if out.exists():
            out.rename(Path(aside) / "old")
        copy.rename(out)


@contextmanager
def _exclusive(path: Path) -> Iterator[None]:
    """Hold a lock file; it is freed with the process, however that ends."""
    with path.open("ab") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield


def _remove(folder: Path) -> None:
    if folder.exists():
        shutil.rmtree(folder)


def _sync(folder: Path) -> None:
    """On disk before the rename that makes it count."""
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb") as stream:
                os.fsync(stream.fileno())
