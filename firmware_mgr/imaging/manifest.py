"""A built boot image: a folder with its files and `manifest.json`, which lists them piece by piece.

Knows the manifest's form (docs/BOOT-IMAGES.md). Refuses to know how an image is built or stored.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from firmware_mgr.imaging.site_trust import SiteTrust
from firmware_mgr.model.errors import PeerError, UsageError
from firmware_mgr.model.ids import CpuArch, Digest, check_name, check_version
from firmware_mgr.model.software import BootImageRef
from firmware_mgr.package.root import RootRefused

MANIFEST_FORMAT = 1
MANIFEST_NAME = "manifest.json"
PIECE_SIZE = 1 << 20
#: The raw image of a boot partition, and the folder of what netboot serves.
PARTITION_FILE = "boot.img"
NETBOOT_FOLDER = "net/"


@dataclass(frozen=True, slots=True)
class FileSummary:
    """Length, digest, and the digest of every piece of `piece_size` bytes; the last piece is shorter."""

    length: int
    digest: Digest
    pieces: tuple[Digest, ...]
    piece_size: int = PIECE_SIZE

    @classmethod
    def of(cls, data: bytes) -> Self:
        view = memoryview(data)
        pieces = (view[start : start + PIECE_SIZE] for start in range(0, len(data), PIECE_SIZE))
        return cls(len(data), Digest.of(data), tuple(Digest.of(piece) for piece in pieces))

    def document(self) -> dict[str, Any]:
        pieces = [piece.hex for piece in self.pieces]
        sizes = {"length": self.length, "digest": self.digest.hex, "piece_size": self.piece_size}
        return {**sizes, "pieces": pieces}

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Self:
        pieces = tuple(Digest(str(piece)) for piece in document["pieces"])
        return cls(
            int(document["length"]), Digest(str(document["digest"])), pieces, int(document["piece_size"])
        )


@dataclass(frozen=True, slots=True)
class PackageSource:
    """A Debian package that went into the image."""

    name: str
    version: str
    arch: str
    sha256: str

    def document(self) -> dict[str, str]:
        return {"name": self.name, "version": self.version, "arch": self.arch, "sha256": self.sha256}


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a boot image is, file by file, and everything it was made of. `build_date`: seconds since 1970.
    `trust` is what its card believes; None in an image of an older fwmgr.
    """

    board: str
    cpu: CpuArch
    version: str
    build_date: int
    kernel: str
    inputs: Digest
    files: Mapping[str, FileSummary]
    packages: tuple[PackageSource, ...]
    trust: SiteTrust | None = None

    @property
    def reference(self) -> BootImageRef:
        partition = self.files[PARTITION_FILE]
        return BootImageRef(self.board, self.version, partition.digest, partition.length)

    @property
    def netboot_files(self) -> Mapping[str, FileSummary]:
        """What netboot serves, by the name in a request."""
        return {
            name.removeprefix(NETBOOT_FOLDER): summary
            for name, summary in self.files.items()
            if name.startswith(NETBOOT_FOLDER)
        }

    def document(self) -> dict[str, Any]:
        return {
            "format": MANIFEST_FORMAT,
            "board": self.board,
            "cpu": self.cpu.value,
            "version": self.version,
            "build_date": self.build_date,
            "kernel": self.kernel,
            "inputs": self.inputs.hex,
            "files": {name: summary.document() for name, summary in sorted(self.files.items())},
            "packages": [package.document() for package in self.packages],
            **({} if self.trust is None else {"trust": self.trust.document()}),
        }

    @classmethod
    def from_document(cls, document: Mapping[str, Any], where: str) -> Self:
        """Raises PeerError that names the field that is missing or wrong."""
        try:
            if document["format"] != MANIFEST_FORMAT:
                raise PeerError(
                    "manifest of another format",
                    where=where,
                    expected=MANIFEST_FORMAT,
                    found=document["format"],
                )
            manifest = cls(
                check_name(str(document["board"]), "board"),
                CpuArch(document["cpu"]),
                check_version(str(document["version"])),
                int(document["build_date"]),
                str(document["kernel"]),
                Digest(str(document["inputs"])),
                {str(name): FileSummary.from_document(item) for name, item in document["files"].items()},
                tuple(PackageSource(**item) for item in document["packages"]),
                SiteTrust.from_document(document["trust"]) if "trust" in document else None,
            )
            missing = {PARTITION_FILE} - manifest.files.keys()
            if not manifest.netboot_files:
                missing.add(f"{NETBOOT_FOLDER}…")
        except (KeyError, TypeError, ValueError, AttributeError, UsageError, RootRefused) as e:
            raise PeerError("not a boot image's manifest", where=where, found=repr(e)) from e
        if missing:
            raise PeerError("manifest lists not all files", where=where, expected=", ".join(sorted(missing)))
        return manifest


@dataclass(frozen=True, slots=True)
class BootImage:
    """A boot image in a folder."""

    folder: Path
    manifest: Manifest

    @property
    def reference(self) -> BootImageRef:
        return self.manifest.reference

    def path(self, name: str) -> Path:
        return self.folder / name


def read_boot_image(folder: Path) -> BootImage:
    """Read the manifest and check every file against it.

    Raises UsageError when there is no manifest, PeerError when a file is not what the manifest says.
    """
    path = folder / MANIFEST_NAME
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except OSError as e:
        raise UsageError(
            "not a boot image",
            where=str(folder),
            expected=MANIFEST_NAME,
            found=e.strerror,
            hint="name the folder that fwmgr image build made",
        ) from e
    except ValueError as e:
        raise PeerError("not a boot image's manifest", where=str(path), found=str(e)) from e
    manifest = Manifest.from_document(document, str(path))
    for name, summary in manifest.files.items():
        try:
            found = FileSummary.of((folder / name).read_bytes())
        except OSError as e:
            raise PeerError("file is missing", where=str(folder / name), found=e.strerror) from e
        if found.digest != summary.digest:
            raise PeerError(
                "file differs from the manifest",
                where=str(folder / name),
                expected=f"digest {summary.digest}, {summary.length} bytes",
                found=f"digest {found.digest}, {found.length} bytes",
            )
    return BootImage(folder, manifest)


def write_boot_image(folder: Path, manifest: Manifest, contents: Mapping[str, bytes]) -> BootImage:
    """Write an image into an empty folder, the manifest last."""
    for name, data in contents.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    text = json.dumps(manifest.document(), indent=1, ensure_ascii=False) + "\n"
    (folder / MANIFEST_NAME).write_text(text, encoding="utf-8")
    return BootImage(folder, manifest)
