"""Programs and libraries made byte by byte: just enough ELF to say what they need."""

from __future__ import annotations

import struct

from firmware_mgr.model.ids import CpuArch

_MACHINES = {CpuArch.AARCH64: (183, 64), CpuArch.ARMV7: (40, 32), CpuArch.X86_64: (62, 64)}
DT_NEEDED, DT_STRTAB, DT_STRSZ, DT_SONAME, DT_RPATH, DT_RUNPATH = 1, 5, 10, 14, 15, 29
PT_LOAD, PT_DYNAMIC, PT_INTERP = 1, 2, 3


def program(
    *needed: str,
    cpu: CpuArch = CpuArch.AARCH64,
    soname: str = "",
    interpreter: str = "",
    runpath: str = "",
    rpath: str = "",
) -> bytes:
    """An ELF file for `cpu` with these entries in its dynamic section. It has no code."""
    machine, bits = _MACHINES[cpu]
    wide = "Q" if bits == 64 else "I"
    header_size, program_size = (64, 56) if bits == 64 else (52, 32)
    strings = b"\0"
    entries: list[tuple[int, int]] = []
    for tag, text in (
        *((DT_NEEDED, name) for name in needed),
        (DT_SONAME, soname),
        (DT_RUNPATH, runpath),
        (DT_RPATH, rpath),
    ):
        if text:
            entries.append((tag, len(strings)))
            strings += text.encode() + b"\0"
    segments = 3 if interpreter else 2
    strings_at = header_size + segments * program_size
    strings += bytes(-len(strings) % 8)
    interpreter_at = strings_at + len(strings)
    raw_interpreter = interpreter.encode() + b"\0" if interpreter else b""
    raw_interpreter += bytes(-len(raw_interpreter) % 8)
    dynamic_at = interpreter_at + len(raw_interpreter)
    entries += [(DT_STRTAB, strings_at), (DT_STRSZ, len(strings)), (0, 0)]
    dynamic = b"".join(struct.pack("<" + wide * 2, *entry) for entry in entries)
    end = dynamic_at + len(dynamic)

    def segment(kind: int, start: int, stop: int) -> bytes:
        size = stop - start
        if bits == 64:
            return struct.pack("<IIQQQQQQ", kind, 4, start, start, start, size, size, 8)
        return struct.pack("<IIIIIIII", kind, start, start, start, size, size, 4, 8)

    rows = segment(PT_LOAD, 0, end) + segment(PT_DYNAMIC, dynamic_at, end)
    if interpreter:
        rows += segment(PT_INTERP, interpreter_at, interpreter_at + len(interpreter) + 1)
    ident = b"\x7fELF" + bytes([2 if bits == 64 else 1, 1, 1]) + bytes(9)
    section_size = 64 if bits == 64 else 40
    header = ident + struct.pack(
        "<HHI" + wide * 3 + "IHHHHHH",
        3, machine, 1, 0, header_size, 0, 0, header_size, program_size, segments, section_size, 0, 0,
    )  # fmt: skip
    return header + rows + strings + raw_interpreter + dynamic
