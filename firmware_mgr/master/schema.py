"""How a dataclass becomes a document with a kind and a schema number, and an old document a new one.

Knows schemas and migrations, all pure. Knows no particular kind, and no storage.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

from firmware_mgr.link.wire import from_plain, to_plain
from firmware_mgr.model.errors import PeerError, UsageError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

#: The fields of the envelope, beside those of the record.
KIND: Final = "document"
SCHEMA: Final = "schema"

T = TypeVar("T", bound="DataclassInstance")

#: Makes the fields of schema n+1 out of those of schema n; it must not change what it is given.
Migration = Callable[[Mapping[str, Any]], Mapping[str, Any]]


@dataclass(frozen=True)
class Schema(Generic[T]):
    """The documents of one kind. `record` is the dataclass, `number` today's schema; `migrations` maps each
    older number to the step that leads to the next.
    """

    kind: str
    record: type[T]
    number: int = 1
    migrations: Mapping[int, Migration] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.number < 1 or sorted(self.migrations) != list(range(1, self.number)):
            raise UsageError(
                "migrations do not lead to today's schema",
                where=self.kind,
                expected=f"one from each of 1 to {self.number - 1}",
                found=sorted(self.migrations),
            )
        taken = {KIND, SCHEMA}.intersection(f.name for f in dataclasses.fields(self.record))
        if taken:
            raise UsageError("a field has the name of an envelope's", where=self.kind, found=", ".join(taken))

    def write(self, record: T) -> dict[str, Any]:
        """The document of a record, JSON-ready."""
        fields: dict[str, Any] = to_plain(record)
        return {KIND: self.kind, SCHEMA: self.number, **fields}

    def read(self, value: Mapping[str, Any], where: str) -> T:
        """The record of a document, migrated when it is old.

        Raises UsageError for a newer schema, and PeerError naming `where` (its key) and the field for one of
        another kind, or with a field missing, unknown or ill-typed.
        """
        fields = dict(value)
        if (kind := fields.pop(KIND, None)) != self.kind:
            raise PeerError("document of another kind", where=where, expected=self.kind, found=kind)
        fields = self._migrated(fields, fields.pop(SCHEMA, None), where)
        record = from_plain(self.record, fields, where)
        known = self.write(record)
        for name, given in fields.items():
            if name not in known:
                raise PeerError("unknown field", where=where, found=name)
            if given != known[name]:
                raise PeerError("unusable value", where=f"{where}.{name}", expected=known[name], found=given)
        return record

    def _migrated(self, fields: Mapping[str, Any], number: Any, where: str) -> dict[str, Any]:
        if type(number) is not int or number < 1:
            raise PeerError("no schema number", where=where, expected="1 or more", found=number)
        if number > self.number:
            raise UsageError(
                f"this {self.kind} was written by a newer fwmgr",
                where=where,
                expected=f"schema {self.number} or older",
                found=f"schema {number}",
                hint="run the newer version again, or restore a backup",
            )
        for step in range(number, self.number):
            try:
                fields = self.migrations[step](fields)
            except (LookupError, TypeError, ValueError) as e:
                raise PeerError(f"cannot be migrated from schema {step}", where=where, found=repr(e)) from e
        return dict(fields)
