"""What simulated cards run: a signed package with modules for every CPU, and what its programs do.

Knows how it is made. Refuses to know who trusts its key.
"""

from __future__ import annotations

import hashlib
import signal
from collections.abc import Sequence
from pathlib import Path

from firmware_mgr.imaging.board import Board, load_board
from firmware_mgr.lab.sim.worlds import Script
from firmware_mgr.model.ids import CpuArch
from firmware_mgr.package.contents import ModuleKind
from firmware_mgr.package.process import NumericUser, ProcessSpec, Readiness, Restart
from firmware_mgr.packaging.build import ModuleSource, PackageHead, build_package
from firmware_mgr.packaging.keys import SigningKey

BOARDS = Path(__file__).parent / "boards"
BOARD_FILES = tuple(sorted(BOARDS.glob("*.toml")))
PACKAGE = "web"
PROGRAM = "usr/bin/webd"
PORT = 8080
BUILD_DATE = 1_780_000_000
#: Bytes of its program for each CPU, which do not shrink.
PROGRAM_BYTES = 60_000


def sim_boards() -> dict[str, Board]:
    """The simulated boards by name: one for each CPU."""
    boards = [load_board(path) for path in BOARD_FILES]
    return {board.name: board for board in boards}


def web_package(
    key: SigningKey,
    version: str = "1.0",
    *,
    cpus: Sequence[CpuArch] = tuple(CpuArch),
    program_bytes: int = PROGRAM_BYTES,
    build_date: int = BUILD_DATE,
    others: Sequence[SigningKey] = (),
) -> bytes:
    """A package whose one process serves a page; signed by `key`, and by `others` too."""
    process = ProcessSpec(
        "webd",
        PROGRAM,
        (f"/{PROGRAM}",),
        (),
        "/",
        NumericUser(1000, 1000),
        Readiness.parse(f"tcp:{PORT}"),
        signal.SIGTERM,
        5,
        Restart.ALWAYS,
        False,
    )
    programs = [
        ModuleSource(
            PROGRAM,
            ModuleKind.SERVER_BINARY,
            hashlib.shake_128(f"webd {version} {cpu.value}".encode()).digest(program_bytes),
            cpu,
            0o755,
        )
        for cpu in cpus
    ]
    page = ModuleSource("srv/www/index.html", ModuleKind.DATA, f"<p>version {version}</p>".encode())
    return build_package(
        PackageHead(PACKAGE, version, build_date, processes=(process,)), [*programs, page], [key, *others]
    )


def good_scripts() -> dict[str, list[Script]]:
    """The server comes up after a moment and serves until it is stopped."""
    return {f"/{PROGRAM}": [Script(serves=PORT, after=0.3)]}
