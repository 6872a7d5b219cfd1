"""The bytes of one copy of the boot-control record, contract 1: docs/SPEC-control.md, "Copies".

Knows the checksummed text that U-Boot's `env import -c` reads. Refuses to know devices and decisions.
"""

from __future__ import annotations

import re
import zlib
from dataclasses import dataclass
from enum import Enum
from typing import Any, Self

from construct import Bytes, Int32ul, Struct

from firmware_mgr.flash.errors import FlashFormatError
from firmware_mgr.flash.letter import Letter
from firmware_mgr.model.errors import UsageError

COPY_SIZE = 512
COPY_OFFSETS = (0, 512 * 1024)
CONTRACT = "1"
MAX_TRIES = 9
SEQUENCE_END = 0x7FFFFFFF  # the selector compares signed 32-bit numbers
_SEQUENCE = re.compile(r"[1-9a-f][0-9a-f]{0,7}")
_NO_TRIAL = "-"

COPY = Struct("crc" / Int32ul, "text" / Bytes(COPY_SIZE - 4))
assert COPY.sizeof() == COPY_SIZE


class Target(Enum):
    """What a record may name: a boot partition, or netboot."""

    A = "a"
    B = "b"
    NETBOOT = "n"

    @property
    def letter(self) -> Letter | None:
        """The boot partition; None for netboot."""
        return None if self is Target.NETBOOT else Letter(self.value)

    @classmethod
    def of(cls, letter: Letter) -> Self:
        return cls(letter.value)


class Maker(Enum):
    """Who made the record in the first place."""

    AGENT = "agent"
    LOADER = "loader"


@dataclass(frozen=True, slots=True)
class ControlRecord:
    """What is booted: `trial` first if set, then `boot`; `left_a` and `left_b` are starts left, 0 to 9.

    `seq` grows with each write; whoever writes sets it.
    """

    boot: Target
    trial: Target | None
    left_a: int
    left_b: int
    made: Maker
    seq: int

    def __post_init__(self) -> None:
        for name, left in (("a", self.left_a), ("b", self.left_b)):
            if not 0 <= left <= MAX_TRIES:
                raise UsageError(f"starts left of {name} out of range", expected="0 to 9", found=left)
        if not 0 < self.seq < SEQUENCE_END:
            raise UsageError(
                "control record's seq out of range", expected=f"1 to {SEQUENCE_END - 1}", found=self.seq
            )

    def left(self, letter: Letter) -> int:
        """Starts left of that partition."""
        return self.left_a if letter is Letter.A else self.left_b

    def text(self) -> bytes:
        """The names and values as they stand in a copy, without padding."""
        values = {
            "fw_a": str(self.left_a),
            "fw_b": str(self.left_b),
            "fw_boot": self.boot.value,
            "fw_made": self.made.value,
            "fw_seq": f"{self.seq:x}",
            "fw_trial": self.trial.value if self.trial else _NO_TRIAL,
            "fw_ver": CONTRACT,
        }
        return b"".join(f"{name}={value}\0".encode("ascii") for name, value in sorted(values.items())) + b"\0"

    def encode(self) -> bytes:
        """One copy, COPY_SIZE bytes."""
        text = self.text().ljust(COPY_SIZE - 4, b"\0")
        return bytes(COPY.build({"crc": zlib.crc32(text), "text": text}))

    @classmethod
    def decode(cls, raw: bytes, where: str) -> Self:
        """Read one copy of COPY_SIZE bytes. Raises FlashFormatError unless it is usable."""
        copy = COPY.parse(raw)
        crc = zlib.crc32(copy.text)
        if crc != copy.crc:
            raise FlashFormatError(
                "control record's CRC differs", where=where, expected=f"{copy.crc:08x}", found=f"{crc:08x}"
            )
        shown = copy.text.rstrip(b"\0")
        try:
            record = cls._of_values(dict(_pairs(shown)))
        except (UsageError, ValueError, KeyError) as e:
            raise FlashFormatError("control record is unusable", where=where, found=repr(shown)) from e
        if record.encode() != raw:
            raise FlashFormatError(
                "control record has another form", where=where, expected=record.text(), found=repr(shown)
            )
        return record

    @classmethod
    def _of_values(cls, values: dict[str, str]) -> Self:
        if values["fw_ver"] != CONTRACT or not _SEQUENCE.fullmatch(values["fw_seq"]):
            raise ValueError("contract or seq")
        if len(values["fw_a"]) != 1 or len(values["fw_b"]) != 1:
            raise ValueError("starts left")
        trial = values["fw_trial"]
        return cls(
            Target(values["fw_boot"]),
            None if trial == _NO_TRIAL else Target(trial),
            int(values["fw_a"]),
            int(values["fw_b"]),
            Maker(values["fw_made"]),
            int(values["fw_seq"], 16),
        )

    def document(self) -> dict[str, Any]:
        return {
            "boot": self.boot.value,
            "trial": self.trial.value if self.trial else None,
            "left": {"a": self.left_a, "b": self.left_b},
            "made": self.made.value,
            "seq": self.seq,
        }


def _pairs(shown: bytes) -> list[tuple[str, str]]:
    pairs: list[tuple[str, str]] = []
    for line in shown.decode("ascii").split("\0"):  # not ASCII: UnicodeDecodeError, which is a ValueError
        name, _, value = line.partition("=")
        pairs.append((name, value))
    return pairs
