"""Names of things: slots, digests, keys, MAC addresses, CPU architectures.

Each value is checked once, when it is made. Knows no file, wire or clock.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from enum import Enum
from functools import total_ordering
from typing import Self

from firmware_mgr.model.errors import UsageError

_SLOT = re.compile(r"(?:(?P<shelf>[1-9][0-9]{0,3})/)?(?P<number>[1-9][0-9]{0,3})")
_HEX64 = re.compile(r"[0-9a-f]{64}")
_MAC = re.compile(r"[0-9a-f]{2}(?::[0-9a-f]{2}){5}")
_NAME = re.compile(r"[a-z0-9][a-z0-9+.\-]{0,63}")
#: A board may be called after its CPU: x86_64.
_BOARD_NAME = re.compile(r"[a-z0-9][a-z0-9+._\-]{0,63}")
_VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9.+~:\-]{0,63}")


class CpuArch(Enum):
    """A CPU architecture that cards come with. The value is the name used in files and on wires."""

    AARCH64 = "aarch64"
    ARMV7 = "armv7"
    X86_64 = "x86_64"


#: The value of a module's CPU field when it fits every CPU: scripts, configuration, data.
NEUTRAL_CPU = "any"


@total_ordering
@dataclass(frozen=True, slots=True)
class SlotId:
    """A position in a chassis: `3`, or `2/3` for slot 3 of shelf 2. In order, shelf goes before shelf."""

    number: int
    shelf: int = 1

    def __post_init__(self) -> None:
        for name, value in (("slot", self.number), ("shelf", self.shelf)):
            if not 1 <= value <= 9999:
                raise UsageError(f"{name} number out of range", expected="1 to 9999", found=value)

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `3` or `2/3`. Raises UsageError."""
        match = _SLOT.fullmatch(text)
        if match is None:
            raise UsageError(
                "not a slot", expected="a number such as 3, or shelf/slot such as 2/3", found=text
            )
        return cls(int(match["number"]), int(match["shelf"] or 1))

    def __lt__(self, other: SlotId) -> bool:
        return (self.shelf, self.number) < (other.shelf, other.number)

    def __str__(self) -> str:
        return str(self.number) if self.shelf == 1 else f"{self.shelf}/{self.number}"


@dataclass(frozen=True, slots=True, order=True)
class Digest:
    """A SHA-256 digest, as 64 lower-case hex digits."""

    hex: str

    def __post_init__(self) -> None:
        if not _HEX64.fullmatch(self.hex):
            raise UsageError(
                "not a SHA-256 digest", expected="64 lower-case hex digits", found=repr(self.hex)
            )

    @classmethod
    def of(cls, data: bytes | bytearray | memoryview) -> Self:
        return cls(hashlib.sha256(data).hexdigest())

    @classmethod
    def from_bytes(cls, raw: bytes) -> Self:
        return cls(raw.hex())

    def to_bytes(self) -> bytes:
        return bytes.fromhex(self.hex)

    @property
    def short(self) -> str:
        """The first 12 digits, for people."""
        return self.hex[:12]

    def __str__(self) -> str:
        return self.hex


@dataclass(frozen=True, slots=True, order=True)
class MacAddress:
    """An Ethernet address in the form `52:54:00:12:34:56`."""

    text: str

    def __post_init__(self) -> None:
        if not _MAC.fullmatch(self.text):
            raise UsageError("not a MAC address", expected="52:54:00:12:34:56", found=repr(self.text))

    @classmethod
    def from_bytes(cls, raw: bytes) -> Self:
        return cls(raw.hex(":"))

    def to_bytes(self) -> bytes:
        return bytes.fromhex(self.text.replace(":", ""))

    def __str__(self) -> str:
        return self.text


def check_name(text: str, kind: str) -> str:
    """Return `text` if it is a legal name of a package, board or process; raise UsageError otherwise."""
    pattern, marks = (_BOARD_NAME, "+ . _ -") if kind == "board" else (_NAME, "+ . -")
    if not pattern.fullmatch(text):
        raise UsageError(
            f"not a {kind} name",
            expected=f"lower-case letters, digits, {marks} (64 at most)",
            found=repr(text),
        )
    return text


def check_version(text: str) -> str:
    """Return `text` if it is a legal version; raise UsageError otherwise."""
    if not _VERSION.fullmatch(text):
        raise UsageError(
            "not a version", expected="letters, digits, . + ~ : - (64 at most)", found=repr(text)
        )
    return text
