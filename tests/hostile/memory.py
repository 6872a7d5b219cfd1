"""How much memory a long stream leaves behind."""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Callable


def growth(work: Callable[[int], object], *, warm: int, count: int) -> int:
    """Bytes allocated by `count` calls and still held, after `warm` calls have filled what is bounded."""
    tracemalloc.start()
    try:
        for number in range(warm):
            work(number)
        gc.collect()
        before, _ = tracemalloc.get_traced_memory()
        for number in range(warm, warm + count):
            work(number)
        gc.collect()
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    return after - before
