"""The messages of the link, version 2 (SPEC-link §3). Card and master speak nothing else.

Knows shapes, not behaviour: who may say what when is in `session`. What came with version 2 is in `service`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Any, ClassVar

from firmware_mgr.link.service import Kept, ListKept, Piece, ReadKept, Settings, SettingsKept
from firmware_mgr.link.wire import from_plain, since, to_plain
from firmware_mgr.model.errors import PeerError
from firmware_mgr.model.ids import Digest, SlotId
from firmware_mgr.model.software import SoftwareSet

PROTOCOL_VERSION = 2
#: A master talks to agents one version older, since flash holds old agents (design, choice 4).
OLDEST_PROTOCOL = 1

LINK_PORT = 7400
ENROL_PORT = 7401
BULK_PORT = 7402
#: The name in the master's certificate; cards check it whatever the master's address is.
MASTER_NAME = "fwmgr-master"
ALPN = "fwmgr-link/1"


class BootSource(Enum):
    """Where the running boot image came from."""

    NETBOOT = "netboot"
    A = "a"
    B = "b"


class AreaState(Enum):
    """What a card found when it read back one area of its flash."""

    EMPTY = "empty"
    GOOD = "good"
    BAD = "bad"


@dataclass(frozen=True, slots=True)
class BootPartitionReport:
    """One boot partition: `image` is what was recorded as burned there; `bad_pieces` counts 1 MiB pieces."""

    state: AreaState
    image: Digest | None = None
    version: str = ""
    bad_pieces: int = 0


@dataclass(frozen=True, slots=True)
class ControlReport:
    """The boot-control record, and what the loader said of this boot on the kernel's command line.

    Letters are `a`, `b`, `n` (netboot) or `-` (none). `why` is the loader's reason (trial, boot, other,
    netboot), `failed` the partitions that it tried and could not start.
    """

    copy_0: AreaState
    copy_1: AreaState
    boot: str = "n"
    trial: str = "-"
    tries_a: int = 0
    tries_b: int = 0
    why: str = ""
    failed: str = ""


@dataclass(frozen=True, slots=True)
class PackageReport:
    """A stored package and how many of its modules for this card are whole or not.

    With the counts `RECORD_ALONE` no set of the card has it any more, and it was not looked at: the card once
    held it, so that it may go back to it.
    """

    name: str
    version: str
    digest: Digest
    modules: int
    bad_modules: int


#: Modules and bad modules of a package of which there is a record alone. Nobody takes it for whole.
RECORD_ALONE = (0, 1)


@dataclass(frozen=True, slots=True)
class DataReport:
    """The file system that processes keep their own in: bytes in all and free. `detail` is for people."""

    state: AreaState
    detail: str = ""
    size: int = 0
    free: int = 0


@dataclass(frozen=True, slots=True)
class FlashReport:
    """All that the card knows of its flash. `table` is the partition table."""

    table: AreaState
    control: ControlReport
    boot_a: BootPartitionReport
    boot_b: BootPartitionReport
    store: AreaState
    packages: tuple[PackageReport, ...] = ()
    size: int = 0
    free: int = 0
    data: DataReport | None = field(default=None, metadata=since(2))

    @property
    def pristine(self) -> bool:
        return self.table is AreaState.EMPTY


@dataclass(frozen=True, slots=True)
class RootReport:
    """The newest root of trust that the card judges packages by, and its digest (SPEC-trust §3).

    Version 0: a flat keyring, or two roots that contradict each other; then no chain can be followed.
    `trouble`: why nobody is trusted, in words; with a digest, a chain that holds that root mends it.
    """

    version: int
    digest: Digest | None = None
    trouble: str = field(default="", metadata=since(2))


@dataclass(frozen=True, slots=True)
class Hello:
    """Card to master, first: who and what I am, what I found in my flash, what I believe I should run.

    `sets` are all software sets that flash holds records of, `running_set` is the one whose processes run.
    `boot_id` differs from boot to boot. `settings` names the settings that the card has kept, `mac`
    is that of its interface, `package_format` the newest that it reads: older agents do not say, and read 1.
    `reads_features`: it knows that a software set may ask for features.
    `root`: older agents do not say, and follow no root of trust that comes with an order.
    """

    TYPE: ClassVar[str] = "hello"
    protocol: int
    agent_version: str
    slot: SlotId
    board: str
    cpu: str
    boot_source: BootSource
    boot_version: str
    flash: FlashReport
    believes: SoftwareSet | None
    sets: tuple[SoftwareSet, ...]
    running_set: Digest | None
    boot_seconds: float
    boot_id: str
    key_renewed: bool = False
    settings: Digest | None = field(default=None, metadata=since(2))
    mac: str = field(default="", metadata=since(2))
    package_format: int = field(default=1, metadata=since(2))
    reads_features: bool = field(default=False, metadata=since(2))
    root: RootReport | None = field(default=None, metadata=since(2))


@dataclass(frozen=True, slots=True)
class Progress:
    """Card to master: so much of the current step is done; `written` counts bytes that went into flash."""

    TYPE: ClassVar[str] = "progress"
    step: str
    done: int
    total: int
    written: int


@dataclass(frozen=True, slots=True)
class Stored:
    """Card to master: the set is in flash, read back and right. `reboot_needed`: the boot image changed.

    Bytes written count from the last such report on, as long as the card has power: also those of a burn that
    failed, or whose report found no link. `root` is as in the hello: an order may have brought a newer one.
    """

    TYPE: ClassVar[str] = "stored"
    set_digest: Digest
    boot_bytes_written: int
    package_bytes_written: int
    boot_partition: str
    reboot_needed: bool
    seconds: float
    flash: FlashReport
    root: RootReport | None = field(default=None, metadata=since(2))


@dataclass(frozen=True, slots=True)
class ProcessReport:
    name: str
    pid: int
    state: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Running:
    """Card to master: the packages' processes are up; `control` is as it stands after the commit."""

    TYPE: ClassVar[str] = "running"
    set_digest: Digest
    processes: tuple[ProcessReport, ...]
    control: ControlReport


