"""What every catalogue keeps to, whatever is behind it: each test runs over SQLite and over memory."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from firmware_mgr.master.catalogue import (
    ABSENT,
    MAX_TRANSACTION_BYTES,
    MAX_TRANSACTION_ITEMS,
    Change,
    Commit,
    Condition,
    Conflict,
    Delete,
    HistoryGone,
    LeaseGone,
    Put,
)
from firmware_mgr.master.catalogue_memory import MemoryCatalogue
from firmware_mgr.master.catalogue_sqlite import SqliteCatalogue
from firmware_mgr.model.errors import UsageError

from .clocks import HandClock

Either = MemoryCatalogue | SqliteCatalogue
HISTORY = 8


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture(params=["sqlite", "memory"])
def catalogue(request: pytest.FixtureRequest, tmp_path: Path, clock: HandClock) -> Iterator[Either]:
    made: Either
    if request.param == "sqlite":
        made = SqliteCatalogue(tmp_path / "catalogue.db", clock, history_length=HISTORY)
    else:
        made = MemoryCatalogue(clock, history_length=HISTORY)
    yield made
    made.close()


async def put(catalogue: Either, key: str, value: dict[str, Any], lease: int | None = None) -> int:
    return await catalogue.transact([], [Put(key, value, lease)])


async def take(commits: AsyncIterator[Commit], count: int) -> list[Commit]:
    return [await asyncio.wait_for(anext(commits), 10) for _ in range(count)]


async def test_a_document_is_read_as_it_was_put(catalogue: Either) -> None:
    value = {"text": "über", "n": 3, "x": 0.5, "yes": True, "none": None, "list": [1, {"a": []}], "nul": "\0"}
    revision = await put(catalogue, "cards/3", value)
    document = await catalogue.get("cards/3")
    assert document is not None
    assert (document.key, document.value) == ("cards/3", value)
    assert (document.revision, document.created, document.lease) == (revision, revision, None)


async def test_an_absent_key_reads_as_none(catalogue: Either) -> None:
    assert await catalogue.get("cards/3") is None


async def test_changing_what_was_read_changes_nothing_stored(catalogue: Either) -> None:
    given = {"list": [1]}
    await put(catalogue, "a", given)
    given["list"].append(2)
    document = await catalogue.get("a")
    assert document is not None
    document.value["list"].append(3)
    assert document.value == {"list": [1]}


async def test_revisions_count_transactions_and_creation_is_kept(catalogue: Either) -> None:
    first = await put(catalogue, "a", {})
    second = await put(catalogue, "a", {})
    document = await catalogue.get("a")
    assert document is not None
    assert (second, document.revision, document.created) == (first + 1, second, first)


async def test_a_key_that_was_deleted_begins_anew(catalogue: Either) -> None:
    await put(catalogue, "a", {})
    await catalogue.transact([], [Delete("a")])
    revision = await put(catalogue, "a", {})
    document = await catalogue.get("a")
    assert document is not None
    assert document.created == revision


async def test_list_gives_the_prefix_in_key_order_with_its_revision(catalogue: Either) -> None:
    for key in ("cards/3", "cards/10", "cards/2/1", "cards-old/1", "cards.x", "classes/a", "cards"):
        await put(catalogue, key, {"key": key})
    listing = await catalogue.list("cards/")
    assert [document.key for document in listing] == ["cards/10", "cards/2/1", "cards/3"]
    assert [document.value["key"] for document in listing] == ["cards/10", "cards/2/1", "cards/3"]
    assert (len(listing), listing.revision) == (3, 7)
    assert len(await catalogue.list("")) == 7
    assert len(await catalogue.list("nothing/")) == 0


async def test_a_transaction_makes_all_its_changes_at_one_revision(catalogue: Either) -> None:
    await put(catalogue, "old", {})
    revision = await catalogue.transact([], [Put("a", {"n": 1}), Delete("old"), Put("b", {"n": 2})])
    listing = await catalogue.list("")
    assert [(d.key, d.revision) for d in listing] == [("a", revision), ("b", revision)]


async def test_a_condition_that_fails_leaves_everything_as_it_was(catalogue: Either) -> None:
    revision = await put(catalogue, "a", {"n": 1})
    with pytest.raises(Conflict) as caught:
        await catalogue.transact(
            [Condition("b", ABSENT), Condition("a", revision + 1)], [Put("a", {"n": 2}), Put("b", {})]
        )
    assert caught.value.key == "a"
    assert caught.value.expected == "revision 2"
    assert caught.value.found == "revision 1"
    listing = await catalogue.list("")
    assert [(d.key, d.value) for d in listing] == [("a", {"n": 1})]
    assert listing.revision == revision


@pytest.mark.parametrize("exists", [False, True])
async def test_absent_means_that_the_key_does_not_exist(catalogue: Either, exists: bool) -> None:
    if exists:
        await put(catalogue, "a", {})
        with pytest.raises(Conflict, match="expected no document, found revision 1"):
            await catalogue.transact([Condition("a", ABSENT)], [Put("a", {})])
    else:
        assert await catalogue.transact([Condition.unchanged("a", None)], [Put("a", {})]) == 1


async def test_of_two_that_change_the_same_reading_one_wins(catalogue: Either) -> None:
    await put(catalogue, "a", {"n": 0})

    async def add_one() -> None:
        while True:
            document = await catalogue.get("a")
            assert document is not None
            try:
                await catalogue.transact(
                    [Condition.unchanged("a", document)], [Put("a", {"n": document.value["n"] + 1})]
                )
                return
            except Conflict:
                continue

    await asyncio.gather(*(add_one() for _ in range(5)))
    document = await catalogue.get("a")
    assert document is not None
    assert document.value == {"n": 5}


async def test_what_changes_nothing_takes_no_revision(catalogue: Either) -> None:
    await put(catalogue, "a", {})
    assert await catalogue.transact([Condition("a", 1)], []) == 1
    assert await catalogue.transact([], [Delete("absent")]) == 1


@pytest.mark.parametrize("key", ["", "/", "a/", "/a", "a//b", "a b", "a\n", "ä", "a" * 513, "a\0", "%2e"])
async def test_a_key_of_another_form_is_refused(catalogue: Either, key: str) -> None:
    with pytest.raises(UsageError, match="not a catalogue key"):
        await catalogue.get(key)
    with pytest.raises(UsageError, match="not a catalogue key"):
        await put(catalogue, key, {})
    with pytest.raises(UsageError, match="not a catalogue key"):
        await catalogue.transact([Condition(key, 0)], [])


@pytest.mark.parametrize("prefix", ["cards", "/", "a//", "a b/"])
async def test_a_prefix_that_cuts_a_segment_is_refused(catalogue: Either, prefix: str) -> None:
    with pytest.raises(UsageError, match="not a catalogue prefix"):
        await catalogue.list(prefix)
    with pytest.raises(UsageError, match="not a catalogue prefix"):
        catalogue.watch(prefix, 0)


@pytest.mark.parametrize(
    ("value", "where"),
    [
        ({"a": {"b": float("nan")}}, "k.a.b"),
        ({"a": [1, float("inf")]}, r"k.a\[1\]"),
        ({"a": (1, 2)}, "k.a"),
        ({"a": b"raw"}, "k.a"),
        ({"a": {1: 2}}, "k.a"),
        ({"a": "\ud800"}, "k.a"),
        ({"a": object()}, "k.a"),
    ],
)
async def test_a_value_that_json_would_change_is_refused_by_name(
    catalogue: Either, value: dict[str, Any], where: str
) -> None:
    with pytest.raises(UsageError, match=f"^{where}: cannot be stored as JSON"):
        await put(catalogue, "k", value)


async def test_transactions_beyond_the_limits_are_refused(catalogue: Either) -> None:
    many = [Put(f"k/{n}", {}) for n in range(MAX_TRANSACTION_ITEMS + 1)]
    assert await catalogue.transact([], many[1:]) == 1
    with pytest.raises(UsageError, match="too many changes"):
        await catalogue.transact([], many)
    with pytest.raises(UsageError, match="too many conditions"):
        await catalogue.transact([Condition("a", 0)] * (MAX_TRANSACTION_ITEMS + 1), [])
    with pytest.raises(UsageError, match="too large"):
        await put(catalogue, "a", {"x": "ü" * (MAX_TRANSACTION_BYTES // 2)})
    with pytest.raises(UsageError, match="twice"):
        await catalogue.transact([], [Put("a", {}), Delete("a")])


async def test_a_watch_tells_every_commit_under_its_prefix_in_order(catalogue: Either) -> None:
    await put(catalogue, "cards/1", {"n": 0})
    start = (await catalogue.list("cards/")).revision
    commits = catalogue.watch("cards/", start)
    await put(catalogue, "cards/1", {"n": 1})
    await put(catalogue, "other", {})
    await catalogue.transact([], [Put("cards/2", {}), Delete("cards/1"), Put("other", {})])
    seen = await take(commits, 2)
    assert [commit.revision for commit in seen] == [2, 4]
    (first,) = seen[0].changes
    assert first.document is not None
    assert (first.key, first.document.value) == ("cards/1", {"n": 1})
    assert seen[1].changes == (Change("cards/1", None), Change("cards/2", await catalogue.get("cards/2")))


async def test_a_watch_waits_for_what_comes_later(catalogue: Either) -> None:
    waiting = asyncio.create_task(take(catalogue.watch("", 0), 1))
    await asyncio.sleep(0)
    assert not waiting.done()
    await put(catalogue, "a", {})
    assert [commit.revision for commit in await waiting] == [1]


async def test_a_watch_can_be_taken_up_again_where_it_ended(catalogue: Either) -> None:
    for n in range(4):
        await put(catalogue, "a", {"n": n})
    assert [commit.revision for commit in await take(catalogue.watch("", 0), 2)] == [1, 2]
    assert [commit.revision for commit in await take(catalogue.watch("", 2), 2)] == [3, 4]


async def test_a_watch_that_reaches_too_far_back_or_ahead_is_told_to_list_again(catalogue: Either) -> None:
    for n in range(HISTORY + 1):
        await put(catalogue, "a", {"n": n})
    for after in (0, HISTORY + 2):
        with pytest.raises(HistoryGone, match=f"expected a revision from 1 to {HISTORY + 1}, found {after}"):
            await anext(catalogue.watch("", after))
    assert len(await take(catalogue.watch("", 1), HISTORY)) == HISTORY


async def test_a_watcher_of_a_quiet_prefix_does_not_fall_behind(catalogue: Either) -> None:
    waiting = asyncio.create_task(take(catalogue.watch("quiet/", 0), 1))
    for n in range(3 * HISTORY):
        await put(catalogue, "busy", {"n": n})
    revision = await put(catalogue, "quiet/a", {})
    assert [commit.revision for commit in await waiting] == [revision]


async def test_watches_end_when_the_catalogue_is_closed(catalogue: Either) -> None:
    await put(catalogue, "a", {})
    commits = catalogue.watch("", 0)
    assert len(await take(commits, 1)) == 1
    catalogue._history.close()
    with pytest.raises(StopAsyncIteration):
        await anext(commits)


async def test_a_cancelled_transaction_is_whole_and_is_told_to_watchers(catalogue: Either) -> None:
    writing = asyncio.create_task(catalogue.transact([], [Put("a", {}), Put("b", {})]))
    await asyncio.sleep(0)
    writing.cancel()
    await asyncio.gather(writing, return_exceptions=True)
    listing = await catalogue.list("")
    assert len(listing) in (0, 2)
    revision = await put(catalogue, "c", {})
    seen = await take(catalogue.watch("", 0), revision)
    assert [commit.revision for commit in seen] == list(range(1, revision + 1))


async def test_what_hangs_on_a_lease_vanishes_with_it(catalogue: Either, clock: HandClock) -> None:
    lease = await catalogue.grant(10)
    await put(catalogue, "a", {}, lease)
    await put(catalogue, "b", {})
    clock.advance(9.5)
    assert await catalogue.get("a") is not None
    clock.advance(0.5)
    assert await catalogue.get("a") is None
    assert [document.key for document in await catalogue.list("")] == ["b"]


async def test_a_lease_kept_alive_runs_its_full_time_again(catalogue: Either, clock: HandClock) -> None:
    lease = await catalogue.grant(10)
    await put(catalogue, "a", {}, lease)
    clock.advance(9)
    await catalogue.keep_alive(lease)
    clock.advance(9)
    assert await catalogue.get("a") is not None
    clock.advance(1)
    assert await catalogue.get("a") is None


async def test_a_lapsed_or_unknown_lease_is_refused(catalogue: Either, clock: HandClock) -> None:
    lease = await catalogue.grant(10)
    clock.advance(10)
    for number in (lease, 99):
        with pytest.raises(LeaseGone):
            await catalogue.keep_alive(number)
        with pytest.raises(LeaseGone):
            await catalogue.transact([], [Put("b", {}), Put("a", {}, number)])
    assert len(await catalogue.list("")) == 0
    assert await catalogue.grant(10) != lease


async def test_watchers_see_a_lease_lapse(catalogue: Either, clock: HandClock) -> None:
    lease = await catalogue.grant(10)
    await catalogue.transact([], [Put("a", {}, lease), Put("b", {}, lease)])
    assert await catalogue.expire() == 10
    clock.advance(10)
    assert await catalogue.expire() is None
    (_, lapsed) = await take(catalogue.watch("", 0), 2)
    assert lapsed == Commit(2, (Change("a", None), Change("b", None)))


async def test_a_document_put_without_its_lease_stays(catalogue: Either, clock: HandClock) -> None:
    lease = await catalogue.grant(10)
    await put(catalogue, "a", {}, lease)
    await put(catalogue, "a", {})
    clock.advance(11)
    assert await catalogue.get("a") is not None


@pytest.mark.parametrize("seconds", [0, -1, float("inf"), float("nan")])
async def test_a_lease_needs_a_time(catalogue: Either, seconds: float) -> None:
    with pytest.raises(UsageError, match="not a time for a lease"):
        await catalogue.grant(seconds)
