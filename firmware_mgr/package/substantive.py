"""The substantive signature: what of a file can change behaviour, as one digest. SPEC-substance.

Knows which rule is for which type of file. Refuses to guess: whatever is odd goes by its whole content, so
that nothing that matters is ever left out.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

from firmware_mgr.model.ids import Digest
from firmware_mgr.package.elf_sections import ELF_MAGIC
from firmware_mgr.package.substance import Nest
from firmware_mgr.package.substance_ar import AR_MAGIC, ar_signature
from firmware_mgr.package.substance_elf import elf_signature
from firmware_mgr.package.substance_gzip import GZIP_MAGIC, gzip_signature
from firmware_mgr.package.substance_python import PYTHON_MAGIC, python_signature
from firmware_mgr.package.substance_tar import TAR_MAGIC, TAR_MAGIC_AT, tar_signature
from firmware_mgr.package.substance_zip import ZIP_MAGIC, zip_signature

MAX_DEPTH: Final = 4
MAX_UNPACKED: Final = 256 << 20
#: What the import system keeps for a source: the one place where it overwrites the path (PEP 3147, PEP 488).
_PYTHON_CACHE: Final = re.compile(r"(?:.*/)?__pycache__/[^/]+\.cpython-311(?:\.opt-[12])?\.pyc", re.DOTALL)

_ARCHIVES: tuple[tuple[int, bytes, Callable[[bytes, Nest], Digest | None]], ...] = (
    (0, GZIP_MAGIC, gzip_signature),
    (0, AR_MAGIC, ar_signature),
    (0, ZIP_MAGIC, zip_signature),
    (TAR_MAGIC_AT, TAR_MAGIC, tar_signature),
)
#: By so many first bytes it is known whether there is a rule for a file.
HEAD_SIZE: Final = TAR_MAGIC_AT + len(TAR_MAGIC)


def substantive_signature(data: bytes, path: str = "") -> Digest:
    """The signature of a file with this content at this path of a package. Never fails.

    Takes a few times the file's memory, and for archives what they hold, at most MAX_UNPACKED bytes.
    """
    cached = _PYTHON_CACHE.fullmatch(path) is not None
    found = _by_rule(data, Nest(_by_rule, MAX_DEPTH, [MAX_UNPACKED]), cached=cached)
    return Digest.of(data) if found is None else found


def may_have_rule(head: bytes) -> bool:
    """Whether there is a rule for files that begin so; those of which there is none go by their content."""
    whole = head.startswith((ELF_MAGIC, PYTHON_MAGIC))
    return whole or any(head.startswith(magic, at) for at, magic, _ in _ARCHIVES)


def _by_rule(data: bytes, nest: Nest, *, cached: bool = False) -> Digest | None:
    """None when no rule is for it."""
    if data.startswith(ELF_MAGIC):
        return elf_signature(data)
    if data.startswith(PYTHON_MAGIC):
        return python_signature(data, cached=cached)
    for at, magic, rule in _ARCHIVES:
        if data.startswith(magic, at):
            return rule(data, nest)
    return None
