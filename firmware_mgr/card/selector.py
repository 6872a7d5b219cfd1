"""The early selector of UEFI boards: whoever firmware started decides by control whether to stay.

The same table as U-Boot's script (SPEC-control), walked in steps: firmware starts something, its selector
counts and stays, or counts the one whose turn it is, has it started next, and resets. Knows control and the
boot variables. Refuses to know how the card is reset.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from firmware_mgr.card.boot_variables import BootVariables, Option
from firmware_mgr.flash.control import ControlState, Why, decide_boot, read_control, write_control
from firmware_mgr.flash.control_layout import ControlRecord, Target
from firmware_mgr.flash.device import FlashDevice
from firmware_mgr.flash.gpt import CONTROL, Partition, find
from firmware_mgr.flash.letter import Letter
from firmware_mgr.model.errors import DeviceError


@dataclass(frozen=True, slots=True)
class Selection:
    """`goes` is what to start instead of staying. `record` is to be written first, when it is not None.

    `why` and `left` are of what is started: None left for the network.
    """

    record: ControlRecord | None
    goes: Option | None
    why: str
    left: int | None


def select(state: ControlState, running: Letter | None, *, counted: bool) -> Selection:
    """What the one who runs has to do. `running` None: netbooted, which always stays: somebody wants it so.

    `counted`: this start was counted by the selector that ordered it.
    """
    current = state.effective
    if running is None:
        once = state.record is not None and current.trial is Target.NETBOOT
        return Selection(replace(current, trial=None) if once else None, None, "netboot", None)
    if counted:
        return Selection(None, None, _why(current, running), current.left(running))
    decision = decide_boot(state, frozenset(Letter))
    letter = decision.target.letter
    record = None if decision.record == state.record else decision.record
    if letter is running:
        return Selection(record, None, decision.why.value, decision.left)
    goes = Option.NETWORK if letter is None else Option.of(letter, counted=True)
    return Selection(record, goes, decision.why.value, decision.left)


def _why(record: ControlRecord, running: Letter) -> str:
    mine = Target.of(running)
    why = Why.TRIAL if record.trial is mine else Why.BOOT if record.boot is mine else Why.OTHER
    return why.value


@dataclass(frozen=True, slots=True)
class Selected:
    """`words` is for the agent, as U-Boot's selector gives them; with `reset` something else starts."""

    words: str
    said: tuple[str, ...]
    reset: bool


def run_selector(
    device: FlashDevice,
    partitions: tuple[Partition, ...],
    running: Letter | None,
    variables: BootVariables,
) -> Selected:
    """Decide, count, and set what is next. What cannot be written is told, and the card starts uncounted."""
    window = find(partitions, CONTROL).window(device)
    state = read_control(window)
    selection = select(state, running, counted=_counted(variables, running))
    problems: list[str] = []
    record = state.effective
    if selection.record is not None:
        try:
            record = write_control(window, selection.record)
        except DeviceError as e:
            problems.append(str(e))
    try:
        if selection.goes is None:
            variables.follow(record, partitions, device.block_size)
        elif not problems:
            variables.start_once(selection.goes, partitions, device.block_size)
    except DeviceError as e:
        problems.append(str(e))
    reset = selection.goes is not None and not problems
    return _told(state, record, running, selection, reset=reset, problems=problems)


def _counted(variables: BootVariables, running: Letter | None) -> bool:
    option = variables.current()
    return option is not None and option.counted and option.letter is running


def _told(
    state: ControlState,
    record: ControlRecord,
    running: Letter | None,
    selection: Selection,
    *,
    reset: bool,
    problems: list[str],
) -> Selected:
    control = "default" if state.chosen is None else str(state.chosen)
    if state.chosen is not None:
        control += "".join(f",bad{n}" for n, copy in enumerate(state.copies) if copy.record is None)
    if problems:
        control += ",unwritable"
    before = state.effective
    trial = "-" if before.trial is None else before.trial.value
    said = [
        f"control={control} seq={before.seq:x} boot={before.boot.value} trial={trial} "
        f"a={before.left_a} b={before.left_b} made={before.made.value}",
        *(f"cannot write: {problem}" for problem in problems),
    ]
    left = "-" if selection.left is None else str(selection.left)
    here = "n" if running is None else running.value
    if reset:
        there = (
            "n" if selection.goes is None or selection.goes.letter is None else selection.goes.letter.value
        )
        said.append(f"{here} gives way to {there} why={selection.why} left={left} ctl={control}")
    elif running is None:
        said.append(f"netboot why={selection.why} ctl={control}")
    else:
        said.append(f"start {here} why={selection.why} left={left} ctl={control} fail=")
    words = f"fw.part={here} fw.why={selection.why} fw.left={left} fw.ctl={control} fw.seq={record.seq:x}"
    return Selected(words, tuple(said), reset)
