"""The power-cut loop of the flash tests: an action, cut at every operation in every way."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import Protocol, TypeVar

from firmware_mgr.flash.device import Cut, MemoryDevice, PowerCut

SIZE_LIMIT = 10_000


class Cuttable(Protocol):
    """A medium whose power can fail: MemoryDevice, and the twins of chips."""

    def cut_power(self, after: int, cut: Cut = Cut.BEFORE) -> None: ...

    def crash(self, rng: random.Random) -> None: ...


Medium = TypeVar("Medium", bound=Cuttable)


def every_cut(
    make: Callable[[], Medium], act: Callable[[Medium], object], outcomes: int
) -> Iterator[tuple[Medium, str]]:
    """Run `act` on fresh devices, cut at operation 1, 2, ... until it gets through; yield what a crash left.

    `outcomes` is how many seeds decide, for each cut, what of the unsynced writes survived. The text names
    the case, for the assertion message.
    """
    for n in range(1, SIZE_LIMIT):
        for cut in Cut:
            for seed in range(outcomes):
                device = make()
                device.cut_power(n, cut)
                try:
                    act(device)
                except PowerCut:
                    pass
                else:
                    return
                device.crash(random.Random(f"{n} {cut.value} {seed}"))
                yield device, f"cut {cut.value} operation {n}, seed {seed}"
    raise AssertionError("the action never ends")


def copied_from(contents: bytes, block_size: int = 512) -> Callable[[], MemoryDevice]:
    """A maker of devices with these contents."""

    def make() -> MemoryDevice:
        device = MemoryDevice(len(contents), block_size=block_size)
        device.load(contents)
        return device

    return make
