"""What an ELF file says of itself: for which CPU, under which name, and what it wants loaded.

Reads with pyelftools. Refuses to know where libraries are: that is the closure's part.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any

from elftools.common.exceptions import ELFError
from elftools.elf.dynamic import DynamicSegment
from elftools.elf.elffile import ELFFile
from elftools.elf.segments import InterpSegment

from firmware_mgr.model.errors import PeerError
from firmware_mgr.model.ids import CpuArch

ELF_MAGIC = b"\x7fELF"

_CPUS = {
    ("EM_AARCH64", 64, True): CpuArch.AARCH64,
    ("EM_ARM", 32, True): CpuArch.ARMV7,
    ("EM_X86_64", 64, True): CpuArch.X86_64,
}


@dataclass(frozen=True, slots=True)
class ElfFacts:
    """`needed` is in the file's order; `search` its RPATH or RUNPATH; `interpreter` absolute, or empty."""

    cpu: CpuArch | None
    machine: str
    soname: str
    needed: tuple[str, ...]
    search: tuple[str, ...]
    interpreter: str

    @property
    def consumes(self) -> tuple[str, ...]:
        """The libraries that it asks for, as a module's `consumes` has them."""
        names = set(self.needed)
        if self.interpreter:
            names.add(self.interpreter.rpartition("/")[2])
        return tuple(sorted(f"so:{name}" for name in names))

    @property
    def provides(self) -> tuple[str, ...]:
        """The library that it is, as a module's `provides` has it."""
        return (f"so:{self.soname}",) if self.soname else ()


def read_elf(data: bytes, where: str) -> ElfFacts | None:
    """The facts; None when it is no ELF file. Raises PeerError when it is a damaged one."""
    if not data.startswith(ELF_MAGIC):
        return None
    try:
        elf = ELFFile(io.BytesIO(data))
        machine, bits = str(elf["e_machine"]), int(elf.elfclass)
        needed: list[str] = []
        search: list[str] = []
        sonames: list[str] = []
        interpreter = ""
        for segment in elf.iter_segments():
            if isinstance(segment, InterpSegment):
                interpreter = str(segment.get_interp_name())
            if isinstance(segment, DynamicSegment):
                for tag in segment.iter_tags():
                    _take(tag, needed, search, sonames)
    except (
        ELFError,
        ArithmeticError,
        AssertionError,
        AttributeError,
        LookupError,
        TypeError,
        ValueError,
    ) as e:
        raise PeerError("damaged ELF file", where=where, found=repr(e)) from e
    return ElfFacts(
        cpu=_CPUS.get((machine, bits, bool(elf.little_endian))),
        machine=f"{machine}, {bits} bits",
        soname=sonames[0] if sonames else "",
        needed=tuple(needed),
        search=tuple(search),
        interpreter=interpreter,
    )


def _take(tag: Any, needed: list[str], search: list[str], sonames: list[str]) -> None:
    """Sort one dynamic tag in. pyelftools gives each kind of tag its text under a name of its own."""
    match tag.entry.d_tag:
        case "DT_NEEDED":
            needed.append(str(tag.needed))
        case "DT_SONAME":
            sonames.append(str(tag.soname))
        case "DT_RPATH":
            search += str(tag.rpath).split(":")
        case "DT_RUNPATH":
            search += str(tag.runpath).split(":")
