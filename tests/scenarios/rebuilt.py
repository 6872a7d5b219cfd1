"""The same package, as it is when everything in it was built again: every ELF file has another build id."""

from __future__ import annotations

import hashlib
import struct
from pathlib import Path

from firmware_mgr.package.reader import PackageFile
from firmware_mgr.packaging.build import ModuleSource, PackageHead, build_package
from firmware_mgr.packaging.keys import load_key

#: The head of a GNU build-id note of 20 bytes (elf.h: NT_GNU_BUILD_ID), of CPUs with the low byte first.
NOTE = struct.pack("<III4s", 4, 20, 3, b"GNU\0")


def built_again(data: bytes) -> bytes:
    """Another build id of the same length, where there is one."""
    at = data.find(NOTE)
    if at < 0 or not data.startswith(b"\x7fELF"):
        return data
    start = at + len(NOTE)
    return data[:start] + hashlib.sha1(data[start : start + 20]).digest() + data[start + 20 :]


def rebuild(package: Path, key: Path, version: str, out: Path) -> int:
    """Write the package anew under that version; how many of its modules have other bytes now."""
    opened = PackageFile.open_to_show(package)
    toc, changed, sources = opened.toc, 0, []
    for module in toc.modules:
        data = opened.module_bytes(module) if module.length else b""
        again = built_again(data)
        changed += again != data
        sources.append(
            ModuleSource(
                module.path,
                module.kind,
                again,
                module.cpu,
                module.mode,
                module.function,
                module.link_target,
                module.groups,
                module.provides,
                module.consumes,
            )
        )
    head = PackageHead(
        toc.name,
        version,
        toc.build_date + 86_400,
        toc.local_dependencies,
        toc.remote_dependencies,
        toc.upgrades,
        toc.processes,
        toc.groups,
    )
    out.write_bytes(build_package(head, sources, [load_key(key)]))
    return changed
