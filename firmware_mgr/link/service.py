"""Messages since version 2 of the link (SPEC-link §3): settings for a card, logs and core dumps from it.

Knows shapes and bounds, not behaviour. `messages` lists these with all others.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from firmware_mgr.model.errors import UsageError
from firmware_mgr.model.ids import Digest

#: Bytes of a file's content in one text of a message.
CONTENT_PIECE = 48 * 1024
#: Bytes of a log or core dump in one message: other messages wait for no more than this.
KEPT_PIECE = 32 * 1024
#: All files and variables of a card's settings together.
MAX_SETTINGS_BYTES = 1 << 20
MAX_SETTINGS_FILES = 256
#: Bytes of one part of a file's path (NAME_MAX), and of the whole: a card must be able to make it.
MAX_NAME, MAX_PATH = 255, 1024


def is_text(text: str) -> bool:
    """Whether it can be written as UTF-8: half a surrogate pair, such as a byte of an argument, cannot."""
    return not any("\ud800" <= character <= "\udfff" for character in text)


def _utf8(text: str) -> bytes:
    return text.encode(errors="replace")


@dataclass(frozen=True, slots=True)
class SettingsFile:
    """A file below `/settings`; `path` is relative. `content` is in pieces of at most CONTENT_PIECE bytes."""

    path: str
    mode: int
    uid: int
    gid: int
    content: tuple[bytes, ...]
    secret: bool = False

    def __post_init__(self) -> None:
        parts = self.path.split("/")
        fits = all(len(_utf8(part)) <= MAX_NAME for part in parts) and len(_utf8(self.path)) <= MAX_PATH
        odd = any(part in ("", ".", "..") for part in parts) or "\0" in self.path or len(parts) > 16
        if odd or not fits or not is_text(self.path):
            expected = f"such as web/tls.key; {MAX_NAME} bytes a name, {MAX_PATH} in all, 16 parts at most"
            raise UsageError("not a settings file's path", expected=expected, found=repr(self.path)[:200])
        if not 0 <= self.mode <= 0o777 or not 0 <= self.uid < 1 << 31 or not 0 <= self.gid < 1 << 31:
            found = f"mode {self.mode:o}, owner {self.uid}:{self.gid}"
            raise UsageError("unusable mode or owner", where=self.path, expected="mode 0 to 777", found=found)

    @property
    def length(self) -> int:
        return sum(len(piece) for piece in self.content)


@dataclass(frozen=True, slots=True)
class Settings:
    """Master to card: all settings of its slot, in place of those it has.

    `digest` names this state of them, and means nothing else to a card. An empty `hostname` is that of the
    welcome. `addresses` (`10.1.2.3/24`) are held beside the leased one.
    """

    TYPE: ClassVar[str] = "settings"
    digest: Digest
    hostname: str = ""
    addresses: tuple[str, ...] = ()
    files: tuple[SettingsFile, ...] = ()
    environment: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        total = sum(file.length for file in self.files)
        total += sum(len(name) + len(value) for name, value in self.environment.items())
        if total > MAX_SETTINGS_BYTES or len(self.files) > MAX_SETTINGS_FILES:
            raise UsageError(
                "settings are too large",
                expected=f"{MAX_SETTINGS_BYTES} bytes in {MAX_SETTINGS_FILES} files at most",
                found=f"{total} bytes in {len(self.files)} files",
            )
        paths = [file.path for file in self.files]
        under = {path for path in paths if any(other.startswith(f"{path}/") for other in paths)}
        if len(set(paths)) != len(paths) or under:
            found = ", ".join(sorted(under or paths))
            raise UsageError("settings files hide one another", expected="each path once", found=found)


@dataclass(frozen=True, slots=True)
class SettingsKept:
    """Card to master: these settings are in effect from the next start of processes on.

    An empty `error` says that flash holds them too.
    """

    TYPE: ClassVar[str] = "settings_kept"
    digest: Digest
    error: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ListKept:
    """Master to card: which logs and core dumps are there? `request` comes back with the answer."""

    TYPE: ClassVar[str] = "list_kept"
    request: int


@dataclass(frozen=True, slots=True)
class KeptLog:
    """What is kept of a log: the bytes from `start` to `end`, counted since the card started."""

    name: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class KeptCore:
    """A core dump: `length` bytes as kept, gzip. `time` is Unix seconds. `cut`: the end is missing."""

    id: str
    process: str
    pid: int
    signal: int
    time: float
    length: int
    cut: bool = False


@dataclass(frozen=True, slots=True)
class Kept:
    """Card to master: the answer to ListKept. `note` says what was lost or why there is little room."""

    TYPE: ClassVar[str] = "kept"
    request: int
    logs: tuple[KeptLog, ...] = ()
    cores: tuple[KeptCore, ...] = ()
    note: str = ""


@dataclass(frozen=True, slots=True)
class ReadKept:
    """Master to card: a piece of `log` or `core` (`what`) from `start` on.

    A `start` below 0 is that many lines before the end of a log.
    """

    TYPE: ClassVar[str] = "read_kept"
    request: int
    what: str
    name: str
    start: int


@dataclass(frozen=True, slots=True)
class Piece:
    """Card to master: the answer to ReadKept: bytes from `start` on; `end` is where there are no more now.

    `start` is later than asked for when the bytes asked for are not kept any more.
    """

    TYPE: ClassVar[str] = "piece"
    request: int
    start: int = 0
    end: int = 0
    data: bytes = b""
    error: dict[str, str] = field(default_factory=dict)
