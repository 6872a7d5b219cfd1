"""The catalogue as its users see it: documents under keys, transactions, watches, leases (docs/CATALOGUE.md).

Knows keys, revisions and limits. Knows no card, image or package, and no back end.
"""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from firmware_mgr.model.errors import UsageError

#: The revision that a key has while it does not exist.
ABSENT: Final = 0

#: etcd's default --max-txn-ops; it holds for the conditions and for the changes, each.
MAX_TRANSACTION_ITEMS: Final = 128
#: All values of a transaction together, in bytes of JSON; etcd's --max-request-bytes is 1.5 MiB.
MAX_TRANSACTION_BYTES: Final = 1 << 20
MAX_KEY_CHARACTERS: Final = 512

_SEGMENT = r"[A-Za-z0-9._+~:\-]+"
_KEY = re.compile(rf"{_SEGMENT}(?:/{_SEGMENT})*")
_PREFIX = re.compile(rf"(?:{_SEGMENT}/)*")
_SURROGATE = re.compile("[\ud800-\udfff]")


class Conflict(UsageError):
    """A condition of a transaction did not hold; nothing was changed. Read again and decide again."""

    def __init__(self, key: str, expected: int, found: int) -> None:
        self.key = key
        super().__init__(
            "the document has changed meanwhile",
            where=key,
            expected=_revision_text(expected),
            found=_revision_text(found),
            hint="nothing was written; try again",
        )


class HistoryGone(UsageError):
    """A watch begins at a revision that the history does not hold. List again, then watch."""

    def __init__(self, after: int, first: int, last: int) -> None:
        super().__init__(
            "the catalogue has no history from there",
            expected=f"a revision from {first} to {last}",
            found=after,
            hint="list again and watch from the listing's revision",
        )


class LeaseGone(UsageError):
    """The lease has lapsed or never was; what was bound to it is gone."""

    def __init__(self, lease: int) -> None:
        super().__init__("no such lease", found=lease, hint="grant a new one")


@dataclass(frozen=True, slots=True)
class Document:
    """A value as stored: `text` is its JSON, `revision` that of its last change, `created` of its first."""

    key: str
    text: str
    revision: int
    created: int
    lease: int | None = None

    @property
    def value(self) -> dict[str, Any]:
        """The value, decoded anew at each call: changing it changes nothing stored."""
        value: dict[str, Any] = json.loads(self.text)
        return value


@dataclass(frozen=True, slots=True)
class Listing:
    """The documents under a prefix in key order, as they were at `revision`."""

    documents: tuple[Document, ...]
    revision: int

    def __iter__(self) -> Iterator[Document]:
        return iter(self.documents)

    def __len__(self) -> int:
        return len(self.documents)


@dataclass(frozen=True, slots=True)
class Condition:
    """The key has this revision, or does not exist (ABSENT)."""

    key: str
    revision: int

    @classmethod
    def unchanged(cls, key: str, document: Document | None) -> Condition:
        """The key is as it was read: `document`, or still absent."""
        return cls(key, ABSENT if document is None else document.revision)


@dataclass(frozen=True, slots=True)
class Put:
    """Store the value (JSON: text, numbers, booleans, None, lists, mappings with text keys) under the key.

    With a lease, the document vanishes when the lease lapses; without one, it stays, whatever it was before.
    """

    key: str
    value: Mapping[str, Any]
    lease: int | None = None


@dataclass(frozen=True, slots=True)
class Delete:
    """Remove the key. Removing what does not exist is no change and no error."""

    key: str


@dataclass(frozen=True, slots=True)
class Change:
    """What a key became: its new document, or None when it was removed."""

    key: str
    document: Document | None


@dataclass(frozen=True, slots=True)
class Commit:
    """One transaction, as far as it touched the watched prefix."""

    revision: int
    changes: tuple[Change, ...]


