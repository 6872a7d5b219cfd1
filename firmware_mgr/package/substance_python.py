"""What of Python bytecode can change behaviour: all but the source's time, and where it was compiled.

SPEC-substance, PEP 552. Refuses to load what it reads.
"""

from __future__ import annotations

from typing import Final

from firmware_mgr.model.ids import Digest
from firmware_mgr.package.marshal_walk import FLAG_REF, Odd, Walk
from firmware_mgr.package.substance import digest_of

#: 3495 and CR LF: Python 3.11, Lib/importlib/_bootstrap_external.py.
PYTHON_MAGIC: Final = (3495).to_bytes(2, "little") + b"\r\n"
RULE: Final = b"fwmgr Python substance 1"
HEADER_SIZE: Final = 16
MAX_SIZE: Final = 16 << 20  # of a file: what is noted of each object in it takes many times its bytes
FLAGS: Final = slice(4, 8)
TIME: Final = slice(8, 12)
TIMED: Final = 0
HASHED: Final = (1, 3)


def is_timed(data: bytes) -> bool:
    """Whether a loader may compare a time in this bytecode, of whatever version, with that of the source."""
    return not data.startswith(PYTHON_MAGIC) or int.from_bytes(data[FLAGS], "little") not in HASHED


def python_signature(data: bytes, *, cached: bool) -> Digest | None:
    """None when the file is odd. `cached`: it is what the import system keeps for a source."""
    flags = int.from_bytes(data[FLAGS], "little")
    if not HEADER_SIZE <= len(data) <= MAX_SIZE or flags not in (TIMED, *HASHED):
        return None
    walk = Walk(data, HEADER_SIZE)
    try:
        walk.code()
        left_out = _paths(walk) if cached else []
    except Odd:
        return None
    kept = _renumbered(walk)
    if flags == TIMED:
        kept[TIME] = bytes(4)
    parts, at = [], 0
    for place in left_out:
        parts.append(kept[at : place.start])
        at = place.stop
    return digest_of(RULE, (*parts, kept[at:]))


def _paths(walk: Walk) -> list[range]:
    """The paths that the import system overwrites (`update_code_filenames`). Raises Odd.

    Those equal to the outermost's, of code objects that lie in code objects with an equal one.
    """
    texts: dict[int | None, bytes] = {
        path.index: path.text for path in walk.paths if path.text is not None and path.index is not None
    }
    by_path = {path.place.start + 1 for path in walk.paths if path.text is None}
    for start, index in walk.references:
        if (start in by_path) is not (index in texts):
            raise Odd
    said = {path.code: path.text if path.text is not None else texts[path.index] for path in walk.paths}
    same: set[int] = set()
    for path in sorted(walk.paths, key=lambda path: path.code):  # the outer before the inner
        if said[path.code] == said[0] and (path.code == 0 or path.within in same):
            same.add(path.code)
    overwritten = [path.place for path in walk.paths if path.code in same and path.text is not None]
    lost = {path.index for path in walk.paths if path.code in same and path.text is not None}
    if any(path.index in lost for path in walk.paths if path.code not in same):
        raise Odd  # the text of a path that stays stands in one that goes
    return overwritten


def _renumbered(walk: Walk) -> bytearray:
    """The file with marks only where something refers to them, and references by their numbers."""
    kept = bytearray(walk.data)
    used = sorted({index for _, index in walk.references})
    numbers = {index: number for number, index in enumerate(used)}
    for index, start in enumerate(walk.marked):
        if index not in numbers:
            kept[start] &= ~FLAG_REF
    for start, index in walk.references:
        kept[start : start + 4] = numbers[index].to_bytes(4, "little")
    return kept
