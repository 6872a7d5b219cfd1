"""A card's flash in memory and a master's blobs in memory, small enough to cut power everywhere."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from firmware_mgr.card.areas import Areas, open_areas
from firmware_mgr.card.burn import Burner
from firmware_mgr.card.inspection import Inspection, inspect
from firmware_mgr.card.loader import LoaderWords
from firmware_mgr.flash.boot_partition import BootImageLayout
from firmware_mgr.flash.device import MemoryDevice
from firmware_mgr.flash.gpt import FlashLayout
from firmware_mgr.link import messages as m
from firmware_mgr.model.errors import PeerError
from firmware_mgr.model.ids import CpuArch, Digest
from firmware_mgr.model.software import BootImageRef, PackageRef, SoftwareSet
from firmware_mgr.packaging.build import build_package
from tests.package.samples import HEAD, KEY, KEYRING, SOURCES

MIB = 1 << 20
LAYOUT = FlashLayout(MIB, 3 * MIB, 4 * MIB, 2 * MIB)
BOARD = "qemu-aarch64"
NETBOOTED = LoaderWords(m.BootSource.NETBOOT)
FROM_A = LoaderWords(m.BootSource.A, "boot")
FROM_B = LoaderWords(m.BootSource.B, "boot")


def image(seed: int, length: int = 2 * MIB + 1000) -> bytes:
    return bytes((seed + n * 7) & 0xFF for n in range(251)) * (length // 251 + 1)


class Master:
    """Gives blobs by digest, and counts what it gave."""

    def __init__(self) -> None:
        self.blobs: dict[Digest, bytes] = {}
        self.served: Counter[Digest] = Counter()

    def add(self, data: bytes) -> Digest:
        digest = Digest.of(data)
        self.blobs[digest] = data
        return digest

    def fetch(self, digest: Digest, start: int, length: int) -> Iterator[bytes]:
        data = self.blobs[digest][start : start + length]
        if len(data) != length:
            raise PeerError("range outside the blob", where=digest.short)
        self.served[digest] += length
        yield data

    def order(
        self,
        version: str = "1",
        seed: int = 1,
        package: bytes | None = None,
        raw: bytes | None = None,
        name: str = "sample",
    ) -> m.Burn:
        """A set of one boot image and one package, both added to the blobs."""
        raw = image(seed)[: 2 * MIB + 1000] if raw is None else raw
        layout = BootImageLayout.of(raw)
        self.add(raw)
        content = build_package(HEAD, SOURCES, [KEY]) if package is None else package
        ref = PackageRef(name, "1.2-3", self.add(content), len(content))
        software = SoftwareSet(BootImageRef(BOARD, version, layout.digest, layout.length), (ref,))
        return m.Burn(software, m.BootPieces(MIB, layout.pieces), 2)


def flash(size: int = 16 * MIB) -> MemoryDevice:
    return MemoryDevice(size)


def opened(device: MemoryDevice, words: LoaderWords = NETBOOTED) -> Areas:
    return open_areas(device, LAYOUT, words)


def burner(device: MemoryDevice, master: Master, words: LoaderWords = NETBOOTED) -> Burner:
    documents: dict[str, bytes | None] = {"identity/key": b"key", "identity/certificate": None}
    return Burner(
        opened(device, words),
        master,
        KEYRING,
        CpuArch.AARCH64,
        BOARD,
        lambda: documents,
        lambda *_: None,
        lambda: 0.0,
    )


def looked(device: MemoryDevice, words: LoaderWords = NETBOOTED) -> Inspection:
    return inspect(opened(device, words), KEYRING, CpuArch.AARCH64)
