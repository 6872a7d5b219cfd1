"""Boot control: both copies read, one written, the loader's decision, and the agent's steps.

Knows what the selector script does, as a total table (docs/SPEC-control.md). Refuses to know images, and
whether a card was validated: callers say so.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from enum import Enum
from typing import TYPE_CHECKING

from firmware_mgr.flash.control_layout import (
    COPY_OFFSETS,
    COPY_SIZE,
    MAX_TRIES,
    SEQUENCE_END,
    ControlRecord,
    Maker,
    Target,
)
from firmware_mgr.flash.letter import Letter
from firmware_mgr.model.errors import DeviceError, UsageError

if TYPE_CHECKING:
    from firmware_mgr.flash.device import FlashDevice

#: Starts that a burned or validated partition gets.
TRIES = 3
#: What the selector assumes when neither copy is usable.
DEFAULT_RECORD = ControlRecord(Target.A, None, TRIES, TRIES, Maker.LOADER, 1)


@dataclass(frozen=True, slots=True)
class ControlCopy:
    """One copy: its record, or why it is unusable."""

    record: ControlRecord | None
    problem: str


@dataclass(frozen=True, slots=True)
class ControlState:
    """Both copies as read. `chosen` is the index of the current one, None when neither is usable."""

    copies: tuple[ControlCopy, ControlCopy]
    chosen: int | None

    @property
    def record(self) -> ControlRecord | None:
        """The current record; None when neither copy is usable."""
        return None if self.chosen is None else self.copies[self.chosen].record

    @property
    def effective(self) -> ControlRecord:
        """What the selector goes by: the current record or its default."""
        return self.record or DEFAULT_RECORD

    @property
    def next_copy(self) -> int:
        """The index of the copy to write: the one that is not current."""
        return 1 if self.chosen == 0 else 0


def read_control(window: FlashDevice) -> ControlState:
    """Read both copies. Whatever they hold, or cannot be read, is a state; nothing is raised for it."""
    first, second = (_read_copy(window, index) for index in range(2))
    chosen: int | None = None
    if first.record is not None:
        chosen = 0
    if second.record is not None and (first.record is None or second.record.seq > first.record.seq):
        chosen = 1
    return ControlState((first, second), chosen)


def _read_copy(window: FlashDevice, index: int) -> ControlCopy:
    try:
        raw = window.read(COPY_OFFSETS[index], COPY_SIZE)
        return ControlCopy(ControlRecord.decode(raw, f"control copy {index}"), "")
    except DeviceError as e:
        return ControlCopy(None, str(e))


def write_control(window: FlashDevice, record: ControlRecord) -> ControlRecord:
    """Make this the current record, in the copy that is not current now; return it with the seq it was given.

    Its own `seq` is not looked at. Raises DeviceError when it does not read back; the old record then counts.
    """
    state = read_control(window)
    index = state.next_copy
    seq = state.record.seq + 1 if state.record else 1
    if seq >= SEQUENCE_END:
        raise DeviceError(
            "control record's seq is used up", where="control", found=seq, hint="erase both copies"
        )
    written = replace(record, seq=seq)
    raw = written.encode()
    offset = COPY_OFFSETS[index]
    window.write(offset, raw + bytes(-len(raw) % window.block_size))
    window.sync()
    if window.read(offset, COPY_SIZE) != raw:
        raise DeviceError("control record reads back differently", where=f"control copy {index}")
    return written


# The loader's decision


class Why(Enum):
    """Why a candidate's turn came: the kernel argument `fw.why`."""

    TRIAL = "trial"
    BOOT = "boot"
    OTHER = "other"


_A, _B, _N = Target.A, Target.B, Target.NETBOOT
_NETBOOT_LAST = (Why.OTHER, _N)

