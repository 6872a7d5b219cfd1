"""What the loader said of this boot (SPEC-control). Knows words only.

U-Boot says it on the kernel's command line, the early selector of UEFI boards in a file.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from firmware_mgr.link.messages import BootSource

#: Where the early selector leaves its words.
LOADER_WORDS = Path("/run/fwmgr/loader")


@dataclass(frozen=True, slots=True)
class LoaderWords:
    """`why` is trial, boot, other or netboot; `failed` names the partitions that did not start before."""

    source: BootSource
    why: str = ""
    failed: str = ""

    @classmethod
    def read(cls, said: str) -> LoaderWords:
        """A loader that says nothing (a kernel started by hand) counts as netboot: nothing is in use."""
        words = dict(word.split("=", 1) for word in said.split() if "=" in word)
        source = {"a": BootSource.A, "b": BootSource.B}.get(words.get("fw.part", ""), BootSource.NETBOOT)
        failed = "".join(letter for letter in words.get("fw.fail", "") if letter in "ab")
        return cls(source, words.get("fw.why", "netboot"), failed)
