"""The boot image of a simulated board: what a loader would start, as bytes that are checked before.

Knows its form: magic, lengths, a JSON document, filler, and the SHA-256 of all before. What the document's
behaviour brings about is the card's business.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any, Self

from firmware_mgr.flash.device import FlashDevice
from firmware_mgr.flash.gpt import FlashLayout
from firmware_mgr.imaging.board import Board
from firmware_mgr.imaging.cache import place_copy
from firmware_mgr.imaging.manifest import (
    MANIFEST_NAME,
    NETBOOT_FOLDER,
    PARTITION_FILE,
    BootImage,
    FileSummary,
    Manifest,
    read_boot_image,
    write_boot_image,
)
from firmware_mgr.imaging.rootfs import ROOT_FILE, TRUST_FILES
from firmware_mgr.imaging.site_trust import read_site_trust
from firmware_mgr.imaging.uboot import NETBOOT_FIT, NETBOOT_SCRIPT
from firmware_mgr.model.errors import DeviceError, PeerError
from firmware_mgr.model.ids import CpuArch, Digest
from firmware_mgr.model.software import canonical_json

MAGIC = b"FWMGRSIM"
_HEAD = 16  # magic, total length (4), length of the document (4)
_TAIL = hashlib.sha256().digest_size
DEFAULT_SIZE = (1 << 20) + 40_000
BUILD_DATE = 1_780_000_000


class Behaviour(Enum):
    """What an image does when it is started."""

    GOOD = "good"
    HANG = "hang"
    PANIC = "panic"


@dataclass(frozen=True, slots=True)
class SimImage:
    """`trust` holds the texts of `authority.pem`, `keys.json` and, if there is one, `root.json`.

    `agent_version` is what its agent says.
    """

    board: str
    cpu: CpuArch
    version: str
    layout: FlashLayout
    trust: Mapping[str, str]
    behaviour: Behaviour = Behaviour.GOOD
    agent_version: str = "sim"
    build_date: int = BUILD_DATE
    takes_test: bool = False

    def encode(self, size: int = DEFAULT_SIZE) -> bytes:
        """`size` bytes, or as many as the document needs."""
        layout = {name: getattr(self.layout, name) for name in ("control", "boot", "store", "state", "data")}
        document = canonical_json(
            {
                "board": self.board,
                "cpu": self.cpu.value,
                "version": self.version,
                "layout": layout,
                "trust": dict(self.trust),
                "behaviour": self.behaviour.value,
                "agent_version": self.agent_version,
                "build_date": self.build_date,
                "takes_test": self.takes_test,
            }
        )
        total = max(size, _HEAD + len(document) + _TAIL)
        body = MAGIC + total.to_bytes(4, "big") + len(document).to_bytes(4, "big") + document
        body += _filler(f"{self.board} {self.version}", total - _TAIL - len(body))
        return body + hashlib.sha256(body).digest()

    @classmethod
    def decode(cls, raw: bytes) -> Self:
        """Raises PeerError unless every byte is right."""
        if raw[:8] != MAGIC or len(raw) < _HEAD + _TAIL:
            raise PeerError("not an image for a simulated board", found=raw[:8])
        total = int.from_bytes(raw[8:12], "big")
        if len(raw) != total:
            raise PeerError("image has another length", expected=total, found=len(raw))
        if hashlib.sha256(raw[:-_TAIL]).digest() != raw[-_TAIL:]:
            raise PeerError("image's checksum differs")
        document: Mapping[str, Any] = json.loads(raw[_HEAD : _HEAD + int.from_bytes(raw[12:16], "big")])
        return cls(
            document["board"],
            CpuArch(document["cpu"]),
            document["version"],
            FlashLayout(**document["layout"]),
            document["trust"],
            Behaviour(document["behaviour"]),
            document["agent_version"],
            document["build_date"],
            document["takes_test"],
        )

    @classmethod
    def load(cls, window: FlashDevice) -> Self:
        """As a loader does, from the beginning of a boot partition. Raises PeerError or DeviceError."""
        head = window.read(0, _HEAD)
        total = int.from_bytes(head[8:12], "big")
        if head[:8] != MAGIC or not _HEAD + _TAIL <= total <= window.size:
            raise PeerError("not an image for a simulated board", found=head[:8])
        return cls.decode(window.read(0, total))


def _filler(seed: str, length: int) -> bytes:
    """Bytes that do not shrink and differ from image to image."""
    return hashlib.shake_128(seed.encode()).digest(max(length, 0))


def script(fit: bytes) -> bytes:
    """The first file that netboot hands out: it says what to fetch, and its digest."""
    return f"fetch boot.itb {Digest.of(fit)}\n".encode()


def read_script(raw: bytes) -> tuple[str, Digest]:
    """Raises PeerError."""
    words = raw.decode("ascii", "replace").split()
    if len(words) != 3 or words[0] != "fetch":
        raise PeerError("not a netboot script for a simulated board", found=raw[:40])
    return words[1], Digest(words[2])


def layout_of(board: Board) -> FlashLayout:
    flash = board.flash
    return FlashLayout(flash.control, flash.boot, flash.store or 0, flash.state, data=flash.data or 0)


def build_sim_image(
    board: Board,
    *,
    trust: Path,
    out: Path,
    version: str,
    behaviour: Behaviour = Behaviour.GOOD,
    agent_version: str = "sim",
    size: int = DEFAULT_SIZE,
    takes_test: bool = False,
) -> BootImage:
    """A boot image's folder, as `imaging` makes one. `trust` is the master's folder of public trust."""
    names = (*TRUST_FILES, ROOT_FILE) if (trust / ROOT_FILE).exists() else TRUST_FILES
    image = SimImage(
        board.name,
        board.cpu,
        version,
        layout_of(board),
        {name: (trust / name).read_text() for name in names},
        behaviour,
        agent_version,
        takes_test=takes_test,
    )
    fit = image.encode(size)
    contents = {
        PARTITION_FILE: fit,
        NETBOOT_FOLDER + NETBOOT_SCRIPT: script(fit),
        NETBOOT_FOLDER + NETBOOT_FIT: fit,
    }
    summaries = {name: FileSummary.of(data) for name, data in contents.items()}
    manifest = Manifest(
        board.name,
        board.cpu,
        version,
        image.build_date,
        "sim",
        Digest.of(fit),
        summaries,
        (),
        read_site_trust(trust, takes_test=takes_test),
    )
    out.mkdir(parents=True)
    return write_boot_image(out, manifest, contents)


def place_sim_image(
    board: Board, *, trust: Path, out: Path, version: str, takes_test: bool = False
) -> BootImage:
    """The same for a person: `out` may hold an older image, which is replaced, whole or not at all."""
    with tempfile.TemporaryDirectory(prefix="fwsim-image-") as folder:
        place = Path(folder) / "image"
        built = build_sim_image(board, trust=trust, out=place, version=version, takes_test=takes_test)
        place_copy(built.folder, out, lambda path: (path / MANIFEST_NAME).is_file())
    return read_boot_image(out)


def starts(window: FlashDevice, board: str) -> SimImage | None:
    """The image in a boot partition, if a loader of this board would start it."""
    try:
        image = SimImage.load(window)
    except (PeerError, DeviceError):
        return None
    return image if image.board == board else None
