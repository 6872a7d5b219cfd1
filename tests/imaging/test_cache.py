"""The cache of built things: finished entries only, one builder for each, and no end of disk."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from firmware_mgr.imaging.cache import KEPT, BuildCache, place_copy
from firmware_mgr.model.errors import UsageError
from firmware_mgr.model.ids import Digest

DIGEST = Digest.of(b"inputs")


def write(folder: Path) -> None:
    (folder / "file").write_text("made")


def test_a_second_request_builds_nothing(tmp_path: Path) -> None:
    made: list[Path] = []

    def build(folder: Path) -> None:
        made.append(folder)
        write(folder)

    cache = BuildCache(tmp_path)
    first = cache.entry("x", DIGEST, build)
    assert cache.entry("x", DIGEST, build) == first
    assert (first / "file").read_text() == "made"
    assert len(made) == 1


def test_builders_that_meet_build_once(tmp_path: Path) -> None:
    made: list[Path] = []

    def build(folder: Path) -> None:
        made.append(folder)
        write(folder)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: BuildCache(tmp_path).entry("x", DIGEST, build), range(8)))
    assert len(made) == 1


def test_a_build_that_breaks_off_leaves_no_entry_and_the_next_starts_afresh(tmp_path: Path) -> None:
    def broken(folder: Path) -> None:
        (folder / "half").write_text("")
        raise RuntimeError

    cache = BuildCache(tmp_path)
    with pytest.raises(RuntimeError):
        cache.entry("x", DIGEST, broken)
    assert not (tmp_path / "x" / DIGEST.hex).exists()
    assert [path.name for path in cache.entry("x", DIGEST, write).iterdir()] == ["file"]


def test_only_the_latest_entries_stay(tmp_path: Path) -> None:
    cache = BuildCache(tmp_path)
    for number in range(KEPT + 3):
        last = cache.entry("x", Digest.of(bytes([number])), write)
    entries = [path for path in (tmp_path / "x").iterdir() if path.is_dir()]
    assert len(entries) == KEPT
    assert last in entries


def test_a_copy_replaces_what_is_ours(tmp_path: Path) -> None:
    source, out = tmp_path / "source", tmp_path / "deep/out"
    source.mkdir()
    write(source)
    place_copy(source, out, lambda _: True)
    (out / "old").write_text("")
    place_copy(source, out, lambda path: (path / "file").is_file())
    assert [path.name for path in out.iterdir()] == ["file"]
    assert [path.name for path in out.parent.iterdir()] == ["out"]


def test_a_copy_does_not_replace_what_is_somebody_elses(tmp_path: Path) -> None:
    source, out = tmp_path / "source", tmp_path / "out"
    source.mkdir()
    out.mkdir()
    (out / "thesis.txt").write_text("years of work")
    with pytest.raises(UsageError, match="something else is there"):
        place_copy(source, out, lambda path: (path / "manifest.json").is_file())
    assert (out / "thesis.txt").read_text() == "years of work"
