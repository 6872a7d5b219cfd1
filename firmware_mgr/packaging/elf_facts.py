"""What an ELF file says of itself: for which CPU, under which name, and what it wants loaded.

Reads with pyelftools. Refuses to know where libraries are: that is the closure's part.
"""

from __future__ import annotations

import io
from dataclasses import dataclass

from elftools.common.exceptions import ELFError
from elftools.elf.dynamic import DynamicSegment
from elftools.elf.elffile import ELFFile
from elftools.elf.gnuversions import GNUVerDefSection, GNUVerNeedSection
from elftools.elf.segments import InterpSegment

from firmware_mgr.model.errors import PeerError
from firmware_mgr.model.ids import CpuArch

ELF_MAGIC = b"\x7fELF"
VER_FLG_BASE = 1  # the version is the file's own name (Linux Standard Base, symbol versioning)
VER_FLG_WEAK = 2

_CPUS = {
    ("EM_AARCH64", 64, True): CpuArch.AARCH64,
    ("EM_ARM", 32, True): CpuArch.ARMV7,
    ("EM_X86_64", 64, True): CpuArch.X86_64,
}
#: What the loader runs or loads; objects, core dumps and kernel modules are data.
LOADABLE = frozenset({"ET_DYN", "ET_EXEC"})


@dataclass(frozen=True, slots=True)
class ElfFacts:
    """`needed` is in the file's order; `interpreter` is absolute, or empty; paths are as they stand.

    `needs` are the symbol versions that it wants of each library (soname, version), `defines` its own. They
    are read from sections: a file without these says nothing of versions.
    """

    cpu: CpuArch | None
    machine: str
    kind: str
    soname: str
    needed: tuple[str, ...]
    rpath: tuple[str, ...]
    runpath: tuple[str, ...]
    interpreter: str
    needs: tuple[tuple[str, str], ...] = ()
    defines: tuple[str, ...] = ()

    @property
    def search(self) -> tuple[str, ...]:
        """Where its libraries are looked for first: an RPATH counts without a RUNPATH only (ld.so(8))."""
        return self.runpath or self.rpath

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

    @property
    def symbols_consumed(self) -> tuple[str, ...]:
        """The symbol versions that it needs, as `consumes` may have them too."""
        return tuple(symbols(soname, version) for soname, version in self.needs)

    @property
    def symbols_provided(self) -> tuple[str, ...]:
        """The symbol versions that it defines, as `provides` may have them too."""
        return tuple(symbols(self.soname, version) for version in self.defines) if self.soname else ()


def symbols(soname: str, version: str) -> str:
    """The name of a library's set of symbols: `symbols:libssl.so.3@OPENSSL_3.0.0`."""
    return f"symbols:{soname}@{version}"


def read_elf(data: bytes, where: str) -> ElfFacts | None:
    """The facts; None when it is no ELF file. Raises PeerError when it is a damaged one."""
    if not data.startswith(ELF_MAGIC):
        return None
    try:
        return _read(data)
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


def _read(data: bytes) -> ElfFacts:
    elf = ELFFile(io.BytesIO(data))
    machine, bits = str(elf["e_machine"]), int(elf.elfclass)
    texts: dict[str, list[str]] = {"DT_NEEDED": [], "DT_SONAME": [], "DT_RPATH": [], "DT_RUNPATH": []}
    interpreter = ""
    loadable = str(elf["e_type"]) in LOADABLE
    for segment in elf.iter_segments() if loadable else ():
        if isinstance(segment, InterpSegment):
            interpreter = str(segment.get_interp_name())
        if isinstance(segment, DynamicSegment):
            for tag in segment.iter_tags():
                # pyelftools gives each kind of tag its text under a name of its own.
                if tag.entry.d_tag in texts:
                    name = tag.entry.d_tag.removeprefix("DT_").lower()
                    texts[tag.entry.d_tag].append(str(getattr(tag, name)))
    needs, defines = _versions(elf) if loadable else ((), ())
    return ElfFacts(
        cpu=_CPUS.get((machine, bits, bool(elf.little_endian))),
        machine=f"{machine}, {bits} bits",
        kind=str(elf["e_type"]),
        soname=texts["DT_SONAME"][0] if texts["DT_SONAME"] else "",
        needed=tuple(texts["DT_NEEDED"]),
        rpath=tuple(place for text in texts["DT_RPATH"] for place in text.split(":")),
        runpath=tuple(place for text in texts["DT_RUNPATH"] for place in text.split(":")),
        interpreter=interpreter,
        needs=needs,
        defines=defines,
    )


def _versions(elf: ELFFile) -> tuple[tuple[tuple[str, str], ...], tuple[str, ...]]:
    """Symbol versions needed and defined, sorted. One needed weakly may be missing, so it does not count."""
    needs: set[tuple[str, str]] = set()
    defines: set[str] = set()
    for section in elf.iter_sections():
        if isinstance(section, GNUVerNeedSection):
            for file, versions in section.iter_versions():
                needs |= {
                    (str(file.name), str(v.name)) for v in versions if not v["vna_flags"] & VER_FLG_WEAK
                }
        elif isinstance(section, GNUVerDefSection):
            for definition, names in section.iter_versions():
                if not definition["vd_flags"] & VER_FLG_BASE:
                    defines.add(str(next(names).name))
    return tuple(sorted(needs)), tuple(sorted(defines))
