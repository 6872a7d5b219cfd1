"""Modules that lie together in a package, fetched with one request: SPEC-package §4.3 and §5.

Knows how a range is dealt out to the modules in it. Refuses to know stores, and to judge bytes: who takes a
module's bytes decodes them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from firmware_mgr.package.contents import Module

#: One request is for at most this many bytes, unless a single module is longer.
RUN_BYTES = 8 << 20


def runs(modules: Iterable[Module], limit: int = RUN_BYTES) -> Iterator[list[Module]]:
    """The modules in the order of content, neighbours together. One without bytes goes with any other."""
    run: list[Module] = []
    length = end = 0
    for module in sorted(modules, key=lambda module: module.offset):
        stored = module.stored_length
        apart = stored and length and module.offset != end
        if run and (apart or length + stored > limit):
            yield run
            run, length = [], 0
        run.append(module)
        if stored:
            length, end = length + stored, module.offset + stored
    if run:
        yield run


def place(run: Sequence[Module]) -> range:
    """Where the run's bytes are, from the beginning of content; empty when it has none."""
    stored = [module for module in run if module.stored_length]
    if not stored:
        return range(0)
    return range(stored[0].offset, stored[-1].offset + stored[-1].stored_length)


class Dealer:
    """Deals out a stream of chunks; never holds more than one."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._rest = memoryview(b"")

    def deal(self, length: int) -> Iterator[bytes]:
        """The next `length` bytes; fewer when there are no more."""
        while length:
            if not self._rest:
                chunk = next(self._chunks, None)
                if chunk is None:
                    return
                self._rest = memoryview(chunk)
            part, self._rest = bytes(self._rest[:length]), self._rest[length:]
            length -= len(part)
            yield part
