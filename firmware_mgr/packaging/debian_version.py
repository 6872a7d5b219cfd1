"""Versions as Debian's control files write them (deb-version(7)), and relations such as `>= 3.0`.

Knows what such a version may look like; in which order versions are is `model.versions`'.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable
from functools import total_ordering
from typing import Final

from firmware_mgr.model.errors import PeerError
from firmware_mgr.model.versions import debian_order

_VERSION = re.compile(r"(?:[0-9]+:)?[A-Za-z0-9.+~\-]+")
#: A rebuild of the same source: 1.0-1+b2.
_REBUILD = re.compile(r"\+b[0-9]+$")


@total_ordering
class DebianVersion:
    """A version; equal ones may be written in several ways (1.0 and 1.00)."""

    __slots__ = ("_order", "text")

    def __init__(self, text: str) -> None:
        if len(text) > 255 or not _VERSION.fullmatch(text):
            raise PeerError("not a version of Debian's form", expected="such as 1:2.3-4", found=repr(text))
        self.text = text
        self._order = debian_order(text)

    @property
    def source(self) -> str:
        """The version of the source: without the number of a mere rebuild."""
        return _REBUILD.sub("", self.text)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, DebianVersion) and self._order == other._order

    def __lt__(self, other: DebianVersion) -> bool:
        return self._order < other._order

    def __hash__(self) -> int:
        return hash(self._order)


#: Of deb-control(5); `<` and `>` are old forms of `<=` and `>=`.
RELATIONS: Final[dict[str, Callable[[DebianVersion, DebianVersion], bool]]] = {
    "<<": operator.lt,
    "<=": operator.le,
    "=": operator.eq,
    ">=": operator.ge,
    ">>": operator.gt,
    "<": operator.le,
    ">": operator.ge,
}
