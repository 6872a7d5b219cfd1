"""The card's side of the package room needs nothing that a card does not have."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from firmware_mgr import package

ROOM = sorted(path.stem for path in Path(package.__file__).parent.glob("*.py") if path.stem != "__init__")
#: What is installed on a card: Debian's construct, crcmod, cryptography (with cffi) and zstandard.
ON_CARD = {
    "firmware_mgr",
    "construct",
    "crcmod",
    "cryptography",
    "zstandard",
    "_cffi_backend",
    "cffi",
    "pycparser",
}


def test_only_the_cards_own_libraries_are_imported() -> None:
    imports = "".join(f"import firmware_mgr.package.{name}\n" for name in ROOM)
    program = f"import sys\nbefore = set(sys.modules)\n{imports}print(*sorted(set(sys.modules) - before))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    loaded = {name.partition(".")[0] for name in done.stdout.split()}
    foreign = {name for name in loaded if name not in sys.stdlib_module_names} - ON_CARD
    assert {name for name in foreign if not name.startswith("_")} == set()
    rooms = {name.split(".")[1] for name in done.stdout.split() if name.startswith("firmware_mgr.")}
    assert rooms <= {"model", "package"}
