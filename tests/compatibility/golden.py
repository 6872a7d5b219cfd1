"""What earlier versions left: a master's catalogue, and an agent's code. Knows where it lies."""

from __future__ import annotations

import shutil
import tarfile
from pathlib import Path

_HERE = Path(__file__).parent
#: Written by the master of protocol 1 (`make_catalogue_1.py`).
CATALOGUE_1 = _HERE / "catalogue-1.sqlite"
#: The agent of protocol 1 (`make_agent_archive.py`).
AGENT_1 = _HERE / "agent-protocol-1.tar.xz"


def unpack_agent(folder: Path) -> Path:
    """The folder `firmware_mgr` of the agent of protocol 1, as `build_boot_image` takes it for its code."""
    with tarfile.open(AGENT_1) as archive:
        archive.extractall(folder)
    return folder / "firmware_mgr"


def copy_catalogue(folder: Path) -> Path:
    """A copy of the old catalogue that may be opened and changed."""
    target = folder / "catalogue.sqlite"
    shutil.copyfile(CATALOGUE_1, target)
    target.chmod(0o600)
    return target
