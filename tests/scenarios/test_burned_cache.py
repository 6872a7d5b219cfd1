"""Burned rigs that are kept from one run to the next."""

from __future__ import annotations

import os
from pathlib import Path

from tests.scenarios.burned_cache import KEPT, BurnedCache, burned_key


def test_key_is_of_boards_and_cards_and_the_same_for_the_same_code() -> None:
    keys = [burned_key(boards, cards) for boards in (("a",), ("a", "b")) for cards in (2, 3)]
    assert len(set(keys)) == 4
    assert burned_key(("a",), 2) == keys[0]


def test_what_was_put_is_taken_whole_and_sparse(tmp_path: Path) -> None:
    cache, rig, other = BurnedCache(tmp_path / "cache"), tmp_path / "rig", tmp_path / "other"
    (rig / "burned").mkdir(parents=True)
    with (rig / "burned" / "flash.img").open("wb") as flash:
        flash.write(b"burned")
        flash.truncate(64 << 20)
    other.mkdir()
    assert not cache.take("key", other)
    cache.put("key", rig)
    assert cache.take("key", other)
    copy = other / "burned" / "flash.img"
    assert copy.stat().st_size == 64 << 20
    assert copy.stat().st_blocks * 512 < 1 << 20
    assert copy.read_bytes()[:6] == b"burned"


def test_rigs_that_were_not_used_for_longest_go_first(tmp_path: Path) -> None:
    cache, rig = BurnedCache(tmp_path / "cache"), tmp_path / "rig"
    rig.mkdir()
    for number in range(KEPT):
        cache.put(f"{number}", rig)
        os.utime(tmp_path / "cache" / f"{number}", (1000 + number, 1000 + number))
    assert cache.take("0", rig), "used again"
    cache.put("new", rig)
    left = {path.name for path in (tmp_path / "cache").iterdir() if path.is_dir()}
    assert left == {"0", "new"}


def test_copy_that_was_cut_short_is_no_rig(tmp_path: Path) -> None:
    cache, rig = BurnedCache(tmp_path / "cache"), tmp_path / "rig"
    rig.mkdir()
    (tmp_path / "cache" / "key.draft").mkdir(parents=True)
    assert not cache.take("key", rig)
    cache.put("key", rig)
    assert cache.take("key", rig)
