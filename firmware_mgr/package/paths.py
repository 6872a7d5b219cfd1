"""Which paths and link targets a package may carry, so that nothing in it leads out of its root.

SPEC-package §4.2. Knows text only; refuses to know any file system.
"""

from __future__ import annotations

import unicodedata

from firmware_mgr.model.errors import UsageError

MAX_PATH = 1024
MAX_PART = 255

#: First parts that belong to the root itself: links into /usr (Debian's merged /usr), and mount points.
MERGED = {"bin": "usr/bin", "lib": "usr/lib", "sbin": "usr/sbin", "lib64": "usr/lib64"}
MOUNT_POINTS = ("dev", "mnt", "proc", "run", "state", "tmp")

#: Unicode categories: control, surrogate.
_ILLEGAL = ("Cc", "Cs")


def check_path(path: str) -> str:
    """Return a module's path when it is a normalised relative one; raise UsageError otherwise."""
    _check_text(path, "module path", MAX_PATH)
    for part in path.split("/"):
        _check_part(part, "module path", path)
        if part == "..":
            raise UsageError("module path leaves its place", expected="no part '..'", found=repr(path))
    return path


def check_place(path: str) -> str:
    """Return a module's path when a package may bring something there; raise UsageError otherwise."""
    check_path(path)
    head = path.partition("/")[0]
    if head in MERGED:
        raise UsageError(
            "module path goes through a link of the root", expected=repr(merged_path(path)), found=repr(path)
        )
    if head in MOUNT_POINTS:
        raise UsageError(
            "module path belongs to the root itself", expected=f"a path outside /{head}", found=repr(path)
        )
    return path


def merged_path(path: str) -> str:
    """The path as it is in a root whose /bin, /lib, /lib64 and /sbin are links into /usr."""
    head, slash, rest = path.partition("/")
    return MERGED.get(head, head) + slash + rest


def check_link_target(path: str, target: str) -> str:
    """Return the target of the symlink at `path` when it stays inside the root; raise UsageError otherwise.

    `..` is legal at the beginning only: behind another part, which may itself be a link, text cannot tell
    where it leads.
    """
    _check_text(target, "symlink target", MAX_PATH)
    parts = target.split("/")
    ups = 0
    while ups < len(parts) and parts[ups] == "..":
        ups += 1
    for part in parts[ups:]:
        _check_part(part, "symlink target", target)
    if ups > path.count("/") or ".." in parts[ups:]:
        raise UsageError(
            "symlink target leaves the root, or may",
            where=path,
            expected=f"'..' only at the beginning, at most {path.count('/')} of them",
            found=repr(target),
        )
    return target


def check_directory(path: str) -> str:
    """Return an absolute directory of the root, such as `/srv/www`; raise UsageError otherwise."""
    if path != "/":
        if not path.startswith("/"):
            raise UsageError(
                "not an absolute directory", expected="a path that begins with /", found=repr(path)
            )
        check_path(path[1:])
    return path


def has_control(text: str) -> bool:
    """Whether the text holds a control character (NUL, newline, escape) or half a surrogate pair."""
    return any(unicodedata.category(character) in _ILLEGAL for character in text)


def _check_text(text: str, kind: str, limit: int) -> None:
    length = len(text.encode("utf-8", "surrogatepass"))
    if not 1 <= length <= limit:
        raise UsageError(f"{kind} of illegal length", expected=f"1 to {limit} bytes", found=length)
    if has_control(text) or "\\" in text:
        raise UsageError(f"{kind} holds a control character or backslash", found=repr(text))


def _check_part(part: str, kind: str, whole: str) -> None:
    if part in ("", "."):
        raise UsageError(
            f"{kind} is not a normalised relative path",
            expected="no empty part and no '.'",
            found=repr(whole),
        )
    if len(part.encode("utf-8", "surrogatepass")) > MAX_PART:
        raise UsageError(
            f"part of a {kind} is too long", expected=f"{MAX_PART} bytes at most", found=repr(part)
        )
