"""A board: what kind of hardware a card is, read from `board-configs/<board>.toml`.

Knows the keys of that file, their meaning and their limits. Refuses to know how an image is built,
how QEMU is started and what a slot is.
"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from firmware_mgr.model.errors import UsageError
from firmware_mgr.model.ids import CpuArch, check_name
from firmware_mgr.model.pristine import PristineOrder
from firmware_mgr.netboot.clients import CLIENT_NAMES, IPXE_NAME

#: The folder of board files that comes with the source tree.
SHIPPED_BOARDS = Path(__file__).resolve().parents[2] / "board-configs"

_SIZE = re.compile(r"(?P<number>[1-9][0-9]{0,8}) ?(?P<unit>KiB|MiB|GiB)")
_UNITS = {"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}
#: Partitions begin on whole mebibytes, and so every area's size is a multiple of it.
ALIGNMENT = 1 << 20


def parse_size(text: object) -> int:
    """`48MiB` as bytes. Raises ValueError, which pydantic turns into a complaint about the key."""
    match = _SIZE.fullmatch(text) if isinstance(text, str) else None
    if match is None:
        raise ValueError('expected a size such as "48MiB" (KiB, MiB or GiB)')
    return int(match["number"]) * _UNITS[match["unit"]]


def _area_size(size: int) -> int:
    if size % ALIGNMENT:
        raise ValueError("expected a multiple of 1MiB")
    return size


def _size_or_rest(text: object) -> int | None:
    return None if text == "rest" else _area_size(parse_size(text))


def _board_name(text: str) -> str:
    try:
        return check_name(text, "board")
    except UsageError as e:
        raise ValueError(f"expected {e.expected}") from e


def _client_name(text: str) -> str:
    if text not in CLIENT_NAMES:
        raise ValueError(f"expected one of {', '.join(sorted(CLIENT_NAMES))}")
    return text


Size = Annotated[int, BeforeValidator(parse_size), AfterValidator(_area_size)]
StoreSize = Annotated[int | None, BeforeValidator(_size_or_rest)]
#: The name of a file that netboot serves. As a URL in option 67 it must fit a DHCP reply of 548 bytes beside
#: all that may not be left out, and so it is short and needs no quoting.
FileName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_./-]*$", max_length=120)]
Word = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.,+=:/-]*$")]
DevicePath = Annotated[str, Field(pattern=r"^/dev/[A-Za-z0-9/_.-]+$")]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class About(_Section):
    """Which board this is."""

    name: Annotated[str, AfterValidator(_board_name)]
    description: str
    cpu: Annotated[CpuArch, Field(strict=False)]


class UefiFirmware(_Section):
    """What a UEFI board needs besides: `variables` is what its store of variables holds when it is new.

    `stub` is the path, in the Debian package `stub_package`, of the program that a unified kernel image
    begins with.
    """

    variables: str
    stub_package: Word
    stub: Word


class Firmware(_Section):
    """What the card runs at power-on, before anything of ours."""

    loader: Literal["u-boot", "uefi"]
    file: str
    debian_package: Word | None = None
    uefi: UefiFirmware | None = None


class Console(_Section):
    """The serial console: the kernel's name for it, and its speed in bits per second."""

    device: Word
    baud: Annotated[int, Field(ge=300, le=4_000_000)]


class Flash(_Section):
    """The card's flash and its areas, in bytes. `store` None means: all that the others leave;
    `data` None: processes have nothing in flash."""

    device: DevicePath
    size: Size
    control: Size
    boot: Size
    store: StoreSize
    state: Size
    data: Size | None = None


class Kernel(_Section):
    """The kernel: Debian package, command line besides the console, modules in order of loading."""

    package: Word
    arguments: tuple[Word, ...] = Field(strict=False)
    modules: tuple[Word, ...] = Field(strict=False)


class BootFileRow(_Section):
    """What one kind of client boots: `client` is a name of netboot's table (docs/NETBOOT.md)."""

    client: Annotated[str, AfterValidator(_client_name)]
    file: FileName
    is_ipxe: bool = False


def _ending_chain(rows: tuple[BootFileRow, ...]) -> tuple[BootFileRow, ...]:
    """iPXE that is sent iPXE would load itself for ever."""
    if len({row.client for row in rows}) < len(rows):
        raise ValueError("expected each client once")
    scripts = any(row.client == IPXE_NAME and not row.is_ipxe for row in rows)
    if any(row.is_ipxe for row in rows) and not scripts:
        raise ValueError("expected a row for client ipxe, beside one whose file is iPXE")
    return rows


class Netboot(_Section):
    """How this board shows itself in DHCP, and the files its loaders ask for.

    `client_architectures` are values of option 93 (RFC 4578 §2.1, IANA's registry of processor
    architectures), `vendor_classes` the beginnings of option 60. `boot_file` is for every client that
    `boot_files` does not name. `refused_tftp_options` are left out of the answer to a loader that asks for
    what it cannot do; one whose block numbers do not wrap counts to `max_tftp_blocks` (65535), with blocks of
    `tftp_block_size` bytes: an image with a longer file is refused.
    """

    client_architectures: tuple[Annotated[int, Field(ge=0, le=0xFFFF)], ...] = Field(strict=False)
    vendor_classes: tuple[str, ...] = Field(strict=False)
    boot_file: FileName
    boot_files: Annotated[tuple[BootFileRow, ...], AfterValidator(_ending_chain)] = Field((), strict=False)
    refused_tftp_options: tuple[Literal["blksize", "timeout", "tsize", "windowsize"], ...] = Field(
        (), strict=False
    )
    max_tftp_blocks: Annotated[int | None, Field(ge=1)] = None
    tftp_block_size: Annotated[int, Field(ge=8, le=65464)] = 512


