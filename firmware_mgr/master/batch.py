"""More changes than one transaction takes, made all or not at all: written down first, then done.

Knows transactions and their limits. A batch has happened when its commit is written; whoever reads the
catalogue calls `take_up` before. Nobody else may change the same keys meanwhile (docs/COMPOSITES.md).
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from firmware_mgr.master.catalogue import (
    MAX_TRANSACTION_BYTES,
    MAX_TRANSACTION_ITEMS,
    Catalogue,
    Delete,
    Document,
    Put,
)
from firmware_mgr.master.schema import Schema
from firmware_mgr.model.errors import DeviceError

BATCHES: Final = "batches/"
COMMITS: Final = "batch-commits/"

#: A part is applied with one more change in its transaction: itself goes.
PART_ITEMS: Final = MAX_TRANSACTION_ITEMS - 1
#: Of a part's changes as JSON; keys and the form around them come on top.
PART_BYTES: Final = MAX_TRANSACTION_BYTES * 3 // 4


@dataclass(frozen=True, slots=True)
class Item:
    """A change of one key; None removes it."""

    key: str
    value: dict[str, Any] | None


@dataclass(frozen=True, slots=True)
class Part:
    items: tuple[Item, ...]


@dataclass(frozen=True, slots=True)
class BatchCommit:
    """All parts are there."""

    parts: int


PART: Final = Schema("batch", Part)
COMMIT: Final = Schema("batch-commit", BatchCommit)


class HalfDone(Exception):
    """It has happened, and could not be carried through: what is in memory is not what the catalogue says.

    No FwmgrError, so that nobody goes on with that: it ends the process, and the next one takes it up.
    """

    def __init__(self, cause: DeviceError) -> None:
        super().__init__(
            f"a change is written down and was not carried through; a new master does that: {cause}"
        )


class Batches:
    """Use `take_up` before anything is read."""

    def __init__(
        self, catalogue: Catalogue, new_id: Callable[[], str] = lambda: secrets.token_hex(8)
    ) -> None:
        self._catalogue = catalogue
        self._new_id = new_id

    async def apply(self, changes: Sequence[Put | Delete]) -> None:
        """All of them, or none and what `transact` raises; HalfDone when it has happened and is not done.

        No two changes of one key. A lease cannot be given.
        """
        parts = split(changes)
        if len(parts) < 2:
            await self._catalogue.transact([], changes)
            return
        identifier = self._new_id()
        try:
            for number, part in enumerate(parts):
                key = f"{BATCHES}{identifier}/{number:06}"
                await self._catalogue.transact([], [Put(key, PART.write(part))])
            commit = Put(f"{COMMITS}{identifier}", COMMIT.write(BatchCommit(len(parts))))
            await self._catalogue.transact([], [commit])
        except DeviceError:
            await self._throw_away()  # a full disk needs the room
            raise
        try:
            await self._finish(identifier)
        except DeviceError as e:
            raise HalfDone(e) from e

    async def take_up(self) -> int:
        """Carry through what has happened, throw away what has not; how many were carried through."""
        commits = await self._catalogue.list(COMMITS)
        for document in commits:
            await self._finish(document.key.removeprefix(COMMITS))
        await self._throw_away()
        return len(commits)

    async def _throw_away(self) -> None:
        """Parts without a commit: whoever wrote them has not decided."""
        if await self._catalogue.list(COMMITS):
            return
        for left in await self._catalogue.list(BATCHES):
            await self._catalogue.transact([], [Delete(left.key)])

    async def _finish(self, identifier: str) -> None:
        for document in await self._catalogue.list(f"{BATCHES}{identifier}/"):
            changes = [_change(item) for item in _part(document).items]
            await self._catalogue.transact([], [*changes, Delete(document.key)])
        await self._catalogue.transact([], [Delete(f"{COMMITS}{identifier}")])


def split(changes: Sequence[Put | Delete]) -> list[Part]:
    """Parts that a transaction takes, in order. A change that is too large alone is left to `transact`."""
    parts: list[Part] = []
    items: list[Item] = []
    size = 0
    for change in changes:
        value = dict(change.value) if isinstance(change, Put) else None
        length = 0 if value is None else len(json.dumps(value).encode())
        if items and (len(items) == PART_ITEMS or size + length > PART_BYTES):
            parts.append(Part(tuple(items)))
            items, size = [], 0
        items.append(Item(change.key, value))
        size += length
    return [*parts, Part(tuple(items))] if items else parts


def _part(document: Document) -> Part:
    value: Mapping[str, Any] = document.value
    return PART.read(value, document.key)


def _change(item: Item) -> Put | Delete:
    return Delete(item.key) if item.value is None else Put(item.key, item.value)
