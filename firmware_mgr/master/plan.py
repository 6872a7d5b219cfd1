"""Images and packages picked from the catalogue's lists: the newest that fits, or one by name. Pure.

Who decides which are picked is `wanted`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from firmware_mgr.master.documents import ImageRecord, PackageRecord
from firmware_mgr.model.errors import UsageError
from firmware_mgr.model.ids import NEUTRAL_CPU
from firmware_mgr.model.software import BootImageRef, PackageRef
from firmware_mgr.model.versions import Order, debian_order

#: Digits of a digest that name an image.
LEAST_PREFIX = 8


def age(record: ImageRecord | PackageRecord) -> tuple[float, Order]:
    """What is newer has the greater one: what was added last; of what came together, the higher version."""
    return record.added_at, debian_order(record.version)


def newest_image(board: str, images: Iterable[ImageRecord]) -> ImageRecord | None:
    """The image for the board that was added last; one whose cards take test packages only when there is no
    other: such a one is chosen by name.
    """
    fitting = [image for image in images if image.board == board]
    return max(fitting, key=lambda image: (not image.takes_test, age(image)), default=None)


def newest_image_ref(board: str, images: Sequence[ImageRecord]) -> BootImageRef:
    """Raises UsageError when there is no image for the board."""
    image = newest_image(board, images)
    if image is None:
        known = ", ".join(sorted({image.board for image in images})) or "none"
        raise UsageError(
            "no boot image for this board",
            expected=f"an image for {board or 'a known board'}",
            found=known,
            hint="add one with: fwmgr image add DIR",
        )
    return image.ref


def newest_packages(
    cpu: str, packages: Iterable[PackageRecord], preferred: Mapping[str, str] | None = None
) -> tuple[PackageRef, ...]:
    """The preferred version, or else the newest, of every package that has modules for the CPU.

    What was added last is first.
    """
    fitting = [one for one in packages if cpu in one.cpus or NEUTRAL_CPU in one.cpus]
    preferred = preferred or {}
    newest: dict[str, PackageRecord] = {}
    for package in sorted(fitting, key=lambda one: (preferred.get(one.name) == one.version, age(one))):
        newest[package.name] = package
    ordered = sorted(newest.values(), key=lambda package: (-package.added_at, package.name))
    return tuple(package.ref for package in ordered)


def pick_image(board: str, version: str, images: Iterable[ImageRecord]) -> ImageRecord:
    """The board's image of that version (or digest prefix). Raises UsageError that lists what there is."""
    fitting = [image for image in images if image.board == board]
    for image in sorted(fitting, key=age, reverse=True):
        if is_called(image, version):
            return image
    known = ", ".join(sorted({image.version for image in fitting})) or "none"
    raise UsageError("no such boot image", where=f"board {board}", expected=f"one of {known}", found=version)


def is_called(image: ImageRecord, name: str) -> bool:
    """Whether a user who says `name` may mean this image: its version, its digest, or how that begins."""
    return name == image.version or (len(name) >= LEAST_PREFIX and image.digest.hex.startswith(name))
