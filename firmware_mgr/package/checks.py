"""Checks that all tables share: names in order, a checked value's refusal. Knows text and numbers only."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NoReturn

from firmware_mgr.model.errors import UsageError
from firmware_mgr.package.layout import MAX_LIST
from firmware_mgr.package.layout_tables import MAX_FILES, MAX_NAMES


def check_set(names: Sequence[Any], what: str, limit: int = MAX_LIST) -> None:
    """Return when the names are sorted, each once, and not too many; raise UsageError otherwise."""
    if len(names) > limit:
        raise UsageError("list is too long", where=what, expected=f"{limit} at most", found=len(names))
    for before, after in pairwise(names):
        if before >= after:
            raise UsageError("not sorted and unique", where=what, found=f"{before!r} before {after!r}")


def check_names(count: int) -> None:
    """Return when a package may have so many names of APIs, groups and boards; raise UsageError otherwise."""
    if count > MAX_NAMES:
        raise UsageError(
            "too many names of APIs, groups and boards", expected=f"{MAX_NAMES} at most", found=count
        )


def check_files(count: int) -> None:
    """Return when the members of a bundle may have so many files; raise UsageError otherwise."""
    if count > MAX_FILES:
        raise UsageError("too many files", expected=f"{MAX_FILES} at most", found=count)


def check_range(value: int, limit: int, what: str, where: str = "") -> None:
    """Return when 0 ≤ value ≤ limit; raise UsageError otherwise."""
    if not 0 <= value <= limit:
        raise UsageError(what, where=where, expected=f"0 to {limit}", found=value)


def refuse(where: str, what: str, expected: object, found: object) -> NoReturn:
    """Raise UsageError."""
    raise UsageError(what, where=where, expected=expected, found=found)
