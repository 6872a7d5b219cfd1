"""The states of a card as the master sees it, and of a burn-all. Names only; the tables are the master's."""

from __future__ import annotations

from enum import Enum


class CardState(Enum):
    """Where a card stands between an empty slot and service."""

    ABSENT = "absent"  # no card in the slot, or its power is off
    RESET = "reset"  # told to power-cycle into netboot
    NETBOOTING = "netbooting"  # its firmware asks our servers
    AGENT_UP = "agent up"  # hello received, an order is due
    BURNING = "burning"
    STORED = "stored"  # its flash holds the wanted set; others are still at it
    READY = "ready"  # all have stored; the system-wide reset is next
    BOOTING = "booting"  # reset, expected to come from flash
    AWAITING_VALIDATION = "awaiting validation"
    VALIDATED = "validated"  # told to run its packages
    IN_SERVICE = "in service"
    HELD = "held"  # talks to us, but there is nothing it may run
    LOST = "lost"  # was there, and its link is gone
    FAILED = "failed"  # given up, with a reason


class OperationState(Enum):
    """A burn-all as a whole."""

    PROVISIONING = "provisioning"  # cards netboot and burn
    RESETTING = "resetting"  # ready for use was decided; the system-wide reset is being carried out
    WARM_BOOTING = "warm booting"
    DONE = "done"
    FAILED = "failed"  # some card did not reach service; its reason stands with it
    CANCELLED = "cancelled"

    @property
    def finished(self) -> bool:
        return self in (OperationState.DONE, OperationState.FAILED, OperationState.CANCELLED)
