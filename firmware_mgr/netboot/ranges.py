"""Which bytes an HTTP client asks for: Range and If-Range of RFC 9110 §13.1.5 and §14.

Knows header text and a length. Pure. Single ranges only: RFC 9110 §14.2 lets a server send the whole
for others.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_SINGLE = re.compile(
    r"bytes=[ \t]*(?:(?P<first>[0-9]{1,18})-(?P<last>[0-9]{1,18})?|-(?P<suffix>[0-9]{1,18}))[ \t]*", re.I
)


@dataclass(frozen=True, slots=True)
class Whole:
    """All of it, 200."""


@dataclass(frozen=True, slots=True)
class Part:
    """Bytes `first` to `last`, both included, 206."""

    first: int
    last: int

    @property
    def length(self) -> int:
        return self.last - self.first + 1


@dataclass(frozen=True, slots=True)
class Unsatisfiable:
    """Nothing of it is there, 416."""


Selection = Whole | Part | Unsatisfiable


def select(range_header: str | None, if_range: str | None, *, length: int, etag: str) -> Selection:
    """`etag` is the strong tag with its quotes. If-Range by date never matches: no Last-Modified is told."""
    if range_header is None or (if_range is not None and if_range.strip() != etag):
        return Whole()
    match = _SINGLE.fullmatch(range_header)
    if match is None:
        return Whole()
    if match["suffix"] is not None:
        suffix = min(int(match["suffix"]), length)
        return Part(length - suffix, length - 1) if suffix else Unsatisfiable()
    first = int(match["first"])
    last = int(match["last"]) if match["last"] is not None else length - 1
    if match["last"] is not None and last < first:
        return Whole()  # no valid range, RFC 9110 §14.1.2
    if first >= length:
        return Unsatisfiable()
    return Part(first, min(last, length - 1))
