"""What client and server agree on for one transfer: options asked for and options granted.

Knows numbers only (RFC 2347, 2348, 2349, 7440); pure.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from firmware_mgr.netboot.tftp_codec import (
    DEFAULT_BLKSIZE,
    OPT_BLKSIZE,
    OPT_TIMEOUT,
    OPT_TSIZE,
    OPT_WINDOWSIZE,
    option_number,
)

MIN_BLKSIZE, MAX_BLKSIZE = 8, 65464  # RFC 2348
MIN_TIMEOUT, MAX_TIMEOUT = 1, 255  # seconds, RFC 2349
MAX_WINDOW_ASKED = 65535  # RFC 7440
MAX_WINDOW = 64  # ours: as many segments as one UDP_SEGMENT send takes


@dataclass(frozen=True, slots=True)
class Terms:
    """The terms of a transfer. `timeout` in seconds when the client set it; `granted` goes into the OACK."""

    blksize: int = DEFAULT_BLKSIZE
    window: int = 1
    timeout: int | None = None
    granted: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))

    @property
    def asked_size(self) -> bool:
        return OPT_TSIZE in self.granted


def _blksize(asked: int, length: int, largest: int) -> int | None:
    return min(asked, max(largest, DEFAULT_BLKSIZE)) if MIN_BLKSIZE <= asked <= MAX_BLKSIZE else None


def _timeout(asked: int, length: int, largest: int) -> int | None:
    return asked if MIN_TIMEOUT <= asked <= MAX_TIMEOUT else None


def _tsize(asked: int, length: int, largest: int) -> int | None:
    return length


def _windowsize(asked: int, length: int, largest: int) -> int | None:
    return min(asked, MAX_WINDOW) if 1 <= asked <= MAX_WINDOW_ASKED else None


#: Option → what is granted for (value asked, blob's length, path's largest block size); None: left out.
GRANTS: dict[str, Callable[[int, int, int], int | None]] = {
    OPT_BLKSIZE: _blksize,
    OPT_TIMEOUT: _timeout,
    OPT_TSIZE: _tsize,
    OPT_WINDOWSIZE: _windowsize,
}


def negotiate(
    asked: Mapping[str, str], length: int, largest: int, refused: frozenset[str] = frozenset()
) -> Terms:
    """Terms for a blob of `length` bytes. Options unknown, out of range or `refused` are left out."""
    granted: dict[str, int] = {}
    for name, text in asked.items():
        number, grant = option_number(text), GRANTS.get(name)
        if number is None or grant is None or name in refused:
            continue
        value = grant(number, length, largest)
        if value is not None:
            granted[name] = value
    return Terms(
        blksize=granted.get(OPT_BLKSIZE, DEFAULT_BLKSIZE),
        window=granted.get(OPT_WINDOWSIZE, 1),
        timeout=granted.get(OPT_TIMEOUT),
        granted=MappingProxyType({name: str(value) for name, value in granted.items()}),
    )
