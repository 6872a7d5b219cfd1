"""What of an ar archive (`.a`, `.deb`) can change behaviour: all but times and owners. SPEC-substance."""

from __future__ import annotations

import re
from typing import Final

from firmware_mgr.model.ids import Digest
from firmware_mgr.package.substance import Nest, digest_of

AR_MAGIC: Final = b"!<arch>\n"
RULE: Final = b"fwmgr ar substance 1"
HEADER_SIZE: Final = 60
NAME: Final = slice(0, 16)
TIME_AND_OWNERS: Final = slice(16, 40)
MODE: Final = slice(40, 48)
SIZE: Final = slice(48, 58)
END: Final = b"`\n"

_NUMBERS = re.compile(rb"[0-9 ]*")
_DECIMAL = re.compile(rb"[0-9]+ *")


def ar_signature(data: bytes, nest: Nest) -> Digest | None:
    """None when the archive is odd."""
    parts: list[bytes] = []
    at = len(AR_MAGIC)
    while at < len(data):
        header = data[at : at + HEADER_SIZE]
        right = (
            len(header) == HEADER_SIZE
            and header.endswith(END)
            and _NUMBERS.fullmatch(header[TIME_AND_OWNERS])
            and _DECIMAL.fullmatch(header[SIZE])
        )
        if not right:
            return None
        size, start = int(header[SIZE]), at + HEADER_SIZE
        content = data[start : start + size]
        at = start + size + size % 2
        # Some writers leave out the last padding.
        if len(content) != size or data[start + size : at] not in (b"", b"\n"):
            return None
        parts += [header[NAME], header[MODE], header[SIZE], data[start + size : at], *nest.content(content)]
    return digest_of(RULE, parts)
