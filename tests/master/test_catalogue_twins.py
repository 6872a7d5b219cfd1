"""The twin in memory and the SQLite catalogue give the same answers to any sequence of calls."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from firmware_mgr.master.catalogue import Commit, Condition, Delete, Put
from firmware_mgr.master.catalogue_memory import MemoryCatalogue
from firmware_mgr.master.catalogue_sqlite import SqliteCatalogue
from firmware_mgr.model.errors import UsageError

from .clocks import HandClock

HISTORY = 5

keys = st.sampled_from(["a", "a/b", "a/c", "a/c/d", "b/a", "a0", "a.b/c", "z"])
prefixes = st.sampled_from(["", "a/", "a/c/", "b/", "z/", "a.b/"])
leases = st.sampled_from([None, None, 1, 2])
values = st.dictionaries(
    st.text(max_size=3), st.none() | st.booleans() | st.integers() | st.text(), max_size=3
)
conditions = st.just([]) | st.lists(st.builds(Condition, keys, st.integers(0, 12)), max_size=2)
changes = st.lists(st.builds(Put, keys, values, leases) | st.builds(Delete, keys), max_size=4)

Either = MemoryCatalogue | SqliteCatalogue


class Twins(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.directory = tempfile.TemporaryDirectory()
        self.clock = HandClock()
        self.memory = MemoryCatalogue(self.clock, HISTORY)
        self.sqlite = self.open()

    def open(self) -> SqliteCatalogue:
        return SqliteCatalogue(Path(self.directory.name) / "catalogue.db", self.clock, HISTORY)

    def both(self, call: Callable[[Either], Awaitable[Any]]) -> Any:
        answers = [self.loop.run_until_complete(answer(call, twin)) for twin in (self.memory, self.sqlite)]
        assert answers[0] == answers[1]
        listings = [self.loop.run_until_complete(twin.list("")) for twin in (self.memory, self.sqlite)]
        assert listings[0] == listings[1]
        return answers[0]

    @initialize()
    def begin(self) -> None:
        self.both(lambda twin: twin.transact([], [Put(key, {}) for key in ("a", "a/b", "a0", "b/a")]))
        self.both(lambda twin: twin.grant(15))

    @rule(conditions=conditions, changes=changes)
    def transact(self, conditions: list[Condition], changes: list[Put | Delete]) -> None:
        self.both(lambda twin: twin.transact(conditions, changes))

    @rule(changes=st.lists(st.builds(Put, keys, values), min_size=1, max_size=2, unique_by=lambda c: c.key))
    def put_what_was_read(self, changes: list[Put]) -> None:
        async def put(twin: Either) -> int:
            read = [Condition.unchanged(c.key, await twin.get(c.key)) for c in changes]
            return await twin.transact(read, changes)

        assert isinstance(self.both(put), int)

    @rule(key=keys)
    def get(self, key: str) -> None:
        self.both(lambda twin: twin.get(key))

    @rule(prefix=prefixes)
    def list_prefix(self, prefix: str) -> None:
        self.both(lambda twin: twin.list(prefix))

    @rule(prefix=prefixes, back=st.integers(-1, 7))
    def watch(self, prefix: str, back: int) -> None:
        async def seen(twin: Either) -> list[Commit]:
            revision = (await twin.list("")).revision
            watching = twin.watch(prefix, max(0, revision - back))
            commits = []
            while True:
                step = asyncio.ensure_future(anext(watching))
                await asyncio.sleep(0)
                if not step.done():
                    step.cancel()
                    return commits
                commits.append(step.result())

        self.both(seen)

    @rule(seconds=st.integers(1, 20))
    def grant(self, seconds: int) -> None:
        self.both(lambda twin: twin.grant(seconds))

    @rule(lease=st.integers(1, 4))
    def keep_alive(self, lease: int) -> None:
        self.both(lambda twin: twin.keep_alive(lease))

    @rule(seconds=st.integers(1, 10))
    def time_goes_by(self, seconds: int) -> None:
        self.clock.advance(seconds)
        self.both(lambda twin: twin.expire())

    @rule()
    def start_again(self) -> None:
        """A start makes no difference but that every lease runs its full time again."""
        self.sqlite.close()
        restarted, revision = self.open(), self.loop.run_until_complete(self.memory.list("")).revision
        restarted._history = self.sqlite._history  # what is in memory only is not compared here
        restarted._history._closed = False
        self.sqlite = restarted
        for lease in tuple(self.memory._leases):
            self.loop.run_until_complete(self.memory.keep_alive(lease))
        assert revision == self.loop.run_until_complete(self.sqlite.list("")).revision

    def teardown(self) -> None:
        self.sqlite.close()
        self.loop.close()
        self.directory.cleanup()


async def answer(call: Callable[[Either], Awaitable[Any]], twin: Either) -> object:
    """What the twin says: a value, or the text of its refusal."""
    try:
        return await call(twin)
    except UsageError as e:
        return f"{type(e).__name__}: {e}"


TestTwins = Twins.TestCase
TestTwins.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
