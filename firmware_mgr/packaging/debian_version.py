"""Versions as Debian orders them (deb-version(7)), and whether one meets a relation such as `>= 3.0`.

Knows text only.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable
from functools import total_ordering
from typing import Final

from firmware_mgr.model.errors import PeerError

_VERSION = re.compile(r"(?:(?P<epoch>[0-9]+):)?(?P<rest>[A-Za-z0-9.+~:\-]+)")
_PARTS = re.compile(r"([^0-9]*)([0-9]*)")
#: A rebuild of the same source: 1.0-1+b2.
_REBUILD = re.compile(r"\+b[0-9]+$")


@total_ordering
class DebianVersion:
    """A version; equal ones may be written in several ways (1.0 and 1.00)."""

    __slots__ = ("_key", "text")

    def __init__(self, text: str) -> None:
        match = _VERSION.fullmatch(text)
        if match is None or len(text) > 255:
            raise PeerError("not a version of Debian's form", expected="such as 1:2.3-4", found=repr(text))
        self.text = text
        upstream, _, revision = (
            match["rest"].rpartition("-") if "-" in match["rest"] else (match["rest"], "", "")
        )
        self._key = (int(match["epoch"] or 0), _key(upstream), _key(revision))

    @property
    def source(self) -> str:
        """The version of the source: without the number of a mere rebuild."""
        return _REBUILD.sub("", self.text)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, DebianVersion) and self._key == other._key

    def __lt__(self, other: DebianVersion) -> bool:
        return self._key < other._key

    def __hash__(self) -> int:
        return hash(self._key)


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


def _key(text: str) -> tuple[tuple[tuple[int, ...], int], ...]:
    """Pairs of letters and number; `~` goes before the end, that before letters, these before the rest."""
    pairs = [
        ((*(_letter(character) for character in letters), 0), int(digits or 0))
        for letters, digits in _PARTS.findall(text)
        if letters or digits
    ]
    return (*pairs, ((0,), 0))


def _letter(character: str) -> int:
    if character == "~":
        return -1
    return ord(character) if character.isalpha() else ord(character) + 256
