"""Users and groups by name, from the text of a root's own `etc/passwd` and `etc/group` (passwd(5), group(5)).

Python's `pwd` would load the C library's modules out of that root into our process. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass

from firmware_mgr.model.errors import PeerError
from firmware_mgr.package.process import MAX_ID, NumericUser, User


@dataclass(frozen=True, slots=True)
class Identity:
    """As whom a process runs; `groups` are the supplementary ones."""

    uid: int
    gid: int
    groups: tuple[int, ...] = ()


def find_user(user: User, passwd: str, group: str) -> Identity:
    """The numbers of a user. Lines that cannot be read are passed over. Raises PeerError when not there."""
    if isinstance(user, NumericUser):
        return Identity(user.uid, user.gid)
    for line in passwd.splitlines():
        fields = line.split(":")
        if fields[0] == user.name and len(fields) >= 4:
            uid, gid = _number(fields[2]), _number(fields[3])
            if uid is not None and gid is not None:
                return Identity(uid, gid, _groups_of(user.name, gid, group))
    raise PeerError(
        "user is not in the root",
        where="etc/passwd",
        expected=user.name,
        hint="the set needs a package that brings etc/passwd, or the process a user by number",
    )


def _groups_of(name: str, primary: int, group: str) -> tuple[int, ...]:
    found = set()
    for line in group.splitlines():
        fields = line.split(":")
        if len(fields) >= 4 and name in fields[3].split(","):
            found.add(_number(fields[2]))
    return tuple(sorted(gid for gid in found if gid is not None and gid != primary))


def _number(text: str) -> int | None:
    if not text.isascii() or not text.isdigit():
        return None
    value = int(text)
    return value if value <= MAX_ID else None
