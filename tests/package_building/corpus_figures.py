"""`tools/corpus`: the figures of the corpus as a table or JSON, or the lock file written anew."""

from __future__ import annotations

import argparse
import json
import logging
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from firmware_mgr.cli.main import show
from firmware_mgr.imaging.cache import default_cache
from firmware_mgr.model.errors import FwmgrError, UsageError
from firmware_mgr.packaging.assemble import SHIPPED_PACKAGES
from firmware_mgr.packaging.corpus import NEW, OLD, Corpus, CorpusEntry, load_corpus, refresh_corpus
from firmware_mgr.packaging.corpus_run import Compared, build_twice, compare_releases
from firmware_mgr.packaging.keys import load_key, new_key

CORPUS = SHIPPED_PACKAGES / "corpus"
#: Wide enough for the table when nobody looks.
WIDTH = 140


def main() -> int:
    parser = argparse.ArgumentParser(prog="tools/corpus", description=__doc__)
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help="packages of the corpus; all of them otherwise"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--refresh", action="store_true", help="write the lock file anew from the archive")
    options = parser.parse_args()
    logging.basicConfig(format="%(message)s")
    try:
        if options.refresh:
            corpus = refresh_corpus(CORPUS)
            size = sum({line.deb.pin: line.deb.size for line in corpus.locked}.values())
            say(f"{CORPUS / 'corpus.lock'}: {len(corpus.locked)} lines, {size / 1e6:.0f} MB of .debs")
            return 0
        corpus = load_corpus(CORPUS)
        compared = [figures(corpus, entry) for entry in chosen(corpus, options.names)]
    except FwmgrError as e:
        show(e)
        return 2 if isinstance(e, UsageError) else 1
    if options.json:
        document = {"packages": [one.document() for one in compared], "rebuilt_identical": True}
        say(json.dumps(document, indent=2))
    else:
        print_table(compared)
    return 0


def chosen(corpus: Corpus, names: Sequence[str]) -> list[CorpusEntry]:
    """The entries with these names, or all."""
    known = {entry.name: entry for entry in corpus.listed.package}
    for name in names:
        if name not in known:
            raise UsageError("no such package in the corpus", expected=", ".join(known), found=name)
    return [known[name] for name in names] if names else list(known.values())


def figures(corpus: Corpus, entry: CorpusEntry) -> Compared:
    """Both releases, each built twice; a key for the occasion, since no one is to trust these packages."""
    with tempfile.TemporaryDirectory(prefix="fwmgr-corpus-") as scratch:
        private, _ = new_key(Path(scratch), "corpus")
        keys = [load_key(private)]
        built = {}
        for release in (OLD, NEW):
            debs = [deb.path for deb in corpus.fetch(corpus.release(entry.name, release), default_cache())]
            built[release] = build_twice(
                corpus, entry, release, debs, keys=keys, scratch=Path(scratch) / release
            )
        sys.stderr.write(f"{entry.name}: both releases built twice\n")
        return compare_releases(corpus, entry, built[OLD], built[NEW])


def print_table(compared: Sequence[Compared]) -> None:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for column in ("package", "old", "new"):
        table.add_column(column)
    for column in ("ELF files", "changed", "substantively", "only new", "only old", "MiB"):
        table.add_column(column, justify="right")
    for one in compared:
        counts = (one.elf, one.exact, one.substantive, one.added, one.removed)
        table.add_row(one.name, one.old, one.new, *map(str, counts), f"{one.length / (1 << 20):.1f}")
    totals = [
        sum(getattr(one, field) for one in compared)
        for field in ("elf", "exact", "substantive", "added", "removed")
    ]
    length = sum(one.length for one in compared)
    table.add_row("all", "", "", *map(str, totals), f"{length / (1 << 20):.1f}", style="bold")
    Console(width=None if sys.stdout.isatty() else WIDTH).print(table)
    say(
        f"Of {totals[0]} ELF files in both releases {totals[1]} differ in their exact hash, "
        f"and {totals[2]} of these in their substantive signature."
    )
    say(
        f"Rebuilt from copies with other names, times and order: {2 * len(compared)} packages, all identical."
    )


def say(text: str) -> None:
    sys.stdout.write(text + "\n")


if __name__ == "__main__":
    sys.exit(main())
