"""Hostile link documents and frames: good ones with parts replaced, dropped, doubled, and raw bytes."""

from __future__ import annotations

import copy
import json
from typing import Any

from hypothesis import strategies as st

from .link_documents import FROM_CARD, FROM_MASTER
from .mutation import mutated

#: Text of JSON values that Python reads and that hardly fit anywhere.
RAW = (
    "1e999",
    "-1e999",
    "NaN",
    "Infinity",
    "1" * 400,
    "1" * 5000,
    "-0.0",
    "1e-400",
    '"\\ud800"',
    '"\\u0000"',
    "[" * 900 + "]" * 900,
    '{"a":' * 500 + "1" + "}" * 500,
    '""',
    '"' + "x" * 5000 + '"',
    "null",
    "true",
    "[]",
    "{}",
    "0",
    "-1",
    "1.5",
    "9007199254740993",
    "18446744073709551616",
)
MARK = "@here@"


def places(document: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The paths of all values inside."""
    inside = (
        list(document.items())
        if isinstance(document, dict)
        else list(enumerate(document))
        if isinstance(document, list)
        else []
    )
    return [place for key, value in inside for place in [(*path, key), *places(value, (*path, key))]]


@st.composite
def bodies(draw: st.DrawFn, documents: list[dict[str, Any]]) -> bytes:
    document = copy.deepcopy(draw(st.sampled_from(documents)))
    marked = False
    for _ in range(draw(st.integers(0, 3))):
        path = draw(st.sampled_from(places(document) or [("type",)]))
        holder: Any = document
        for key in path[:-1]:
            holder = holder[key]
        match draw(st.integers(0, 4)):
            case 0 if isinstance(holder, dict):
                holder.pop(path[-1], None)
            case 1:
                holder[path[-1]] = draw(
                    st.sampled_from(("", 0, -1, 1.5, True, None, [], {}, "good", [[]], {"a": {}}))
                )
            case 2:
                holder[path[-1]] = draw(
                    st.recursive(st.none() | st.text(max_size=3) | st.integers(), st.lists, max_leaves=3)
                )
            case 3 if isinstance(holder, list):
                holder.extend(copy.deepcopy(holder) * draw(st.integers(1, 50)))
            case _ if not marked:
                holder[path[-1]] = MARK
                marked = True
    text = json.dumps(document)
    return text.replace(f'"{MARK}"', draw(st.sampled_from(RAW))).encode()


def framed(body: bytes) -> bytes:
    return len(body).to_bytes(4, "big") + body


def streams(*, of_card: bool) -> st.SearchStrategy[bytes]:
    """Bytes of one connection: a good first message more often than not, then anything."""
    documents = FROM_CARD if of_card else FROM_MASTER
    frames = st.one_of(
        bodies(documents).map(framed), bodies(documents).map(framed).flatmap(mutated), st.binary(max_size=60)
    )
    good = [framed(json.dumps(document).encode()) for document in documents]
    first = st.sampled_from((good[0], good[0], b""))
    return st.tuples(first, st.lists(frames | st.sampled_from(good), max_size=6)).map(
        lambda pair: pair[0] + b"".join(pair[1])
    )
