"""A composite image of real Debian packages and the rig's boot images, made by the commands of a user.

Knows which packages, and what is said of which cards. Knows no chassis.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from firmware_mgr.imaging.cache import CACHE_VARIABLE, DEFAULT_CACHE
from firmware_mgr.packaging.assemble import SHIPPED_PACKAGES
from firmware_mgr.packaging.build import build_package
from firmware_mgr.packaging.corpus import NEW, load_corpus
from firmware_mgr.packaging.deb_import import ImportOrder, import_debs
from firmware_mgr.packaging.keys import load_key
from tests.scenarios.software import BOARDS, TOP, Site, fwmgr

#: Of the corpus, in the order of a list: what nothing depends on first, the base last.
LIBRARIES = ("libevent", "libpng", "xz-utils", "pcre2", "brotli", "expat", "openssl", "glibc")
#: What the armv7 card runs, which is in no class.
FEW = ("lighttpd", "expat", "glibc")
NAME, VERSION = "rack", "2026.11"


def import_packages(names: Sequence[str], site: Site, folder: Path) -> list[Path]:
    """The new release of each, for all CPUs, signed by the site."""
    corpus = load_corpus(SHIPPED_PACKAGES / "corpus")
    cache = Path(os.environ.get(CACHE_VARIABLE, TOP / DEFAULT_CACHE))
    key, files = load_key(site.key), []
    for entry in corpus.listed.package:
        if entry.name not in names:
            continue
        debs = tuple(deb.path for deb in corpus.fetch(corpus.release(entry.name, NEW), cache))
        version = corpus.version(entry, NEW)
        imported = import_debs(ImportOrder(debs, entry.name, version, entry.outside, entry.extra))
        files.append(folder / f"{entry.name}.fwp")
        files[-1].write_bytes(build_package(imported.head, imported.sources, [key]))
    assert len(files) == len(names)
    return files


def compose(site: Site, folder: Path) -> Path:
    """One file for all three boards: a class over two CPUs, a board, a place, a preferred version."""
    packages = [site.package, *import_packages(LIBRARIES, site, folder)]
    images = "".join(f'[[image]]\nfolder = "{site.image_of(board)}"\n' for board in BOARDS)
    parts = "".join(f'[[package]]\nfile = "{file}"\n' for file in packages)
    whole = ", ".join(f'"{name}"' for name in ("lighttpd", *LIBRARIES))
    few = ", ".join(f'"{name}"' for name in FEW)
    manifest = folder / "rack.toml"
    manifest.write_text(
        f'[composite]\nname = "{NAME}"\nversion = "{VERSION}"\n'
        f'[targets]\nslots = ["1", "2", "3"]\n{images}{parts}'
        f"[class.edge]\npackages = [{whole}]\n"
        '[[card]]\nslot = "1"\nclass = "edge"\nlocation = "rack 5, left"\n'
        f'[[card]]\nboard = "{BOARDS[2]}"\nclass = "edge"\n'
        f'[[card]]\nboard = "{BOARDS[1]}"\npackages = [{few}]\n'
    )
    file = folder / "rack.fwc"
    fwmgr("image", "compose", manifest, "--key", site.key, "--out", file)
    return file
