"""One operation on the bench: states tried one by one, distinct ones counted, each failure with its name.

Knows what must hold at a state (docs/POWER-CUTS.md). Refuses to know which states are tried.
"""

from __future__ import annotations

import re
from collections import Counter, OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass, field
from hashlib import blake2b

from firmware_mgr.model.errors import FwmgrError
from tests.flash.powercut.fates import Kind, Record
from tests.flash.powercut.medium import Medium, Powered
from tests.flash.powercut.operation import Broken, Operation, at_rest

_NAME = re.compile(r"(\d+)\.(before|torn|after)\.(\d+)")
#: Recoveries whose records are kept for second cuts.
_KEPT_RECORDS = 64


@dataclass(frozen=True, slots=True)
class Cut:
    """Power fails at event `number`; `fate` says what survives (`Fates.pick`)."""

    number: int
    kind: Kind
    fate: int

    def __str__(self) -> str:
        return f"{self.number}.{self.kind.value}.{self.fate}"


#: One cut, or two: the second while the first is made good.
Cuts = tuple[Cut, ...]


def read_cuts(text: str) -> Cuts:
    """The other way: `12.torn.3/4.before.0`. Raises ValueError."""
    cuts = []
    for part in text.split("/"):
        match = _NAME.fullmatch(part)
        if match is None:
            raise ValueError(f"not a cut: {part!r}, expected such as 12.torn.3")
        cuts.append(Cut(int(match[1]), Kind(match[2]), int(match[3])))
    return tuple(cuts)


@dataclass(frozen=True, slots=True)
class Failure:
    """A state at which something did not hold. `again` is the command that does it again."""

    operation: str
    state: str
    site: str
    what: str
    seed: int

    @property
    def again(self) -> str:
        return f"tools/powercut --seed {self.seed} --only '{self.operation} {self.state}'"

    def __str__(self) -> str:
        return f"{self.operation} {self.state} at {self.site}: {self.what}\n  again: {self.again}"


@dataclass
class Bench:
    """`seen` are the digests of the states counted; `recovered` the media that came back, and their steps."""

    operation: Operation
    seed: int
    seen: set[int] = field(default_factory=set)
    kinds: Counter[str] = field(default_factory=Counter)
    tried: int = 0
    recovered: dict[tuple[int, bool, bool], int] = field(default_factory=dict)
    failures: list[Failure] = field(default_factory=list)
    _records: OrderedDict[Cut, tuple[Record, int]] = field(default_factory=OrderedDict)

    def try_state(self, cuts: Cuts) -> bool:
        """Whether it was one not yet counted. Raises IndexError when there is no such state."""
        record, floor = self.operation.record, 0
        beyond = False
        sites: list[str] = []
        for cut in cuts[:-1]:
            sites.append(record.events[cut.number].site)
            record, floor = self.record_after(cut)
            beyond = self.operation.beyond is not None and not record.start.calm
        last = cuts[-1]
        site = record.events[last.number].site
        medium = record.fates(last.number, last.kind).pick(last.fate, self.seed)
        self.tried += 1
        key = self._key([*sites, site], cuts, medium)
        if key in self.seen:
            return False
        self.seen.add(key)
        self.kinds["pair" if len(cuts) > 1 else last.kind.value] += 1
        try:
            step = self._come_back(medium, beyond, len(cuts) > 1)
            if self.operation.steady and not beyond and step < floor:
                raise Broken(f"falls back from {self._step(floor)} to {self._step(step)}")
        except (AssertionError, FwmgrError, LookupError, ValueError) as e:
            self._failed(cuts, site, e)
        return True

    def record_after(self, cut: Cut) -> tuple[Record, int]:
        """What is written while the card comes back from this cut, and the step it stood at."""
        if cut in self._records:
            self._records.move_to_end(cut)
            return self._records[cut]
        medium = self.operation.record.fates(cut.number, cut.kind).pick(cut.fate, self.seed)
        step = self._look(Powered(medium)) if medium.calm else 0
        device = Powered(medium)
        self.operation.act(device)
        found = Record(medium, device.events), step
        self._records[cut] = found
        if len(self._records) > _KEPT_RECORDS:
            self._records.popitem(last=False)
        return found

    def _come_back(self, medium: Medium, beyond: bool, pair: bool) -> int:
        """All that must hold at this medium and after it; the step at which it stands."""
        key = medium.digest, beyond, pair
        if key in self.recovered:
            return self.recovered[key]
        device = Powered(medium, sites=False)
        step = self._look(device, beyond, pair)
        if not medium.calm:
            self._look(device, beyond, pair)  # it may say something else now, but nothing wrong
            step = len(self.operation.steps)  # which says nothing of how far it was
        if device.events:
            raise Broken("looking writes")
        self.operation.act(device)
        self._arrived(device, "repeated", beyond)
        if not medium.calm or medium.digest % 8 == 0:
            device = device.again()
            self.operation.act(device)
            self._arrived(device, "done once more", beyond)
        self.recovered[key] = step
        return step

    def _arrived(self, device: Powered, when: str, beyond: bool) -> None:
        at_rest(device)
        seen = self.operation.look(device)
        lost = beyond and not self.operation.ends and self._allowed_beyond(seen)
        if seen != self.operation.final and not lost:
            raise Broken(f"{when}, it does not end where the uncut run does: {seen!r:.300}")

    def _look(self, device: Powered, beyond: bool = False, pair: bool = False) -> int:
        operation = self.operation
        seen = operation.look(device)
        if seen in operation.steps:
            return operation.steps.index(seen)
        if pair and seen in operation.extra():
            return 0
        if beyond and self._allowed_beyond(seen):
            return 0
        raise Broken(f"neither old nor new: {seen!r:.300}")

    def _allowed_beyond(self, seen: Hashable) -> bool:
        return self.operation.beyond is not None and self.operation.beyond(seen)

    def _step(self, index: int) -> str:
        steps: list[Hashable] = self.operation.steps
        return f"{steps[index]!r:.200}" if index < len(steps) else "unknown"

    def _key(self, sites: list[str], cuts: Cuts, medium: Medium) -> int:
        text = f"{self.operation.name} {sites} {[cut.kind.value for cut in cuts]} {medium.digest}"
        return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "little")

    def _failed(self, cuts: Cuts, site: str, error: Exception) -> None:
        state = "/".join(str(cut) for cut in cuts)
        self.failures.append(
            Failure(self.operation.name, state, site, f"{type(error).__name__}: {error}", self.seed)
        )
