"""Lays the settings' files out in RAM for the processes of a set; they see them read-only in `/run/settings`.

Knows paths, modes and owners. Refuses to know where settings come from.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from firmware_mgr.link.service import Settings

#: Names of variables that are the agent's to give.
RESERVED_VARIABLES = frozenset({"NOTIFY_SOCKET", "STATE_DIRECTORY", "LISTEN_FDS", "LISTEN_PID"})
_FOLDER_MODE = 0o755


def lay_out(settings: Settings | None, directory: Path) -> None:
    """Make `directory` hold exactly these files. A file never has other rights than its own, not even while
    it is written; owners are set when we may. Raises OSError.
    """
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    directory.chmod(_FOLDER_MODE)
    for file in settings.files if settings is not None else ():
        target = directory / file.path
        for folder in reversed(target.relative_to(directory).parents[:-1]):
            (directory / folder).mkdir(exist_ok=True)
            (directory / folder).chmod(_FOLDER_MODE)
        descriptor = os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        with os.fdopen(descriptor, "wb") as stream:
            for piece in file.content:
                stream.write(piece)
            if os.geteuid() == 0:
                os.fchown(descriptor, file.uid, file.gid)
            os.fchmod(descriptor, file.mode)


def variables(settings: Settings | None) -> dict[str, str]:
    """The environment that settings add to every process of the set."""
    given = {} if settings is None else settings.environment
    return {name: value for name, value in given.items() if name not in RESERVED_VARIABLES}