class Catalogue(Protocol):
    """Six methods that SQLite, memory and etcd can all serve whole. Storage that fails raises DeviceError."""

    async def get(self, key: str) -> Document | None: ...

    async def list(self, prefix: str) -> Listing: ...

    async def transact(self, conditions: Sequence[Condition], changes: Sequence[Put | Delete]) -> int:
        """Make all changes, or none and raise Conflict or LeaseGone. Returns the revision after it.

        When it returns, the changes survive a power cut. Changing nothing takes no revision.
        """
        ...

    def watch(self, prefix: str, after: int) -> AsyncIterator[Commit]:
        """Every commit after that revision which touches the prefix, oldest first, until it is closed.

        Raises HistoryGone, at the first step or when the reader falls too far behind.
        """
        ...

    async def grant(self, seconds: float) -> int:
        """A new lease that lapses after so many seconds without keep_alive."""
        ...

    async def keep_alive(self, lease: int) -> None:
        """The lease runs its full time again, from now. Raises LeaseGone."""
        ...


@dataclass(frozen=True, slots=True)
class Prepared:
    """A transaction whose every part has been checked; values are JSON text."""

    conditions: tuple[Condition, ...]
    puts: tuple[tuple[str, str, int | None], ...]
    deletes: tuple[str, ...]


def prepare(conditions: Sequence[Condition], changes: Sequence[Put | Delete]) -> Prepared:
    """Check a transaction against the rules that hold for every back end. Raises UsageError."""
    for name, items in (("conditions", len(conditions)), ("changes", len(changes))):
        if items > MAX_TRANSACTION_ITEMS:
            raise UsageError(
                f"too many {name} in a transaction", expected=f"at most {MAX_TRANSACTION_ITEMS}", found=items
            )
    keys = [check_key(change.key) for change in changes]
    if len(keys) != len(set(keys)):
        raise UsageError("a key is changed twice in a transaction", found=", ".join(keys))
    for condition in conditions:
        check_key(condition.key)
        if condition.revision < ABSENT:
            raise UsageError(
                "not a revision", where=condition.key, expected="0 or more", found=condition.revision
            )
    puts = tuple((c.key, encode_value(c.value, c.key), c.lease) for c in changes if isinstance(c, Put))
    size = sum(len(text.encode()) for _, text, _ in puts)
    if size > MAX_TRANSACTION_BYTES:
        raise UsageError(
            "a transaction is too large", expected=f"at most {MAX_TRANSACTION_BYTES} bytes", found=size
        )
    return Prepared(tuple(conditions), puts, tuple(c.key for c in changes if isinstance(c, Delete)))


def check_key(key: str) -> str:
    """Return the key if it is one; raise UsageError otherwise."""
    if len(key) > MAX_KEY_CHARACTERS or not _KEY.fullmatch(key):
        raise UsageError(
            "not a catalogue key",
            expected="segments of letters, digits, . _ + ~ : - joined by /",
            found=repr(key),
        )
    return key


def check_prefix(prefix: str) -> str:
    """Return the prefix if it is one; raise UsageError otherwise."""
    if len(prefix) > MAX_KEY_CHARACTERS or not _PREFIX.fullmatch(prefix):
        raise UsageError(
            "not a catalogue prefix", expected="nothing, or segments each ending in /", found=repr(prefix)
        )
    return prefix


def check_seconds(seconds: float) -> float:
    """Return the time of a lease if it is one; raise UsageError otherwise."""
    if not 0 < seconds < float("inf"):
        raise UsageError("not a time for a lease", expected="seconds over 0", found=seconds)
    return seconds


def encode_value(value: Mapping[str, Any], key: str) -> str:
    """The value as JSON that decodes to an equal value. Raises UsageError naming the field."""
    if not isinstance(value, Mapping):
        raise UsageError("not a document", where=key, expected="a mapping", found=type(value).__name__)
    return json.dumps(_json_ready(value, key), sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def _json_ready(value: Any, where: str) -> Any:
    match value:
        case None | bool() | int():
            return value
        case str() if _SURROGATE.search(value) is None:
            return value
        case float() if value - value == 0:  # neither infinite nor NaN
            return value
        case list():
            return [_json_ready(item, f"{where}[{index}]") for index, item in enumerate(value)]
        case Mapping() if all(isinstance(name, str) for name in value):
            return {
                _json_ready(name, where): _json_ready(item, f"{where}.{name}") for name, item in value.items()
            }
    raise UsageError("cannot be stored as JSON", where=where, found=f"{type(value).__name__} {value!r:.60}")


def _revision_text(revision: int) -> str:
    return "no document" if revision == ABSENT else f"revision {revision}"
