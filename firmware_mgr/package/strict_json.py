"""JSON for documents that are signed: one spelling for each, read with bounds. SPEC-trust §1.

Knows bytes and plain values. Refuses to know what they mean, and whose fault it is.
"""

from __future__ import annotations

import json
import re
from typing import Any

from firmware_mgr.model.software import canonical_json

MAX_DEPTH = 8
#: Digits of a number: more than any of ours needs, and too few to be slow.
MAX_DIGITS = 16

_TEXT = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)
_BRACKET = re.compile(rb"[\[\]{}]")


def encode(document: Any) -> bytes:
    """The one spelling of a document."""
    return canonical_json(document) + b"\n"


def decode(data: bytes, limit: int) -> Any:
    """The document that `encode` makes these bytes of. Raises ValueError that says what is wrong."""
    if len(data) > limit:
        raise ValueError(f"longer than {limit} bytes")
    _check_depth(data)
    document = json.loads(
        data.decode(),
        object_pairs_hook=_each_once,
        parse_int=_integer,
        parse_float=_refuse,
        parse_constant=_refuse,
    )
    if encode(document) != data:
        raise ValueError("not in the canonical form: keys sorted, no spaces, one line")
    return document


def _check_depth(data: bytes) -> None:
    """Before the parser sees it, which would use stack for each level."""
    depth = 0
    for bracket in _BRACKET.findall(_TEXT.sub(b"", data)):
        depth += 1 if bracket in b"[{" else -1
        if depth > MAX_DEPTH:
            raise ValueError(f"deeper than {MAX_DEPTH} levels")


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    document = dict(pairs)
    if len(document) != len(pairs):
        raise ValueError("a key stands twice in an object")
    return document


def _integer(text: str) -> int:
    if len(text) > MAX_DIGITS:
        raise ValueError(f"a number has more than {MAX_DIGITS} digits")
    return int(text)


def _refuse(text: str) -> Any:
    raise ValueError(f"not an integer: {text[:20]}")
