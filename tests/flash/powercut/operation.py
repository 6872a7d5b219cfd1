"""What is cut: an operation on flash, how its outcome is looked at, and what an uncut run passes through.

Knows the shape of operations. The operations themselves are in the `*_operations` modules.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from functools import cached_property

from tests.flash.powercut.fates import Record
from tests.flash.powercut.medium import Medium, Powered

#: In what is seen of boot control: never right, but for records that the loader made by its default.
RASH = "has starts and no image"


class Broken(AssertionError):
    """Something that must hold does not."""


@dataclass(frozen=True)
class Operation:
    """`act` is what is done after power has come, from opening the flash to the operation's end.

    `look` reads only. It raises Broken for what must never be seen, and returns what was seen, to be compared
    with what an uncut run passes through. `steady`: once a later step is seen, no earlier one is ever again.
    """

    name: str
    start: Callable[[], Medium]
    act: Callable[[Powered], object]
    look: Callable[[Powered], Hashable]
    steady: bool = True
    extra: Callable[[], list[Hashable]] = list  # seen after two cuts only, and right too
    #: What may still be seen when a second cut came before unstable cells were written again.
    beyond: Callable[[Hashable], bool] | None = None
    #: Whether it ends where the uncut run does even then.
    ends: bool = True
    weight: float = 1.0  # its share of the states of a campaign

    @cached_property
    def medium(self) -> Medium:
        return self.start()

    @cached_property
    def record(self) -> Record:
        """Of the uncut run."""
        device = Powered(self.medium)
        self.act(device)
        if device.waiting:
            raise Broken(f"{self.name}: ends with writes that were never synced")
        return Record(self.medium, device.events)

    @cached_property
    def steps(self) -> list[Hashable]:
        """What is seen before, between and after the syncs of the uncut run."""
        found: list[Hashable] = []
        for medium in self.record.durable:
            seen = self.look(Powered(medium))
            if RASH in repr(seen):
                raise Broken(f"{self.name}: even without a cut: {seen}")
            if not found or seen != found[-1]:
                found.append(seen)
        return found

    @property
    def final(self) -> Hashable:
        return self.steps[-1]

    def sites(self) -> list[str]:
        """The lines of our code that ask flash for something, in order of appearance."""
        return list(dict.fromkeys(event.site for event in self.record.events))


def at_rest(device: Powered) -> Medium:
    """The medium after a switch-off at leisure. Raises Broken when something was never synced."""
    if device.waiting:
        raise Broken("ends with writes that were never synced")
    return device.medium
