"""A kernel: its image and its modules, from Debian's package or from a user's own file or folder.

Knows where a kernel lies in such a tree and what a usable image looks like. Refuses to know how it starts.
"""

from __future__ import annotations

import gzip
import posixpath
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from firmware_mgr.imaging.debs import read_deb
from firmware_mgr.imaging.recipe import read_folder
from firmware_mgr.imaging.rootfs import merged
from firmware_mgr.imaging.tree import File, Node, Tree, read_tar
from firmware_mgr.model.errors import UsageError
from firmware_mgr.model.ids import CpuArch

_IMAGE_NAME = re.compile(r"^(?:boot/)?(?:vmlinuz|vmlinux|Image)(?:-[^/]+)?(?:\.gz)?$")
_RELEASE = re.compile(r"^usr/lib/modules/(?P<release>[^/]+)/")
_GZIP = b"\x1f\x8b"
#: Offset and value of the magic in a kernel image (Linux Documentation/arm64/booting.rst; arm: zImage;
#: x86/boot.rst).
_MAGIC = {
    CpuArch.AARCH64: (0x38, b"ARM\x64"),
    CpuArch.ARMV7: (0x24, b"\x18\x28\x6f\x01"),
    CpuArch.X86_64: (0x202, b"HdrS"),
}
#: The first root file system is packed with zstd; any distribution's kernel since 5.9 reads that.
_NEEDED_OPTION = "CONFIG_RD_ZSTD=y"


@dataclass(frozen=True, slots=True)
class Kernel:
    """The image as the loader takes it, unpacked; its release; the tree that holds its modules."""

    image: bytes
    release: str
    tree: Tree

    @property
    def packed(self) -> bytes:
        """The image, gzipped without name and time."""
        return gzip.compress(self.image, 9, mtime=0)


def load_tree(path: Path) -> Tree:
    """The content of a folder, a tar file (compressed or not) or a Debian package.

    Raises UsageError when there is none, PeerError when it cannot be read.
    """
    if path.is_dir():
        return read_folder(path)
    if path.suffix == ".deb":
        return read_deb(path)
    try:
        with path.open("rb") as stream:
            return read_tar(stream, str(path))
    except OSError as e:
        raise UsageError(
            "own kernel or root file system cannot be read",
            where=str(path),
            expected="a folder, a tar file or a Debian package",
            found=e.strerror,
            hint="--kernel and --rootfs name files of this machine; without them Debian's are taken",
        ) from e


def find_kernel(tree: Mapping[str, Node], cpu: CpuArch, where: str) -> Kernel:
    """The one kernel of a tree: `boot/vmlinuz-RELEASE`, with `lib/modules/RELEASE` when it has modules.

    Raises UsageError when there is none, more than one, or one for another CPU.
    """
    tree = merged(tree)
    images = [
        path for path, node in sorted(tree.items()) if _IMAGE_NAME.match(path) and isinstance(node, File)
    ]
    releases = sorted({match["release"] for path in tree if (match := _RELEASE.match(path))})
    if len(images) != 1 or len(releases) > 1:
        raise UsageError(
            "not exactly one kernel",
            where=where,
            expected="boot/vmlinuz-RELEASE and lib/modules/RELEASE",
            found=", ".join([*images, *releases]) or "none",
            hint="what a kernel's folder or package holds: docs/BOOT-IMAGES.md",
        )
    node = tree[images[0]]
    assert isinstance(node, File)
    image = gzip.decompress(node.data) if node.data.startswith(_GZIP) else node.data
    offset, magic = _MAGIC.get(cpu, (0, b""))
    if image[offset : offset + len(magic)] != magic:
        found = image[offset : offset + len(magic)].hex() or "nothing"
        raise UsageError(
            f"not a kernel image for {cpu.value}",
            where=f"{where}: {images[0]}",
            expected=f"{magic.hex()} at offset {offset}",
            found=found,
            hint="a plain or gzipped Image; not one packed for EFI (CONFIG_EFI_ZBOOT)",
        )
    _check_options(tree, where)
    release = releases[0] if releases else posixpath.basename(images[0]).partition("-")[2]
    return Kernel(image, release, tree)


def _check_options(tree: Mapping[str, Node], where: str) -> None:
    """When the kernel brings its configuration, it must be able to unpack the first root file system."""
    for path, node in tree.items():
        if not path.startswith("boot/config") or not isinstance(node, File):
            continue
        if _NEEDED_OPTION not in node.data.decode(errors="replace").splitlines():
            place = f"{where}: {path}"
            raise UsageError("kernel cannot unpack the image", where=place, expected=_NEEDED_OPTION)
