"""Where a burn's bytes come from, as a seam. Knows digests and ranges."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

from firmware_mgr.model.ids import Digest


class Blobs(Protocol):
    """Where bytes come from: the master's bulk server, or a twin."""

    def fetch(self, digest: Digest, start: int, length: int) -> Iterator[bytes]: ...


def whole(blobs: Blobs, digest: Digest, start: int, length: int) -> bytes:
    """These bytes in one."""
    return b"".join(blobs.fetch(digest, start, length))