@dataclass(frozen=True, slots=True)
class Failed:
    """Card to master: an order could not be carried out; `error` is the document of a FwmgrError."""

    TYPE: ClassVar[str] = "failed"
    order: str
    error: dict[str, str]


@dataclass(frozen=True, slots=True)
class Pong:
    TYPE: ClassVar[str] = "pong"


@dataclass(frozen=True, slots=True)
class Welcome:
    """Master to card, first: admitted. `time` is Unix seconds, for a card without a clock."""

    TYPE: ClassVar[str] = "welcome"
    protocol: int
    time: float
    hostname: str
    no_master_seconds: float = 0.0
    no_master_policy: str = "wait"


@dataclass(frozen=True, slots=True)
class Refused:
    """Master to card: not admitted; the session ends. `retry_seconds` says when asking again makes sense."""

    TYPE: ClassVar[str] = "refused"
    error: dict[str, str]
    retry_seconds: float = 30.0


@dataclass(frozen=True, slots=True)
class BootPieces:
    """How to check a boot image by pieces: SHA-256 of each `piece_size` bytes, the last piece shorter."""

    piece_size: int
    pieces: tuple[Digest, ...]


@dataclass(frozen=True, slots=True)
class Burn:
    """Master to card: make flash hold this set; write only what is not there already.

    `erase` allows flash to be laid out anew that carries another system's partition table, and wipes what
    processes keep. Without
    `save_image` the boot partitions are left alone, and the loader is told to netboot (agents of version 2).
    `root` is a chain of roots of trust in pieces, for a card whose hello names an older one of the same line;
    it is followed before the packages are judged.
    """

    TYPE: ClassVar[str] = "burn"
    wanted: SoftwareSet
    boot_pieces: BootPieces
    trial_tries: int = 3
    erase: bool = False
    save_image: bool = field(default=True, metadata=since(2))
    root: tuple[bytes, ...] = field(default=(), metadata=since(2))


@dataclass(frozen=True, slots=True)
class Run:
    """Master to card: you are validated; run this set, which your flash holds."""

    TYPE: ClassVar[str] = "run"
    set_digest: Digest


@dataclass(frozen=True, slots=True)
class Hold:
    """Master to card: stay as you are and wait for the next order."""

    TYPE: ClassVar[str] = "hold"
    reason: str


@dataclass(frozen=True, slots=True)
class Reset:
    """Master to card: stop processes, sync, restart; with `netboot`, the next start is from the network."""

    TYPE: ClassVar[str] = "reset"
    reason: str
    netboot: bool = field(default=False, metadata=since(2))


@dataclass(frozen=True, slots=True)
class Ping:
    TYPE: ClassVar[str] = "ping"


FromCard = Hello | Progress | Stored | Running | Failed | Pong | SettingsKept | Kept | Piece
FromMaster = Welcome | Refused | Burn | Run | Hold | Reset | Ping | Settings | ListKept | ReadKept

#: The version that each message came with: total. An older peer is not sent it, and may not send it.
SINCE: dict[type[Any], int] = {
    **dict.fromkeys((Hello, Progress, Stored, Running, Failed, Pong), 1),
    **dict.fromkeys((Welcome, Refused, Burn, Run, Hold, Reset, Ping), 1),
    **dict.fromkeys((Settings, SettingsKept, ListKept, Kept, ReadKept, Piece), 2),
}

FROM_CARD: dict[str, type[Any]] = {
    kind.TYPE: kind for kind in (Hello, Progress, Stored, Running, Failed, Pong, SettingsKept, Kept, Piece)
}
FROM_MASTER: dict[str, type[Any]] = {
    kind.TYPE: kind for kind in (Welcome, Refused, Burn, Run, Hold, Reset, Ping, Settings, ListKept, ReadKept)
}


def to_document(message: FromCard | FromMaster, version: int = PROTOCOL_VERSION) -> dict[str, Any]:
    """The message as a peer of that version knows it."""
    document: dict[str, Any] = to_plain(message, version)
    document["type"] = message.TYPE
    return document


def read_from_card(document: dict[str, Any]) -> FromCard:
    """Raises PeerError."""
    message: FromCard = _read(FROM_CARD, document)
    return message


def read_from_master(document: dict[str, Any]) -> FromMaster:
    """Raises PeerError."""
    message: FromMaster = _read(FROM_MASTER, document)
    return message


def _read(kinds: dict[str, type[Any]], document: dict[str, Any]) -> Any:
    name = document.get("type")
    kind = kinds.get(name) if isinstance(name, str) else None
    if kind is None:
        raise PeerError("unknown message", expected=", ".join(sorted(kinds)), found=repr(name)[:80])
    return from_plain(kind, document, kind.TYPE)
