"""Where the objects of a marshalled code object of Python 3.11 are: types and lengths, without loading any.

Knows the form that `Python/marshal.c` of 3.11 writes. Refuses to make an object of what it reads.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

FLAG_REF: Final = 0x80
MAX_DEPTH: Final = 100
CODE: Final = ord("c")
REF: Final = ord("r")
NULL: Final = ord("0")
DICT: Final = ord("{")
LONG: Final = ord("l")
BARE: Final = b"NTFS."
FIXED: Final = {ord("i"): 4, ord("I"): 8, ord("g"): 8, ord("y"): 16}
ASCII: Final = b"aAzZ"
TEXTS: Final = {ord("a"): 4, ord("A"): 4, ord("u"): 4, ord("t"): 4, ord("z"): 1, ord("Z"): 1}
COUNTED_BYTES: Final = {**TEXTS, ord("s"): 4, ord("f"): 1}
SEQUENCES: Final = {ord("("): 4, ord(")"): 1, ord("["): 4, ord("<"): 4, ord(">"): 4}
# The fields of a code object: numbers, then objects, then a number, then objects.
NUMBERS_BEFORE: Final = 5 * 4
OBJECTS: Final = 8
CONSTANTS: Final = 1  # among them: the only place for code objects
FILENAME: Final = 5  # among them
NUMBERS_BETWEEN: Final = 4
OBJECTS_AFTER: Final = 2


class Odd(Exception):
    """Not what 3.11 writes."""


@dataclass(frozen=True, slots=True)
class Path:
    """The path of a code object: written here (`text`), or a reference to another's.

    `code` is the object's number, the outermost is 0; `within` that of the code object that it lies in.
    """

    code: int
    within: int
    place: range
    text: bytes | None
    index: int | None  # its own number for references, or that which it refers to


@dataclass(slots=True)
class Walk:
    """What was met: `marked` are type bytes with a number, `references` where numbers are used."""

    data: bytes
    at: int
    marked: list[int] = field(default_factory=list)
    references: list[tuple[int, int]] = field(default_factory=list)
    paths: list[Path] = field(default_factory=list)
    codes: int = 0
    with_codes: set[int] = field(default_factory=set)  # numbers of tuples that code objects lie in

    def code(self) -> None:
        """The one code object, to the end. Raises Odd."""
        if self._object(0, within=-1, codes=True) != CODE or self.at != len(self.data):
            raise Odd

    def _take(self, length: int) -> int:
        """Pass over so many bytes; where they begin."""
        start = self.at
        self.at += length
        if self.at > len(self.data):
            raise Odd
        return start

    def _number(self, size: int) -> int:
        start = self._take(size)
        return int.from_bytes(self.data[start : start + size], "little")

    def _object(self, depth: int, *, within: int = 0, codes: bool = False) -> int:
        """Pass over one object of the code object `within`; its type. `codes`: it may be a code object."""
        if depth > MAX_DEPTH:
            raise Odd
        start = self._take(1)
        kind, marked = self.data[start] & ~FLAG_REF, bool(self.data[start] & FLAG_REF)
        if marked:
            if kind in BARE or kind in (REF, NULL):
                raise Odd
            self.marked.append(start)
        if kind in FIXED:
            self._take(FIXED[kind])
        elif kind in COUNTED_BYTES:
            length = self._number(COUNTED_BYTES[kind])
            first = self._take(length)
            # Loaded as Latin-1; Python writes such texts as UTF-8, of another type.
            if kind in ASCII and not self.data[first : self.at].isascii():
                raise Odd
        elif kind in SEQUENCES:
            for _ in range(self._number(SEQUENCES[kind])):
                self._item(depth)
        elif kind == CODE and codes:
            self._code(depth, within)
        elif kind == REF:
            self._reference()
        elif kind == LONG:
            count = self._number(4)
            self._take(2 * min(count, 2**32 - count))
        elif kind == DICT:
            while self.data[self.at : self.at + 1] != b"0":
                self._item(depth)
                self._item(depth)
            self._take(1)
        elif kind not in BARE:
            raise Odd
        return kind

    def _item(self, depth: int) -> None:
        if self._object(depth + 1) == NULL:
            raise Odd

    def _reference(self) -> None:
        start = self.at
        index = self._number(4)
        if index >= len(self.marked):
            raise Odd
        self.references.append((start, index))

    def _code(self, depth: int, within: int) -> None:
        code = self.codes
        self.codes += 1
        self._take(NUMBERS_BEFORE)
        for number in range(OBJECTS):
            if number == FILENAME:
                self._path(depth, code, within)
            elif number == CONSTANTS:
                self._constants(depth, code)
            else:
                self._item(depth)
        self._take(NUMBERS_BETWEEN)
        for _ in range(OBJECTS_AFTER):
            self._item(depth)

    def _constants(self, depth: int, code: int) -> None:
        """A tuple, whose members may be code objects; not so their members. Or one that was met, without."""
        start, before, codes = self._take(1), len(self.marked), self.codes
        kind = self.data[start] & ~FLAG_REF
        if self.data[start] == REF:
            self._reference()
            if self.references[-1][1] in self.with_codes:
                raise Odd
            return
        if kind not in b"()":
            raise Odd
        if self.data[start] & FLAG_REF:
            self.marked.append(start)
        for _ in range(self._number(SEQUENCES[kind])):
            if self._object(depth + 2, within=code, codes=True) == NULL:
                raise Odd
        if self.codes > codes and self.data[start] & FLAG_REF:
            self.with_codes.add(before)

    def _path(self, depth: int, code: int, within: int) -> None:
        start, before = self.at, len(self.marked)
        kind = self._object(depth + 1)
        place = range(start, self.at)
        if kind == REF:
            self.paths.append(Path(code, within, place, None, self.references[-1][1]))
        elif kind in TEXTS:
            text = self.data[start + 1 + TEXTS[kind] : self.at]
            index = before if len(self.marked) > before else None
            self.paths.append(Path(code, within, place, text, index))
        else:
            raise Odd
