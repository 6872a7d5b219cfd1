"""A simulated card's flash in a file is as strict as flash in memory."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from firmware_mgr.flash.memory_device import MemoryDevice
from firmware_mgr.flash.volatile import Cut, PowerCut
from firmware_mgr.lab.sim.file_flash import FileMedium

BLOCKS, BLOCK = 8, 512
SIZE = BLOCKS * BLOCK


def file_medium(folder: Path) -> FileMedium:
    path = folder / "flash.img"
    path.write_bytes(bytes(SIZE))
    return FileMedium(path)


def act(device: FileMedium | MemoryDevice, operations: list[tuple[int, int] | None]) -> bool:
    """Writes, and syncs for None; whether it got through."""
    try:
        for number, operation in enumerate(operations, 1):
            if operation is None:
                device.sync()
            else:
                start, blocks = operation
                device.write(start * BLOCK, bytes([number]) * (min(blocks, BLOCKS - start) * BLOCK))
    except PowerCut:
        return False
    return True


writes = st.tuples(st.integers(0, BLOCKS - 1), st.integers(1, BLOCKS))


@settings(max_examples=60, deadline=None)
@given(
    operations=st.lists(st.none() | writes, max_size=8),
    cut=st.none() | st.tuples(st.integers(1, 8), st.sampled_from(Cut)),
    seed=st.integers(0, 1 << 32),
)
def test_a_power_cut_leaves_what_it_would_leave_in_memory(
    tmp_path_factory: pytest.TempPathFactory,
    operations: list[tuple[int, int] | None],
    cut: tuple[int, Cut] | None,
    seed: int,
) -> None:
    folder = tmp_path_factory.mktemp("flash")
    file, memory = file_medium(folder), MemoryDevice(SIZE)
    if cut is not None:
        file.cut_power(*cut)
        memory.cut_power(*cut)
    through = act(file, operations)
    assert through == act(memory, operations)
    if through:
        assert file.read(0, SIZE) == memory.read(0, SIZE)
    for device in (file, memory):
        device.crash(random.Random(seed))
    assert file.read(0, SIZE) == memory.contents() == (folder / "flash.img").read_bytes()
    file.close()


def test_unsynced_writes_survive_whole_in_part_and_not_at_all(tmp_path: Path) -> None:
    left = set()
    for seed in range(40):
        medium = file_medium(tmp_path)
        medium.write(0, b"u" * SIZE)
        medium.crash(random.Random(seed))
        left.add(medium.read(0, SIZE).count(b"u"))
        medium.close()
    assert {0, SIZE} < left
    assert any(count % BLOCK for count in left), "a block half written"


def test_flash_that_was_given_back_answers_as_flash_without_power(tmp_path: Path) -> None:
    medium = file_medium(tmp_path)
    medium.close()
    medium.close()
    for use in (lambda: medium.read(0, 1), lambda: medium.write(0, bytes(BLOCK)), medium.sync):
        with pytest.raises(PowerCut, match="over"):
            use()
