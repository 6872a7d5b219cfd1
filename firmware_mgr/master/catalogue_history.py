"""The last commits of a catalogue, kept in memory for its watchers.

Knows commits and who waits for them. Knows no storage; one event loop uses it.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from itertools import islice

from firmware_mgr.master.catalogue import Change, Commit, HistoryGone, check_prefix

#: How many commits a watcher may lie behind.
HISTORY_LENGTH = 4096


class History:
    """Commits of consecutive revisions, the oldest forgotten first. A slow reader costs no memory."""

    def __init__(self, revision: int, length: int = HISTORY_LENGTH) -> None:
        self._first = revision
        self._last = revision
        self._length = length
        self._commits: deque[Commit] = deque()
        self._news = asyncio.Event()
        self._closed = False

    def publish(self, commit: Commit) -> None:
        """Add the commit that follows the last one and wake the watchers."""
        assert commit.revision == self._last + 1, "commits are published in order"
        self._commits.append(commit)
        self._last = commit.revision
        if len(self._commits) > self._length:
            self._first = self._commits.popleft().revision
        self._wake()

    def close(self) -> None:
        """End every watch after what it has not read yet."""
        self._closed = True
        self._wake()

    def watch(self, prefix: str, after: int) -> AsyncIterator[Commit]:
        """Catalogue.watch: the prefix is checked at once, the revision at the first step."""
        return self._follow(check_prefix(prefix), after)

    async def _follow(self, prefix: str, position: int) -> AsyncIterator[Commit]:
        while True:
            news = self._news
            if not self._first <= position <= self._last:
                raise HistoryGone(position, self._first, self._last)
            for commit in list(islice(self._commits, position - self._first, None)):
                position = commit.revision
                seen = touching(commit, prefix)
                if seen.changes:
                    yield seen
            if position == self._last:
                if self._closed:
                    return
                await news.wait()

    def _wake(self) -> None:
        self._news.set()
        self._news = asyncio.Event()


def touching(commit: Commit, prefix: str) -> Commit:
    """The commit with only the changes under the prefix."""
    changes: tuple[Change, ...] = tuple(change for change in commit.changes if change.key.startswith(prefix))
    return Commit(commit.revision, changes)
