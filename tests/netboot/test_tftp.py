from __future__ import annotations

from pathlib import Path

import pytest

from firmware_mgr.model.ids import Digest
from firmware_mgr.netboot.events import Outcome
from firmware_mgr.netboot.served import Blob
from firmware_mgr.netboot.tftp import (
    PATIENCE,
    TRANSITIONS,
    Acked,
    Action,
    Cancelled,
    Event,
    Finish,
    PortClosed,
    SendBlocks,
    SendError,
    SendOptions,
    State,
    Stopped,
    Stray,
    TftpTransfer,
    TimePassed,
)
from firmware_mgr.netboot.tftp_codec import ErrorCode
from firmware_mgr.netboot.tftp_frames import FramePool
from firmware_mgr.netboot.tftp_terms import Terms, negotiate

from .tftp_peer import Wire

EVENTS = (Acked, Stopped, Stray, PortClosed, TimePassed, Cancelled)


def content(length: int) -> bytes:
    return bytes((i * 7 + i // 251) % 256 for i in range(length))


def wire(length: int, asked: dict[str, str], fate=lambda n: (0.0,)) -> tuple[Wire, bytes]:  # type: ignore[no-untyped-def]
    data = content(length)
    blob = Blob(Digest.of(data), length, Path("in-memory"))
    pool = FramePool(read=lambda blob, start, count: data[start : start + count])
    return Wire(blob, pool, negotiate(asked, length, 65464), fate), data


def transfer(length: int = 5000, **asked: str) -> TftpTransfer:
    machine = TftpTransfer(length, negotiate(asked, length, 1468))
    machine.start(0.0)
    return machine


def test_every_state_and_event_has_its_step() -> None:
    assert set(TRANSITIONS) == {(state, event) for state in State for event in EVENTS}


@pytest.mark.parametrize("length", [0, 1, 511, 512, 513, 1024, 5000])
@pytest.mark.parametrize(
    "asked", [{}, {"tsize": "0"}, {"windowsize": "4"}, {"blksize": "100", "windowsize": "3"}]
)
def test_a_file_arrives_whole(length: int, asked: dict[str, str]) -> None:
    run, data = wire(length, asked)
    run.run()
    assert (bytes(run.client.got), run.finish) == (data, Finish(Outcome.DONE, ""))
    assert run.data_packets == run.server.blocks


@pytest.mark.parametrize(
    "asked", [{}, {"tsize": "0"}, {"windowsize": "4", "tsize": "0"}, {"windowsize": "64"}]
)
@pytest.mark.parametrize(
    "harm", [(), (0.0, 0.0), (0.0, 1.5), (1.5,)], ids=["lost", "doubled", "repeated", "late"]
)
def test_any_single_packet_may_be_harmed(asked: dict[str, str], harm: tuple[float, ...]) -> None:
    sound, data = wire(6000, asked)
    sound.run()
    for victim in range(sound.packets):
        run, _ = wire(6000, asked, lambda n, victim=victim: harm if n == victim else (0.0,))
        run.run()
        assert bytes(run.client.got) == data, victim
        assert run.finish is not None
        last_ack_lost = victim == sound.packets - 1 and harm == ()
        assert run.finish.outcome is Outcome.DONE or last_ack_lost, (victim, run.finish)


def test_any_two_packets_may_be_lost() -> None:
    asked = {"windowsize": "4"}
    sound, data = wire(4000, asked)
    sound.run()
    for first in range(sound.packets):
        for second in range(first + 1, sound.packets + 3):
            run, _ = wire(4000, asked, lambda n, a=first, b=second: () if n in (a, b) else (0.0,))
            run.run()
            assert bytes(run.client.got) == data, (first, second)


@pytest.mark.parametrize("window", ["1", "4", "64"])
def test_doubled_packets_do_not_go_on_doubling(window: str) -> None:
    sound, data = wire(200_000, {"windowsize": window})
    sound.run()
    run, _ = wire(200_000, {"windowsize": window}, lambda n: (0.0, 0.0) if n == 5 else (0.0,))
    run.run()
    assert bytes(run.client.got) == data
    assert run.data_packets <= sound.data_packets + 2 * int(window)


def test_when_every_packet_is_doubled_a_block_is_sent_about_twice_at_most() -> None:
    for window in ("1", "4"):
        sound, data = wire(100_000, {"windowsize": window})
        sound.run()
        run, _ = wire(100_000, {"windowsize": window}, lambda n: (0.0, 0.0))
        run.run()
        assert bytes(run.client.got) == data
        assert run.data_packets <= sound.data_packets * (1 if window == "1" else 2.1)


@pytest.mark.parametrize("window", ["1", "64"])
def test_block_numbers_wrap_to_zero(window: str) -> None:
    run, data = wire(8 * 65_600 + 3, {"blksize": "8", "windowsize": window})
    run.run()
    assert run.server.blocks == 65_601
    assert bytes(run.client.got) == data


def test_a_duplicate_ack_is_ignored_in_lock_step() -> None:
    machine = transfer()
    assert machine.receive(Acked(1), 0.1) == [SendBlocks(2, 1)]
    assert machine.receive(Acked(1), 0.2) == []
    assert machine.receive(Acked(0), 0.2) == []
    assert machine.receive(Acked(40_000), 0.2) == []


def test_an_ack_inside_the_window_asks_for_the_rest() -> None:
    machine = transfer(20_000, windowsize="8")
    assert machine.receive(Acked(0), 0.0) == [SendBlocks(1, 8)]
    assert machine.receive(Acked(3), 0.1) == [SendBlocks(4, 8)]


def test_a_lost_first_block_of_a_window_is_sent_again_without_waiting() -> None:
    machine = transfer(20_000, windowsize="4")
    machine.receive(Acked(0), 0.0)
    machine.receive(Acked(4), 0.1)
    assert machine.receive(Acked(4), 0.2) == [SendBlocks(5, 4)]
    assert machine.receive(Acked(4), 0.3) == []


def silences(machine: TftpTransfer) -> tuple[list[float], list[Action]]:
    waits, now, actions = [], 0.0, []
    while machine.next_deadline is not None:
        waits.append(machine.next_deadline - now)
        now = machine.next_deadline
        actions = machine.receive(TimePassed(), now)
    return waits, actions


def test_silence_is_met_with_growing_patience_and_then_given_up() -> None:
    waits, actions = silences(transfer())
    assert tuple(waits) == PATIENCE
    assert actions == [Finish(Outcome.FAILED, "no answer to 6 tries at block 1 of 10")]


def test_the_clients_own_timeout_replaces_ours() -> None:
    waits, actions = silences(transfer(timeout="3"))
    assert waits == [3.0] * len(PATIENCE)
    assert actions == [Finish(Outcome.FAILED, "no answer to 6 tries at the options")]


def test_progress_restores_patience() -> None:
    machine = transfer()
    for _ in range(3):
        assert machine.next_deadline is not None
        now = machine.next_deadline
        machine.receive(TimePassed(), now)
    machine.receive(Acked(1), now)
    assert machine.next_deadline == now + PATIENCE[0]


def test_being_woken_early_does_nothing() -> None:
    assert transfer().receive(TimePassed(), 0.5) == []


@pytest.mark.parametrize(
    ("event", "outcome"),
    [
        (Stopped(0, "Early terminate"), Outcome.PROBE),
        (Stopped(0, ""), Outcome.PROBE),
        (Stopped(8, "User aborted the transfer"), Outcome.PROBE),
        (Stopped(8, "blksize too large"), Outcome.FAILED),
        (Stopped(3, "disk full"), Outcome.FAILED),
        (PortClosed(), Outcome.PROBE),
        (Cancelled("stop"), Outcome.FAILED),
        (Stray("Data"), Outcome.FAILED),
    ],
)
def test_an_end_after_the_options_is_a_probe_or_a_failure(event: Event, outcome: Outcome) -> None:
    actions = transfer(tsize="0").receive(event, 0.1)
    assert isinstance(actions[-1], Finish)
    assert actions[-1].outcome is outcome


@pytest.mark.parametrize(
    ("event", "outcome"),
    [
        (Stopped(0, "Early terminate"), Outcome.PROBE),
        (Stopped(0, "out of memory"), Outcome.FAILED),
        (Stopped(8, "User aborted the transfer"), Outcome.FAILED),
        (PortClosed(), Outcome.FAILED),
    ],
)
def test_an_end_amid_data_is_a_failure_unless_it_says_otherwise(event: Event, outcome: Outcome) -> None:
    actions = transfer().receive(event, 0.1)
    assert isinstance(actions[-1], Finish)
    assert actions[-1].outcome is outcome


def test_a_port_closed_after_the_last_block_means_that_only_its_ack_was_lost() -> None:
    actions = transfer(100).receive(PortClosed(), 0.1)
    assert [type(action) for action in actions] == [Finish]
    assert isinstance(actions[0], Finish)
    assert actions[0].outcome is Outcome.DONE


def test_something_strange_is_answered_with_illegal_operation() -> None:
    assert transfer().receive(Stray("Data"), 0.1)[0] == SendError(ErrorCode.ILLEGAL, "unexpected Data")


@pytest.mark.parametrize(
    "event", [Acked(1), Stopped(0, ""), Stray("x"), PortClosed(), TimePassed(), Cancelled("x")]
)
def test_after_the_end_nothing_happens(event: Event) -> None:
    machine = transfer(10)
    machine.receive(Acked(1), 0.1)
    assert machine.state is State.ENDED
    assert machine.next_deadline is None
    assert machine.receive(event, 99.0) == []


def test_without_options_the_first_block_is_the_answer() -> None:
    assert TftpTransfer(10, Terms()).start(0.0) == [SendBlocks(1, 1)]
    assert TftpTransfer(10, negotiate({"tsize": "0"}, 10, 1468)).start(0.0) == [SendOptions()]
