"""The golden files, one of each kind, with what they were made of and how each is read.

`python -m tests.package.goldens` writes those of today's format anew; that of format 1 stays as it is.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from firmware_mgr.package.bundle_reader import BundleFile
from firmware_mgr.package.dump import describe, describe_bundle
from firmware_mgr.package.keyring import Keyring
from firmware_mgr.package.reader import PackageFile

from .format_1 import build_package_1
from .samples import HEAD, KEY, KEYRING, SOURCES, sample
from .samples_bundle import sample_composite, sample_set

FOLDER = Path(__file__).parent / "golden"


@dataclass(frozen=True)
class Golden:
    name: str
    made: Callable[[], bytes]
    open: Callable[[Path, Keyring], PackageFile | BundleFile]

    @property
    def path(self) -> Path:
        return FOLDER / self.name

    @property
    def data(self) -> bytes:
        return self.path.read_bytes()

    @property
    def description(self) -> Path:
        return FOLDER / f"{self.name}.json"

    def read(self, path: Path) -> None:
        """Head and content, as one would who trusts KEY."""
        with self.open(path, KEYRING) as file:
            file.check_content()

    def described(self) -> dict[str, Any]:
        with self.open(self.path, KEYRING) as file:
            if isinstance(file, PackageFile):
                return describe(file.header, file.toc, file.signatures)
            return describe_bundle(file.header, file.bundle, file.signatures)


GOLDENS = (
    Golden("format-1.fwp", lambda: build_package_1(HEAD, SOURCES, [KEY]), PackageFile.open),
    Golden("package.fwp", sample, PackageFile.open),
    Golden("set.fws", sample_set, BundleFile.open),
    Golden("composite.fwc", sample_composite, BundleFile.open),
)


def main() -> None:
    for golden in GOLDENS[1:]:
        golden.path.write_bytes(golden.made())
    for golden in GOLDENS:
        golden.description.write_text(json.dumps(golden.described(), indent=1) + "\n")


if __name__ == "__main__":
    main()
