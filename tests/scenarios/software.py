"""What a site has before its first card: package keys, trust, boot images, the real package.

Knows the commands that make them, and how a boot image is made that cannot be used. Knows no chassis.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from typer.testing import CliRunner

from firmware_mgr.cli.main import app
from firmware_mgr.imaging.board import load_board
from firmware_mgr.imaging.build import SHIPPED_SOURCE, build_boot_image
from firmware_mgr.imaging.cache import CACHE_VARIABLE, DEFAULT_CACHE
from firmware_mgr.imaging.manifest import BootImage
from firmware_mgr.master.site import MasterPaths
from firmware_mgr.model.errors import FwmgrError, UsageError
from tests.scenarios.key_desk import KeyDesk

TOP = Path(__file__).resolve().parents[2]
PACKAGE = TOP / "packages" / "lighttpd"
#: One card of each stands in the rig; the first has a second card.
BOARDS = ("qemu-aarch64", "qemu-armv7", "qemu-x86_64")
BOARD = BOARDS[0]


class Breakage(Enum):
    """How a boot image goes wrong once its kernel is up: what its agent does instead of working."""

    HANGS = "import time\nwhile True:\n    time.sleep(3600)\n"
    PANICS = "open('/proc/sysrq-trigger', 'w').write('c')\n"


@dataclass(frozen=True, slots=True)
class Said:
    """What a command said, and how it ended."""

    code: int
    out: str
    error: str


def ask(*arguments: str | Path) -> Said:
    """Run `fwmgr` as a user does."""
    command = [sys.executable, "-m", "firmware_mgr.app.fwmgr", *map(str, arguments)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, cwd=TOP)
    return Said(done.returncode, done.stdout, done.stderr)


def ask_here(*arguments: str | Path) -> Said:
    """The same in this process: for commands that work on files alone, where a run asks for many."""
    done = CliRunner().invoke(app, list(map(str, arguments)))
    error = done.exception
    if isinstance(error, FwmgrError):
        return Said(2 if isinstance(error, UsageError) else 1, done.stdout, str(error))
    return Said(done.exit_code, done.stdout, "" if error is None else repr(error))


def fwmgr(*arguments: str | Path) -> str:
    """Run `fwmgr` as a user does; it has to end well."""
    return _ended_well(ask(*arguments), arguments)


def fwmgr_here(*arguments: str | Path) -> str:
    """In this process; it has to end well."""
    return _ended_well(ask_here(*arguments), arguments)


def _ended_well(said: Said, arguments: Sequence[str | Path]) -> str:
    assert said.code == 0, f"fwmgr {' '.join(map(str, arguments))}: {said.code}\n{said.out}{said.error}"
    return said.out


@dataclass(frozen=True, slots=True)
class Site:
    """One site's keys and software, in one directory."""

    directory: Path

    @property
    def master(self) -> MasterPaths:
        """The master's directory as it is before it has run: its authority and its trust."""
        return MasterPaths(self.directory / "master")

    @property
    def key(self) -> Path:
        return self.directory / "keys" / "site.key"

    def image_of(self, board: str) -> Path:
        return self.directory / f"image-{board}"

    @property
    def image(self) -> Path:
        """That of the first board."""
        return self.image_of(BOARD)

    @property
    def package(self) -> Path:
        return self.directory / "lighttpd.fwp"

    @property
    def desk(self) -> KeyDesk:
        return KeyDesk(self.key.parent, self.master, fwmgr)

    def make(self, boards: Sequence[str] = (BOARD,)) -> Site:
        """Keys, root of trust, boot images, package: the commands of a user's first day.

        Two who release sign the package.
        """
        self.desk.begin()
        commands: list[tuple[str | Path, ...]] = [
            ("image", "build", "--board", board, "--trust", self.master.trust, "--out", self.image_of(board))
            for board in dict.fromkeys(boards)
        ]
        signers = [word for name in ("site", "second") for word in ("--key", self.desk.private(name))]
        commands.append(("package", "build", PACKAGE, *signers, "--out", self.package))
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            list(pool.map(lambda command: fwmgr(*command), commands))
        return self

    def make_trust(self) -> None:
        """A package key and a flat keyring of it: for sites that have no root of trust."""
        fwmgr("key", "new", "site", "--dir", self.key.parent)
        fwmgr("master", "trust", self.key.with_suffix(".pem"), "--dir", self.master.directory)

    def build_image(
        self,
        out: Path,
        *,
        version: str | None = None,
        breakage: Breakage | None = None,
        agent: Path = SHIPPED_SOURCE,
        board: str | Path = BOARD,
    ) -> BootImage:
        """A boot image with this site's trust. `agent` is the folder `firmware_mgr` that its agent's code is
        taken from; with `breakage` its agent is replaced by that.
        """
        source = agent
        if breakage is not None:
            source = self.directory / f"source-{breakage.name.lower()}" / "firmware_mgr"
            if not source.exists():
                shutil.copytree(SHIPPED_SOURCE, source, ignore=shutil.ignore_patterns("__pycache__"))
            (source / "app" / "agent.py").write_text(breakage.value)
        cache = Path(os.environ.get(CACHE_VARIABLE, TOP / DEFAULT_CACHE))
        return build_boot_image(
            load_board(board),
            trust=self.master.trust,
            out=out,
            cache=cache,
            version=version,
            agent_source=source,
        )
