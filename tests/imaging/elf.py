"""The smallest ELF files that look like kernel modules: one section that says what the module needs."""

from __future__ import annotations

import struct

_HEADER = struct.Struct("<16sHHIQQQIHHHHHH")
_SECTION = struct.Struct("<IIQQQQIIQQ")
_RELOCATABLE, _AARCH64 = 1, 183
_PROGBITS, _STRTAB = 1, 3


def kernel_module(*texts: str) -> bytes:
    """A module whose `.modinfo` holds these texts, such as `depends=a,b`."""
    info = b"".join(text.encode() + b"\0" for text in texts)
    names = b"\0.modinfo\0.shstrtab\0"
    start = _HEADER.size
    sections = _SECTION.pack(0, 0, 0, 0, 0, 0, 0, 0, 0, 0)
    sections += _SECTION.pack(1, _PROGBITS, 0, 0, start, len(info), 0, 0, 1, 0)
    sections += _SECTION.pack(10, _STRTAB, 0, 0, start + len(info), len(names), 0, 0, 1, 0)
    identity = b"\x7fELF" + bytes([2, 1, 1]) + bytes(9)
    table = start + len(info) + len(names)
    fields = (_RELOCATABLE, _AARCH64, 1, 0, 0, table, 0, _HEADER.size, 0, 0, _SECTION.size, 3, 2)
    return _HEADER.pack(identity, *fields) + info + names + sections