#: The candidates in order, for every pair of trial and boot.
CANDIDATES: dict[tuple[Target | None, Target], tuple[tuple[Why, Target], ...]] = {
    (None, _A): ((Why.BOOT, _A), (Why.OTHER, _B), _NETBOOT_LAST),
    (None, _B): ((Why.BOOT, _B), (Why.OTHER, _A), _NETBOOT_LAST),
    (None, _N): ((Why.BOOT, _N),),
    (_A, _A): ((Why.TRIAL, _A), (Why.OTHER, _B), _NETBOOT_LAST),
    (_A, _B): ((Why.TRIAL, _A), (Why.BOOT, _B), _NETBOOT_LAST),
    (_A, _N): ((Why.TRIAL, _A), (Why.BOOT, _N)),
    (_B, _A): ((Why.TRIAL, _B), (Why.BOOT, _A), _NETBOOT_LAST),
    (_B, _B): ((Why.TRIAL, _B), (Why.OTHER, _A), _NETBOOT_LAST),
    (_B, _N): ((Why.TRIAL, _B), (Why.BOOT, _N)),
    (_N, _A): ((Why.TRIAL, _N),),
    (_N, _B): ((Why.TRIAL, _N),),
    (_N, _N): ((Why.TRIAL, _N),),
}


@dataclass(frozen=True, slots=True)
class BootDecision:
    """Where a boot ends. `failed` did not start on the way; `record` is what then stands in control.

    `left` is the starts left of the chosen partition after this one; None for netboot.
    """

    target: Target
    why: Why
    left: int | None
    failed: tuple[Letter, ...]
    record: ControlRecord


def decide_boot(state: ControlState, partitions_ok: Collection[Letter]) -> BootDecision:
    """What the selector does with this state when just these partitions hold an image that starts."""
    record = state.effective
    failed: list[Letter] = []
    for why, target in CANDIDATES[record.trial, record.boot]:
        letter = target.letter
        if letter is None:
            if why is Why.TRIAL:
                record = replace(record, trial=None, seq=record.seq + 1)
            return BootDecision(target, why, None, tuple(failed), record)
        left = record.left(letter) - 1
        if left < 0:
            continue
        record = replace(_with_left(record, letter, left), seq=record.seq + 1)
        if letter in partitions_ok:
            return BootDecision(target, why, left, tuple(failed), record)
        failed.append(letter)
    raise AssertionError("every row of CANDIDATES ends in netboot")


# The agent's steps; `write_control` gives each its seq


def _with_left(record: ControlRecord, letter: Letter, left: int) -> ControlRecord:
    return replace(record, left_a=left) if letter is Letter.A else replace(record, left_b=left)


def first_burn(letter: Letter) -> ControlRecord:
    """An image has been burned to `letter` and read back; nothing is known of the other partition."""
    return _with_left(ControlRecord(Target.of(letter), None, 0, 0, Maker.AGENT, 1), letter, TRIES)


def begin_trial(record: ControlRecord, letter: Letter, tries: int = TRIES) -> ControlRecord:
    """A new image has been burned to `letter` and read back: start it first, `tries` times at most."""
    if not 1 <= tries <= MAX_TRIES:
        raise UsageError("number of tries out of range", expected=f"1 to {MAX_TRIES}", found=tries)
    return replace(_with_left(record, letter, tries), trial=Target.of(letter), made=Maker.AGENT)


def confirm_validated(record: ControlRecord, running: Letter) -> ControlRecord:
    """The master has validated the card while it runs `running`: commit it and give it its starts back."""
    return replace(_with_left(record, running, TRIES), boot=Target.of(running), trial=None, made=Maker.AGENT)


def fall_back(record: ControlRecord, bad: Letter) -> ControlRecord:
    """`bad` shall not be started: its image is bad, or is about to be overwritten."""
    boot = Target.of(bad.other) if record.boot is Target.of(bad) else record.boot
    trial = None if record.trial is Target.of(bad) else record.trial
    return replace(_with_left(record, bad, 0), boot=boot, trial=trial, made=Maker.AGENT)


def restore_tries(record: ControlRecord, letter: Letter) -> ControlRecord:
    """`letter` has been burned again after damage, and read back: it may be started again."""
    return replace(_with_left(record, letter, TRIES), made=Maker.AGENT)


def netboot_once(record: ControlRecord) -> ControlRecord:
    """The next boot, and only that, goes to the network."""
    return replace(record, trial=Target.NETBOOT, made=Maker.AGENT)
