"""What a Debian package's maintainer scripts would have done, as far as their text shows it.

Knows the commands of Debian Policy that leave something behind which a card may miss. Runs nothing, and
refuses to say that a script does no more than this.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

#: What to look for in a script, and what it means for a card. Each is said once a script.
_TRACES: Final[tuple[tuple[re.Pattern[str], str], ...]] = (
    (re.compile(r"\bupdate-alternatives\b"), "sets alternatives: give their links as [[symlink]]"),
    (re.compile(r"\bdpkg-divert\b"), "diverts files of others: [[drop]] or [[rename]] what collides"),
    (re.compile(r"\bdpkg-statoverride\b"), "overrides owners and modes: a mode may be given by [[mark]]"),
    (
        re.compile(r"\b(?:adduser|addgroup|useradd|groupadd)\b"),
        "adds users or groups: a process names its own by number",
    ),
    (re.compile(r"\bsystemd-sysusers\b"), "adds users or groups: a process names its own by number"),
    (
        re.compile(r"\bsystemd-tmpfiles\b"),
        "makes files and directories at boot: [[directory]] has room for some",
    ),
    (
        re.compile(r"\b(?:deb-systemd-(?:helper|invoke)|systemctl|update-rc\.d|invoke-rc\.d)\b"),
        "starts services: say [[process]]",
    ),
    (re.compile(r"\bmknod\b"), "makes device nodes"),
    (re.compile(r"\bsetcap\b"), "gives file capabilities: a process that needs them starts as root"),
    (re.compile(r"\bchmod\s+(?:[ugo]*\+s|[2467][0-7]{3})\b"), "sets the set-user-id or set-group-id bit"),
    (re.compile(r"\b(?:chown|chgrp)\b"), "changes owners"),
    (re.compile(r"\bln\s+-"), "makes links: give them as [[symlink]]"),
    (re.compile(r"\bldconfig\b"), "runs ldconfig: not needed, libraries are found in Debian's directories"),
    (re.compile(r"\b(?:ucf|debconf|db_get)\b"), "asks or writes configuration: bring the file itself"),
)


_SCRIPTS: Final = frozenset({"preinst", "postinst", "prerm", "postrm", "config"})
_TRIGGERS: Final = "triggers"


def traces(script: bytes) -> tuple[str, ...]:
    """What stands in a script that a card may miss."""
    text = script.decode("utf-8", "replace")
    lines = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#"))
    return tuple(dict.fromkeys(meaning for pattern, meaning in _TRACES if pattern.search(lines)))


def lines_for(scripts: Mapping[str, bytes]) -> list[str]:
    """One line a script, and one for each trace in it."""
    lines: list[str] = []
    for name, script in scripts.items():
        if name == _TRIGGERS:
            lines += [f"trigger: {words}" for words in _plain_lines(script)]
        elif name in _SCRIPTS:
            lines.append(f"{name} is not run")
            lines += [f"{name} {meaning}" for meaning in traces(script)]
        else:
            lines.append(f"{name} is not used")
    return lines


def _plain_lines(script: bytes) -> list[str]:
    lines = (line.strip() for line in script.decode("utf-8", "replace").splitlines())
    return [line for line in lines if line and not line.startswith("#")]