class Qemu(_Section):
    """The virtual machine that stands in for this board. Memory in MiB."""

    binary: Word
    machine: Word
    cpu: Word
    memory_mib: Annotated[int, Field(ge=128, le=65536)]
    smp: Annotated[int, Field(ge=1, le=64)]


class SlotRegister(_Section):
    """Where the card reads its slot: a file whose text is the slot, and how QEMU provides it.

    `fw_cfg_address`: the physical address of QEMU's fw_cfg device, whose file `fw_cfg` is then read through
    its registers; for kernels that have no driver for it.
    """

    path: Annotated[str, Field(pattern=r"^/")]
    fw_cfg: Word | None = None
    fw_cfg_address: Annotated[int, Field(ge=0)] | None = None


class Lever(_Section):
    """What forces this board to netboot whatever its flash holds."""

    kind: Literal["u-boot-env", "boot-index"]
    description: str


class Pristine(_Section):
    """How a card with empty flash is provisioned (docs/CLASSES.md), unless class or slot say otherwise."""

    order: Annotated[PristineOrder, Field(strict=False)] = PristineOrder.STORE_FIRST
    save_image: bool = True


Seconds = Annotated[float, Field(gt=0, le=3600)]


class Deadlines(_Section):
    """Seconds that a start of this board may take, by the card's state (docs/CARD-LIFE.md): the master allows
    at least so many, whatever its own limits are."""

    reset: Seconds | None = None
    netbooting: Seconds | None = None
    agent_up: Seconds | None = None
    booting: Seconds | None = None


class Control(_Section):
    """First contents of the control area: how often a new image may be tried."""

    tries: Annotated[int, Field(ge=1, le=9)]


class Board(_Section):
    """A whole board file."""

    board: About
    firmware: Firmware
    console: Console
    flash: Flash
    kernel: Kernel
    netboot: Netboot
    qemu: Qemu
    slot: SlotRegister | None = None
    lever: Lever
    control: Control
    pristine: Pristine = Pristine()
    deadlines: Deadlines = Deadlines()

    @property
    def name(self) -> str:
        return self.board.name

    @property
    def cpu(self) -> CpuArch:
        return self.board.cpu


def load_board(name_or_path: str | Path, folder: Path = SHIPPED_BOARDS) -> Board:
    """The board of that name in `folder`, or of the file at that path (one that ends in `.toml`).

    Raises UsageError that lists everything wrong with the file, each with key, expected and found.
    """
    path = Path(name_or_path)
    if path.suffix != ".toml":
        path = folder / f"{name_or_path}.toml"
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as e:
        known = ", ".join(sorted(item.stem for item in folder.glob("*.toml"))) or "none"
        raise UsageError(
            "no such board", where=str(path), expected=f"one of: {known}", found=path.stem
        ) from e
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as e:
        raise UsageError("not a TOML file", where=str(path), found=str(e)) from e
    board = _check(document, path)
    if board.name != path.stem:
        raise UsageError(
            "board.name is not the file's name", where=str(path), expected=path.stem, found=board.name
        )
    _check_areas(board, path)
    if (board.firmware.loader == "uefi") is not (board.firmware.uefi is not None):
        raise UsageError(
            "firmware.uefi is for boards with firmware.loader uefi, and for all of them",
            where=str(path),
            expected=f"{board.firmware.loader} with it or without",
        )
    return board


def _check(document: dict[str, Any], path: Path) -> Board:
    try:
        return Board.model_validate(document)
    except ValidationError as e:
        raise faults_as_usage_error(e, path) from e


def faults_as_usage_error(error: ValidationError, path: Path) -> UsageError:
    """Everything pydantic found in `path`, one clause for each key."""
    clauses = []
    for fault in error.errors(include_url=False, include_context=False):
        key = ".".join(str(part) for part in fault["loc"])
        match fault["type"]:
            case "missing":
                clauses.append(f"{key}: expected a value, found none")
            case "extra_forbidden":
                clauses.append(f"{key}: expected no such key, found {fault['input']!r}")
            case _:
                wanted = fault["msg"].removeprefix("Value error, ").removeprefix("expected ")
                clauses.append(f"{key}: expected: {wanted}, found {fault['input']!r}")
    count = "a wrong key" if len(clauses) == 1 else f"{len(clauses)} wrong keys"
    return UsageError(f"{count}: {'; '.join(clauses)}", where=str(path))


def _check_areas(board: Board, path: Path) -> None:
    """The areas, with the partition tables at both ends, must fit the flash."""
    flash = board.flash
    areas = flash.control + 2 * flash.boot + (flash.store or ALIGNMENT) + flash.state + (flash.data or 0)
    if areas + 2 * ALIGNMENT > flash.size:
        raise UsageError(
            "flash.control, boot (twice), store, state and data do not fit flash.size",
            where=str(path),
            expected=f"at most {(flash.size - 2 * ALIGNMENT) // ALIGNMENT} MiB together",
            found=f"{areas // ALIGNMENT} MiB",
        )
