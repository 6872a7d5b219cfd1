"""Where the fuzzer of packages begins: the golden files and their parts, and small files for each rule of §6.

`python -m tests.hostile.package_seeds` puts them into var/fuzz/package/.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import marshal
import tarfile
import zipfile

from firmware_mgr.package.head import parse_header
from firmware_mgr.package.layout import HEADER_SIZE, EnvelopeKind
from firmware_mgr.package.substance_python import PYTHON_MAGIC
from tests.package.elf_bytes import build_id, debug_link, elf, text
from tests.package.goldens import GOLDENS
from tests.package.samples_bundle import INFORMATION

from . import package_house as house
from .fuzz import FOUND


def seeds() -> list[bytes]:
    """Each with the byte before it that says what it is played as."""
    found = [(house.WHOLE, golden.data) for golden in GOLDENS]
    for golden in GOLDENS:
        header = parse_header(golden.data[:HEADER_SIZE])
        found.append((house.HEADER, golden.data[: header.table_offset]))
        kind = house.TABLE_1 if header.version == 1 else _TABLES[header.kind]
        found.append((kind, golden.data[header.table_offset : header.content_offset]))
    found.append((house.INFORMATION, json.dumps(INFORMATION.document()).encode()))
    found += [(house.SUBSTANCE, data) for data in substances()]
    paths = (b"usr/bin/a\0../lib/b", b"a\0b/c", b"bin/sh\0x", "ä/ö\0ß".encode())
    found += [(house.PATHS, data) for data in paths]
    found += [(house.DUMP, golden.data) for golden in GOLDENS[:2]]
    return [bytes([kind]) + data for kind, data in found]


_TABLES = {
    EnvelopeKind.PACKAGE: house.TABLE,
    EnvelopeKind.SET: house.SET,
    EnvelopeKind.COMPOSITE: house.COMPOSITE,
}


def substances() -> list[bytes]:
    code = compile("def f(x): return (x, 'text', 1.5, 1 << 70)\nf({'a': f})", "/a/b", "exec")
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("a", b"content " * 9)
        packed.writestr(zipfile.ZipInfo("b"), gzip.compress(b"x", mtime=1))
    tape = io.BytesIO()
    with tarfile.open(fileobj=tape, mode="w") as tar:
        info = tarfile.TarInfo("file")
        info.size = 4
        tar.addfile(info, io.BytesIO(b"data"))
    ar = b"!<arch>\n" + b"name/           1          2     3     100644  4         `\ndata"
    elves = [
        elf(build_id(b"a" * 20, order), text(), debug_link(b"x.debug", 1, order), bits=bits, order=order)
        for bits in (32, 64)
        for order in "<>"
    ]
    return [
        PYTHON_MAGIC + bytes(12) + marshal.dumps(code),
        gzip.compress(b"content", mtime=1),
        gzip.compress(ar, mtime=1),
        archive.getvalue(),
        tape.getvalue()[:2560],
        ar,
        *elves,
    ]


def main() -> None:
    folder = FOUND / "package"
    folder.mkdir(parents=True, exist_ok=True)
    for data in seeds():
        (folder / f"seed-{hashlib.sha256(data).hexdigest()[:16]}").write_bytes(data)


if __name__ == "__main__":
    main()
