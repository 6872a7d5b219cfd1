"""Made `agent-protocol-1.tar.xz`: the code of an agent as it was at a commit, for images with an old agent.

    make_agent_archive.py COMMIT OUT        from the repository; cfb39de is the newest commit of protocol 1

Holds the folder `firmware_mgr` with what a boot image takes of it. Equal commits give equal bytes.
"""

from __future__ import annotations

import fnmatch
import io
import lzma
import subprocess
import sys
import tarfile
from pathlib import Path

#: As `bootimages/debian-card/recipe.toml` lists them.
SOURCES = (
    "__init__.py",
    "model/*.py",
    "flash/*.py",
    "package/*.py",
    "link/*.py",
    "card/*.py",
    "app/__init__.py",
    "app/agent.py",
    "app/agent_*.py",
)


def agent_archive(commit: str) -> bytes:
    """The archive. Raises CalledProcessError when there is no such commit."""
    whole = subprocess.run(
        ["git", "archive", "--format=tar", commit, "firmware_mgr"], check=True, capture_output=True
    ).stdout
    packed = io.BytesIO()
    with (
        tarfile.open(fileobj=io.BytesIO(whole)) as given,
        lzma.open(packed, "wb", preset=9) as compressed,
        tarfile.open(fileobj=compressed, mode="w|", format=tarfile.USTAR_FORMAT) as made,
    ):
        for member in sorted(given.getmembers(), key=lambda member: member.name):
            name = member.name.removeprefix("firmware_mgr/")
            if not member.isfile() or not any(fnmatch.fnmatch(name, pattern) for pattern in SOURCES):
                continue
            entry = tarfile.TarInfo(member.name)
            entry.size, entry.mode = member.size, 0o644
            made.addfile(entry, given.extractfile(member))
    return packed.getvalue()


if __name__ == "__main__":
    Path(sys.argv[2]).write_bytes(agent_archive(sys.argv[1]))
