"""Power fails everywhere in everything that writes flash: a part of what `tools/powercut` tries.

The parts together try over 50,000 distinct states (docs/POWER-CUTS.md). A failure prints the command that
tries that one state again.
"""

import json
from itertools import islice
from pathlib import Path

import pytest

from firmware_mgr.flash.errors import NoSpace
from firmware_mgr.flash.store import Store
from firmware_mgr.model.ids import Digest
from tests.flash.powercut import command
from tests.flash.powercut.bench import Bench, read_cuts
from tests.flash.powercut.campaign import all_operations, plan, replay, run
from tests.flash.powercut.fates import Kind
from tests.flash.powercut.medium import Medium, Powered, Unreadable, Unstable, UnsyncedRead
from tests.flash.powercut.operation import Operation
from tests.flash.powercut.order import every_state
from tests.flash.powercut.refusals import refuse_each

#: Distinct states over all parts.
STATES = 50_500
#: So many are planned: some lines of our code have fewer states than their share.
PLANNED = 66_000
PARTS = 12
SEED = 1
OPERATIONS = all_operations()


@pytest.mark.parametrize("part", range(1, PARTS + 1))
def test_every_state_after_cuts_is_whole_and_comes_back(part: int) -> None:
    owed, outcomes = 0, []
    units = plan(OPERATIONS, PLANNED, part, PARTS)
    for unit in units:
        *_, outcome = run(unit, SEED, 0 if unit.operation.weight < 0.5 else owed)
        owed += unit.quota - outcome.states
        outcomes.append(outcome)
    failures = [str(failure) for outcome in outcomes for failure in outcome.failures]
    assert not failures, "\n".join(failures)
    assert sum(outcome.states for outcome in outcomes) >= STATES / PARTS


def test_all_kinds_of_operations_are_cut() -> None:
    sites = {site.partition(":")[0] for operation in OPERATIONS for site in operation.sites()}
    assert sites >= {
        "boot_partition.write_piece",
        "control.write_control",
        "gpt.write_table",
        "loader.start",
        "store_blobs.write_blob",
        "store_roots.erase_roots",
        "store_roots.settle_roots",
        "store_roots.write_root",
        "store_roots.write_snapshot",
    }


QUICK = [op for op in OPERATIONS if op.weight >= 0.5]
#: A card's whole life, and a store that has no other room than what is refused.
SLOW = [op for op in OPERATIONS if op not in QUICK]


@pytest.mark.parametrize("operation", QUICK, ids=lambda op: op.name)
def test_a_refused_write_or_read_costs_no_more_than_a_restart(operation: Operation) -> None:
    assert refuse_each(operation, must_end=operation.name.startswith("store.")).states


@pytest.mark.parametrize("operation", SLOW, ids=lambda op: op.name)
def test_what_is_refused_now_and_then_in_long_operations_is_made_good(operation: Operation) -> None:
    assert refuse_each(operation, must_end=False, step=61).states


@pytest.mark.parametrize(
    "operation", [op for op in OPERATIONS if op.name.startswith("store.")], ids=lambda op: op.name
)
def test_without_room_nothing_is_written_and_the_operation_goes_on_with_less(operation: Operation) -> None:
    device = Powered(operation.record.durable[-1])
    store = Store.open(device)
    before = operation.look(device)
    largest = store.space().largest
    with pytest.raises(NoSpace):
        store.put(Digest.of(bytes(largest + 1)), largest + 1, [bytes(largest + 1)])
    assert not device.events
    with pytest.raises(NoSpace):
        store.commit({"large": bytes(60_000)})
    assert operation.look(device) == before == operation.final
    operation.act(device)
    assert operation.look(device) == operation.final


# The harness itself


def test_the_same_name_is_the_same_state() -> None:
    operation = next(op for op in OPERATIONS if op.name == "store.activate")
    first, second = Bench(operation, 1), Bench(operation, 1)
    states = ["/".join(str(cut) for cut in cuts) for cuts in islice(every_state(first), 0, 3000, 100)]
    assert any("/" in state for state in states)
    for state in states:
        assert first.try_state(read_cuts(state)) == second.try_state(read_cuts(state))
        assert not first.try_state(read_cuts(state)), "counted once"
    assert first.seen == second.seen
    assert replay(OPERATIONS, f"store.activate {states[-1]}", 1) == []


def test_bytes_that_wait_for_a_sync_cannot_be_read() -> None:
    device = Powered(Medium(bytes(4096)))
    device.write(512, b"x" * 512)
    assert device.read(0, 512) == bytes(512)
    with pytest.raises(UnsyncedRead):
        device.read(0, 1024)
    device.sync()
    assert device.read(512, 512) == b"x" * 512


def test_unstable_cells_read_differently_until_they_are_written() -> None:
    old, new = bytes(512), b"\xff" * 512
    device = Powered(
        Medium(bytes(2048)).with_sectors({1: Unstable(old, new, 0b0110), 2: Unstable(old, new, -1)})
    )
    assert [device.read(512, 512) == new for _ in range(4)] == [False, True, True, False]
    assert len({device.read(1024, 512) for _ in range(4)}) == 4
    device.write(512, new)
    device.sync()
    assert {device.read(512, 512) for _ in range(4)} == {new}


def test_an_unreadable_sector_can_be_written_again() -> None:
    device = Powered(Medium(bytes(2048)).with_sectors({1: Unreadable()}))
    with pytest.raises(Exception, match="cannot be read"):
        device.read(0, 2048)
    device.write(512, bytes(512))
    device.sync()
    assert device.read(0, 2048) == bytes(2048)


def test_the_same_content_has_the_same_digest_by_whatever_way() -> None:
    medium, a, b = Medium(bytes(2048)), b"a" * 512, b"b" * 512
    one = medium.with_sectors({0: a}).with_sectors({1: b})
    other = medium.with_sectors({1: a, 0: Unreadable()}).with_sectors({0: a, 1: b})
    assert one.digest == other.digest != medium.digest
    assert one.with_sectors({0: bytes(512), 1: bytes(512)}).digest == medium.digest


def test_every_subset_of_few_unsynced_writes_survives_once() -> None:
    operation = next(op for op in OPERATIONS if op.name == "table.write over another")
    record = operation.record
    cut = [record.fates(number, Kind.BEFORE) for number in range(len(record))]
    fates = max(cut, key=lambda fates: fates.systematic)
    media = {fates.pick(number, 1).digest for number in range(fates.systematic)}
    assert len(media) == fates.systematic >= 4
    with pytest.raises(IndexError):
        record.fates(0, Kind.BEFORE).pick(5, 1)


def test_shards_share_the_units_out() -> None:
    whole = [unit.name for unit in plan(OPERATIONS, 1000, 1, 1)]
    parts = [unit.name for shard in (1, 2, 3) for unit in plan(OPERATIONS, 1000, shard, 3)]
    assert sorted(whole) == sorted(parts) and len(set(parts)) == len(parts)


def test_an_interrupted_campaign_goes_on_and_ends_with_the_same_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    arguments = ["control.heal", "--states", "60", "--json", "report.json"]
    assert command.main(arguments) == 0
    whole = json.loads(Path("report.json").read_text())
    (kept,) = Path("var/powercut").iterdir()
    units = json.loads(kept.read_text())["units"]
    kept.write_text(json.dumps({"units": dict(list(units.items())[:1])}))
    assert command.main([*arguments, "--resume"]) == 0
    again = json.loads(Path("report.json").read_text())
    assert again["operations"] == whole["operations"] and whole["states"] >= 60
    assert "control.heal copy 0" in capsys.readouterr().out
