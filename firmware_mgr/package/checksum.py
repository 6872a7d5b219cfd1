"""Whether bytes have the hash that a table says: the seam at which a fuzzer lets everything pass.

Knows SHA-256. Nothing but `Sha256` is ever used outside of tests.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Protocol

from firmware_mgr.model.ids import Digest


class Checksum(Protocol):
    """Takes bytes in, then says whether they fit."""

    def update(self, data: bytes, /) -> None: ...

    def fits(self, expected: Digest, /) -> bool: ...

    @property
    def found(self) -> str: ...


NewChecksum = Callable[[], Checksum]


class Sha256:
    """The real one."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()

    def update(self, data: bytes, /) -> None:
        self._hash.update(data)

    def fits(self, expected: Digest, /) -> bool:
        return self._hash.hexdigest() == expected.hex

    @property
    def found(self) -> str:
        """What the bytes have, in hex."""
        return self._hash.hexdigest()


def fits(data: bytes, expected: Digest, checksum: NewChecksum = Sha256) -> bool:
    """Whether these bytes have that hash."""
    taken = checksum()
    taken.update(data)
    return taken.fits(expected)
