"""Bad blocks: each write and each read of an operation refused by the device, once or for good.

The operation ends or raises a DeviceError; what is seen then is right, and after a restart it can be ended.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from firmware_mgr.model.errors import DeviceError, FwmgrError
from tests.flash.powercut.medium import SECTOR, Powered
from tests.flash.powercut.operation import Broken, Operation

#: Restarts after which a store must have found a good place for everything.
RESTARTS = 4


@dataclass
class Refusal:
    """The `number`-th write or read is refused; `for_good`: so is each one that touches its first sector."""

    ask: str
    number: int
    for_good: bool
    _sector: int | None = None
    _count: int = 0

    def __call__(self, ask: str, _number: int, offset: int, length: int) -> bool:
        if self._sector is not None:
            touched = offset <= self._sector * SECTOR < offset + length
            return self.for_good and touched and ask in (self.ask, "write")
        if ask != self.ask:
            return False
        self._count += 1
        if self._count == self.number:
            self._sector = offset // SECTOR
            return True
        return False

    @property
    def happened(self) -> bool:
        return self._sector is not None

    def __str__(self) -> str:
        return f"{self.ask} {self.number} refused {'for good' if self.for_good else 'once'}"


@dataclass
class Refused:
    """What was seen: how often the operation ended at once, later, or (for good only) not at all."""

    ended: Counter[str] = field(default_factory=Counter)
    states: set[tuple[str, int]] = field(default_factory=set)


def refuse_each(operation: Operation, *, must_end: bool, step: int = 1) -> Refused:
    """Every `step`-th write and read. With `must_end` also a sector that is bad for good stops nothing.

    Raises Broken with the name of the refusal.
    """
    found = Refused()
    for ask in ("write", "read"):
        for for_good in (False, True):
            number = 1
            while _refuse(operation, Refusal(ask, number, for_good), found, must_end=must_end):
                number += step
    return found


def _refuse(operation: Operation, refusal: Refusal, found: Refused, *, must_end: bool) -> bool:
    """False when the operation ends before that."""
    device = Powered(operation.medium, refusal)
    for restart in range(RESTARTS):
        try:
            operation.act(device)
            how = f"ended after {restart} restarts" if restart else "ended"
            break
        except DeviceError:
            pass
        except (FwmgrError, AssertionError) as e:
            raise Broken(f"{operation.name}, {refusal}: {type(e).__name__}: {e}") from e
        if not refusal.happened:
            raise Broken(f"{operation.name}: a DeviceError without a refusal")
        _look(operation, device, refusal)
        device = Powered(device.medium, refusal)
    else:
        how = "never ended"
    if not refusal.happened:
        return False
    found.ended[how] += 1
    found.states.add((str(refusal), device.medium.digest))
    _look(operation, device, refusal)
    if how == "never ended" and (must_end or not refusal.for_good):
        raise Broken(f"{operation.name}, {refusal}: does not end after {RESTARTS} restarts")
    healthy = Powered(device.medium)
    operation.act(healthy)
    seen = operation.look(healthy)
    counted = refusal.ask == "read" and operation.beyond is not None and operation.beyond(seen)
    if seen != operation.final and not counted:  # the loader may have started, and counted, another one
        raise Broken(f"{operation.name}, {refusal}: then ends at {seen!r:.200}")
    return True


def _look(operation: Operation, device: Powered, refusal: Refusal) -> None:
    """After a restart, on a device that can be read."""
    seen = operation.look(Powered(device.medium))
    beyond = operation.beyond is not None and operation.beyond(seen)  # what cannot be read cannot be known
    if seen not in operation.steps and not beyond:
        raise Broken(f"{operation.name}, {refusal}: neither old nor new: {seen!r:.200}")
