"""Flash in a file: what was synced stays; of what was not, a cut leaves any part."""

import random
from pathlib import Path

from firmware_mgr.lab.sim.file_flash import FileMedium

SIZE = 64 * 512


def medium(folder: Path) -> FileMedium:
    path = folder / "flash"
    path.write_bytes(bytes(SIZE))
    return FileMedium(path)


def test_what_was_synced_stays_and_the_rest_is_lost_torn_or_kept(tmp_path: Path) -> None:
    seen: set[str] = set()
    for seed in range(30):
        flash = medium(tmp_path)
        flash.write(0, b"s" * 512)
        flash.sync()
        flash.write(512, b"x" * (SIZE - 512))
        flash.crash(random.Random(seed))
        assert flash.read(0, 512) == b"s" * 512
        blocks = [flash.read(at, 512) for at in range(512, SIZE, 512)]
        for block in blocks:
            kept = len(block.rstrip(b"\0"))
            assert block == (b"x" * kept).ljust(512, b"\0")
            seen.add("kept" if kept == 512 else "torn" if kept else "lost")
        flash.close()
    assert seen == {"lost", "torn", "kept"}


def test_a_closed_one_is_left_as_it_is(tmp_path: Path) -> None:
    flash = medium(tmp_path)
    flash.write(0, b"x" * 512)
    flash.close()
    flash.crash(random.Random(1))
    assert not any((tmp_path / "flash").read_bytes())
