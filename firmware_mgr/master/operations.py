"""Long work with a durable record: what a burn-all did so far, per card and phase. Pure values.

The record is written with each change of a card's state, so that a new master goes on where the old one was.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from firmware_mgr.master.documents import OperationRecord
from firmware_mgr.model.errors import PeerError, UsageError
from firmware_mgr.model.ids import SlotId
from firmware_mgr.model.lifecycle import CardState, OperationState

BURN_ALL = "burn-all"


@dataclass(frozen=True, slots=True)
class Traffic:
    """Bytes that were sent to a card: by netboot (TFTP, HTTP) and in bulk (boot image pieces, modules)."""

    netboot: int = 0
    bulk: int = 0

    def plus(self, netboot: int = 0, bulk: int = 0) -> Traffic:
        return Traffic(self.netboot + netboot, self.bulk + bulk)


@dataclass(frozen=True, slots=True)
class CardWork:
    """One card in an operation. `history` holds (state, Unix seconds) as entered, oldest first."""

    state: CardState
    reason: str = ""
    history: tuple[tuple[str, float], ...] = ()
    done: int = 0
    total: int = 0
    boot_written: int = 0
    package_written: int = 0
    provisioning: Traffic = Traffic()
    warm_boot: Traffic = Traffic()
    key: str = ""  # "new", "kept" or "renewed", once the card has shown it
    unfit: bool = False  # nothing that is there fits the card: it is left alone, and `reason` says why

    def entered(self, state: CardState, reason: str, now: float) -> CardWork:
        history = self.history
        if not history or history[-1][0] != state.value:
            history = (*history, (state.value, now))
        return replace(self, state=state, reason=reason, history=history)

    def document(self) -> dict[str, Any]:
        return {
            "state": self.state.value,
            "reason": self.reason,
            "history": [list(item) for item in self.history],
            "done": self.done,
            "total": self.total,
            "boot_written": self.boot_written,
            "package_written": self.package_written,
            "provisioning": {"netboot": self.provisioning.netboot, "bulk": self.provisioning.bulk},
            "warm_boot": {"netboot": self.warm_boot.netboot, "bulk": self.warm_boot.bulk},
            "key": self.key,
            "unfit": self.unfit,
        }

    @classmethod
    def from_document(cls, doc: Mapping[str, Any]) -> CardWork:
        return cls(
            state=CardState(doc["state"]),
            reason=str(doc["reason"]),
            history=tuple((str(name), float(at)) for name, at in doc["history"]),
            done=int(doc["done"]),
            total=int(doc["total"]),
            boot_written=int(doc["boot_written"]),
            package_written=int(doc["package_written"]),
            provisioning=Traffic(int(doc["provisioning"]["netboot"]), int(doc["provisioning"]["bulk"])),
            warm_boot=Traffic(int(doc["warm_boot"]["netboot"]), int(doc["warm_boot"]["bulk"])),
            key=str(doc["key"]),
            unfit=doc.get("unfit") is True,
        )


@dataclass(frozen=True, slots=True)
class Operation:
    """A burn-all. `ready_for_use` is decided once, when all have stored, and never changes after."""

    id: str
    state: OperationState
    created_at: float
    cards: Mapping[SlotId, CardWork]
    finished_at: float | None = None
    ready_for_use: bool = False
    renew_keys: bool = False
    erase: bool = False
    masters: int = 1  # how many times a master has taken it up
    events: tuple[str, ...] = field(default=())

    def with_card(self, slot: SlotId, work: CardWork) -> Operation:
        return replace(self, cards={**self.cards, slot: work})

    @property
    def states(self) -> dict[SlotId, CardState]:
        return {slot: work.state for slot, work in self.cards.items()}

    def record(self) -> OperationRecord:
        """As the catalogue keeps it."""
        return OperationRecord(
            id=self.id,
            kind=BURN_ALL,
            created_at=self.created_at,
            state=self.state.value,
            cards={str(slot): work.document() for slot, work in sorted(self.cards.items())},
            request={
                "finished_at": self.finished_at,
                "ready_for_use": self.ready_for_use,
                "renew_keys": self.renew_keys,
                "erase": self.erase,
                "masters": self.masters,
                "events": list(self.events),
            },
        )

    @classmethod
    def from_record(cls, record: OperationRecord) -> Operation:
        """Raises PeerError when the record does not hold what a burn-all keeps."""
        try:
            finished = record.request["finished_at"]
            return cls(
                id=record.id,
                state=OperationState(record.state),
                created_at=record.created_at,
                finished_at=None if finished is None else float(finished),
                ready_for_use=bool(record.request["ready_for_use"]),
                renew_keys=bool(record.request.get("renew_keys")),
                erase=bool(record.request.get("erase")),
                masters=int(record.request["masters"]),
                events=tuple(str(line) for line in record.request["events"]),
                cards={
                    SlotId.parse(slot): CardWork.from_document(work) for slot, work in record.cards.items()
                },
            )
        except (KeyError, TypeError, ValueError, UsageError) as e:
            raise PeerError("broken operation record", where=f"operations/{record.id}", found=repr(e)) from e


def phase_seconds(work: CardWork, end: float | None) -> list[tuple[str, float]]:
    """How long the card was in each state, in order; the last one up to `end` when that is known."""
    moments = [at for _, at in work.history]
    ends = [*moments[1:], end if end is not None else moments[-1]] if moments else []
    return [(name, stop - at) for (name, at), stop in zip(work.history, ends, strict=True)]
