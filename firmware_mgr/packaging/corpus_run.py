"""What the corpus shows: both releases of each package imported, twice, and their ELF files compared.

Knows what is counted. Refuses to know where .debs come from, and how figures are printed.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from firmware_mgr.model.errors import PeerError
from firmware_mgr.model.ids import CpuArch, Digest
from firmware_mgr.package.contents import Module, TableOfContents
from firmware_mgr.package.table import encode_table
from firmware_mgr.packaging.build import seal
from firmware_mgr.packaging.corpus import NEW, OLD, Corpus, CorpusEntry
from firmware_mgr.packaging.deb_import import Imported, ImportOrder, import_debs
from firmware_mgr.packaging.elf_facts import ELF_MAGIC
from firmware_mgr.packaging.keys import SigningKey

#: What copies of .debs get as their time: years after any release, and before any.
_OTHER_TIMES = (0, 4_000_000_000)


@dataclass(frozen=True, slots=True)
class Built:
    """A package that was imported and built: its table, the places of its ELF files, and its bytes' hash."""

    imported: Imported
    toc: TableOfContents
    elf: frozenset[tuple[str, CpuArch | None]]
    digest: Digest
    length: int


@dataclass(frozen=True, slots=True)
class Compared:
    """The ELF files of two releases: how many are in both, and differ by exact hash and by signature."""

    name: str
    old: str
    new: str
    elf: int
    exact: int
    substantive: int
    added: int
    removed: int
    length: int

    def document(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "package": self.name,
            "old": self.old,
            "new": self.new,
            "elf_files_in_both": self.elf,
            "changed_by_exact_hash": self.exact,
            "changed_by_substantive_signature": self.substantive,
            "only_in_new": self.added,
            "only_in_old": self.removed,
            "new_package_length": self.length,
        }


def build_release(
    corpus: Corpus, entry: CorpusEntry, release: str, debs: Sequence[Path], keys: Sequence[SigningKey]
) -> Built:
    """Import and build one release from these .debs. Raises UsageError or PeerError."""
    version = corpus.version(entry, release)
    imported = import_debs(ImportOrder(tuple(debs), entry.name, version, entry.outside, entry.extra))
    toc, content = imported.pack()
    package = seal(encode_table(toc), content, keys, signed_at=toc.build_date)
    elf = frozenset((s.path, s.cpu) for s in imported.sources if s.data.startswith(ELF_MAGIC))
    return Built(imported, toc, elf, Digest.of(package), len(package))


def build_twice(
    corpus: Corpus,
    entry: CorpusEntry,
    release: str,
    debs: Sequence[Path],
    *,
    keys: Sequence[SigningKey],
    scratch: Path,
) -> Built:
    """Build a release from its .debs, and again from copies with other names, times and order.

    Raises PeerError when the two packages are not the same bytes.
    """
    first = build_release(corpus, entry, release, debs, keys)
    folder = scratch / f"{entry.name}-{release}"
    folder.mkdir(parents=True)
    copies = [folder / f"{len(debs) - place}-of-{len(debs)}.deb" for place in range(len(debs))]
    for place, (deb, copy) in enumerate(zip(debs, copies, strict=True)):
        shutil.copyfile(deb, copy)
        time = _OTHER_TIMES[place % len(_OTHER_TIMES)]
        os.utime(copy, (time, time))
    again = build_release(corpus, entry, release, list(reversed(copies)), keys)
    shutil.rmtree(folder)
    if again.digest != first.digest:
        raise PeerError(
            "the same .debs gave two packages",
            where=f"{entry.name}, {release}",
            expected=first.digest,
            found=again.digest,
        )
    return first


def compare_releases(corpus: Corpus, entry: CorpusEntry, old: Built, new: Built) -> Compared:
    """How many ELF files changed. A file is the same one when path and CPU are."""
    before, after = _elf_modules(old), _elf_modules(new)
    both = before.keys() & after.keys()
    return Compared(
        name=entry.name,
        old=corpus.version(entry, OLD),
        new=corpus.version(entry, NEW),
        elf=len(both),
        exact=sum(before[key].sha256 != after[key].sha256 for key in both),
        substantive=sum(before[key].substantive != after[key].substantive for key in both),
        added=len(after.keys() - both),
        removed=len(before.keys() - both),
        length=new.length,
    )


def _elf_modules(built: Built) -> dict[tuple[str, CpuArch | None], Module]:
    return {(m.path, m.cpu): m for m in built.toc.modules if (m.path, m.cpu) in built.elf}
