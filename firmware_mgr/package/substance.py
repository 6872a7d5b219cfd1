"""What the rules of the substantive signature share: parts as one digest, and how deep archives are opened.

Knows bytes only.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from firmware_mgr.model.ids import Digest

#: Before a part that is a member's own signature, and before one that is its bytes.
BY_RULE = b"by rule"
BY_CONTENT = b"by content"


def digest_of(rule: bytes, parts: Iterable[bytes | bytearray | memoryview]) -> Digest:
    """The digest of a rule's name and what it keeps; each part with its length before it."""
    digest = hashlib.sha256(rule + b"\0")
    for part in parts:
        digest.update(len(part).to_bytes(8, "big"))
        digest.update(part)
    return Digest(digest.hexdigest())


@dataclass(frozen=True)
class Nest:
    """How members of archives are judged: by rule, down to a depth, within so many bytes in all."""

    judge: Callable[[bytes, Nest], Digest | None]
    depth: int
    left: list[int]

    def take(self, length: int) -> bool:
        """Whether that many bytes may be unpacked; they are then taken."""
        if length > self.left[0]:
            return False
        self.left[0] -= length
        return True

    def member(self, data: bytes) -> Digest | None:
        """A member's signature by rule; None when none is for it, or it lies too deep."""
        if not self.depth:
            return None
        return self.judge(data, replace(self, depth=self.depth - 1))

    def content(self, data: bytes) -> tuple[bytes, bytes]:
        """A member's two parts."""
        found = self.member(data)
        return (BY_CONTENT, data) if found is None else (BY_RULE, found.to_bytes())
