"""What goes wrong on the backplane, and when: a plan of single faults, and partitions.

Knows messages by number and by kind. Refuses to know what is in them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum


class Fault(Enum):
    """What may befall one message. Of a stream that is not the link's, all but LATE cut it there."""

    LOSE = "lost"
    DUPLICATE = "duplicated"
    SWAP = "swapped with its successor"
    LATE = "late"
    REPEAT = "repeated much later"


class Kind(Enum):
    """How a message travels. FRAME: one frame of the link. CHUNK: bytes of another stream."""

    DATAGRAM = "datagram"
    FRAME = "link frame"
    CHUNK = "stream bytes"


#: Seconds that a late message takes: longer than any retransmission waits, shorter than any deadline.
LATE_SECONDS = 15.0
#: … and after which a message is repeated.
REPEAT_SECONDS = 20.0
#: A message that waits for its successor goes when there is none.
SWAP_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Passed:
    """A message as it went by, in the order of sending. `flow` names sender, receiver and their ports."""

    number: int
    kind: Kind
    flow: str
    at: float
    length: int
    label: str = ""

    def __str__(self) -> str:
        return f"{self.kind.value} {self.number} ({self.flow}{' ' + self.label if self.label else ''})"


@dataclass
class FaultPlan:
    """`single` maps a message's number, counted from 1 over all that are sent, to its fate.

    `cuts` are stream cuts: flow's label and number of bytes after which it breaks.
    """

    single: Mapping[int, Fault] = field(default_factory=dict)
    record: bool = False
    passed: list[Passed] = field(default_factory=list)
    on_message: Callable[[Passed], None] | None = None
    count: int = 0

    def next(self, kind: Kind, flow: str, at: float, length: int, label: Callable[[], str]) -> Fault | None:
        """Count a message; what shall befall it."""
        self.count += 1
        if self.record or self.on_message is not None:
            message = Passed(self.count, kind, flow, at, length, label())
            if self.record:
                self.passed.append(message)
            if self.on_message is not None:
                self.on_message(message)
        return self.single.get(self.count)
