"""What a card should run when nobody has said otherwise, and what netboot serves it. Pure.

Knows images and packages as the catalogue lists them. A card's own wanted set always goes first.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from firmware_mgr.master.documents import ImageRecord, PackageRecord
from firmware_mgr.model.errors import UsageError
from firmware_mgr.model.ids import NEUTRAL_CPU
from firmware_mgr.model.software import SoftwareSet


def newest_image(board: str, images: Iterable[ImageRecord]) -> ImageRecord | None:
    """The image for the board that was added last."""
    fitting = [image for image in images if image.board == board]
    return max(fitting, key=lambda image: image.added_at, default=None)


def default_set(
    board: str, cpu: str, images: Sequence[ImageRecord], packages: Sequence[PackageRecord]
) -> SoftwareSet:
    """The newest image for the board and the newest version of every package that has modules for its CPU.

    Raises UsageError when there is no image for the board.
    """
    image = newest_image(board, images)
    if image is None:
        known = ", ".join(sorted({image.board for image in images})) or "none"
        raise UsageError(
            "no boot image for this board",
            expected=f"an image for {board}",
            found=known,
            hint="add one with: fwmgr image add DIR",
        )
    newest: dict[str, PackageRecord] = {}
    for package in packages:
        if cpu not in package.cpus and NEUTRAL_CPU not in package.cpus:
            continue
        known_one = newest.get(package.name)
        if known_one is None or package.added_at >= known_one.added_at:
            newest[package.name] = package
    ordered = sorted(newest.values(), key=lambda package: (-package.added_at, package.name))
    return SoftwareSet(image.ref, tuple(package.ref for package in ordered))


def pick_image(board: str, version: str, images: Iterable[ImageRecord]) -> ImageRecord:
    """The board's image of that version (or digest prefix). Raises UsageError that lists what there is."""
    fitting = [image for image in images if image.board == board]
    for image in sorted(fitting, key=lambda image: image.added_at, reverse=True):
        if version in (image.version, image.digest.hex) or (
            len(version) >= 8 and image.digest.hex.startswith(version)
        ):
            return image
    known = ", ".join(sorted({image.version for image in fitting})) or "none"
    raise UsageError("no such boot image", where=f"board {board}", expected=f"one of {known}", found=version)


def pick_package(text: str, packages: Iterable[PackageRecord]) -> PackageRecord:
    """`NAME` (the newest) or `NAME=VERSION`. Raises UsageError that lists what there is."""
    name, _, version = text.partition("=")
    fitting = [package for package in packages if package.name == name and version in ("", package.version)]
    if fitting:
        return max(fitting, key=lambda package: package.added_at)
    known = ", ".join(sorted({f"{package.name}={package.version}" for package in packages})) or "none"
    raise UsageError("no such package", expected=f"one of {known}", found=text)
