"""The agent, whole, needs nothing that a card does not have: Debian 12's versions of four libraries."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import version

#: As Debian 12 has them; what is tested here is what runs there.
ON_CARD = {"construct": "2.10.68", "crcmod": "1.7", "cryptography": "38.0.4", "zstandard": "0.20.0"}
#: What cryptography needs itself.
BESIDES = {"_cffi_backend", "cffi", "pycparser"}
CARD_ROOMS = {"app", "card", "link", "package", "flash", "model"}


def imported_by_the_agent() -> set[str]:
    program = (
        "import sys\nbefore = set(sys.modules)\nimport firmware_mgr.app.agent, firmware_mgr.card.keeper\n"
    )
    program += "print(*sorted(set(sys.modules) - before))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_the_agent_imports_only_what_is_on_a_card() -> None:
    loaded = {name.partition(".")[0] for name in imported_by_the_agent()}
    foreign = {name for name in loaded if name not in sys.stdlib_module_names and not name.startswith("_")}
    assert foreign - {"firmware_mgr"} - set(ON_CARD) - BESIDES == set()


def test_the_agent_imports_only_the_rooms_that_are_on_a_card() -> None:
    rooms = {name.split(".")[1] for name in imported_by_the_agent() if name.startswith("firmware_mgr.")}
    assert rooms <= CARD_ROOMS


def test_the_libraries_are_those_of_debian_12() -> None:
    assert {name: version(name) for name in ON_CARD} == ON_CARD
