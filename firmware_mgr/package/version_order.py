"""Which of two versions is the older one: Debian's order (deb-version(7)). Pure.

A stand-in with one function, to be replaced by the model's own order of versions once there is one.
"""

from __future__ import annotations

import re

_PART = re.compile(r"([^0-9]*)([0-9]*)")


def is_older(version: str, other: str) -> bool:
    """Whether `version` comes before `other`."""
    return _key(version) < _key(other)


def _key(version: str) -> tuple[int, list[tuple[list[int], int]], list[tuple[list[int], int]]]:
    epoch, colon, rest = version.partition(":")
    if not colon or not epoch.isdigit():
        epoch, rest = "0", version
    upstream, dash, revision = rest.rpartition("-")
    return int(epoch), _parts(upstream if dash else rest), _parts(revision if dash else "0")


def _parts(text: str) -> list[tuple[list[int], int]]:
    """Pairs of what is no digit and a number; compared one after the other, missing ones as empty and 0."""
    found = [(_order(letters), int(digits or 0)) for letters, digits in _PART.findall(text)]
    return found or [(_order(""), 0)]


def _order(letters: str) -> list[int]:
    """`~` before the end, the end before letters, letters before all else."""
    ranks = [-1 if letter == "~" else ord(letter) + (0 if letter.isalpha() else 256) for letter in letters]
    return [*ranks, 0]
