"""Whether a card would believe a package, said before it is asked; and what to know of one that it would.

Pure. Knows boot images, which carry trust, and packages as the catalogue lists them. The card judges again.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from firmware_mgr.master.documents import ImageRecord, PackageRecord
from firmware_mgr.model.errors import UsageError
from firmware_mgr.model.ids import Digest, SlotId
from firmware_mgr.model.software import SoftwareSet
from firmware_mgr.package.errors import PackageRefused
from firmware_mgr.package.root import Root
from firmware_mgr.package.root_trust import RootTrust
from firmware_mgr.package.trust import SignedPackage, Trust


def signed_package(package: PackageRecord) -> SignedPackage:
    return SignedPackage(package.name, package.version, int(package.contents.get("build_date", 0)))


def check_trusted(
    slot: SlotId,
    software: SoftwareSet,
    images: Sequence[ImageRecord],
    packages: Sequence[PackageRecord],
    held: Collection[Digest] = (),
) -> None:
    """Raises UsageError when the card, running the set's boot image, would refuse one of the packages.

    `held` are packages that it has stored. What an older fwmgr did not note of images and packages is not
    known, and left to the card.
    """
    ref = software.boot_image
    image = next((one for one in images if (one.board, one.digest) == (ref.board, ref.digest)), None)
    if image is None:
        return
    for package in packages:
        if package.ref in software.packages and package.signed_by:
            where = f"slot {slot}, package {package.name} {package.version}"
            if image.root is not None:
                _check_by_root(image, package, where, held=package.digest in held)
            elif image.keys is not None:
                _check_by_keys(image, package, where)


def _check_by_root(image: ImageRecord, package: PackageRecord, where: str, *, held: bool) -> None:
    outside: Trust = RootTrust(Root.from_document(image.root), image.takes_test)
    trust = outside.held() if held else outside
    try:
        trust.check_package(signed_package(package), package.signed_by, where)
    except PackageRefused as e:
        raise UsageError(
            f"the card would refuse a package: {e.what}",
            where=where,
            expected=f"{e.expected} (boot image {image.version})",
            found=e.found,
            hint=e.hint,
        ) from e


def _check_by_keys(image: ImageRecord, package: PackageRecord, where: str) -> None:
    believed = {key.hex for key in image.keys or ()}
    strange = [key for key in package.signed_by if key not in believed]
    if strange:
        raise UsageError(
            "the card would refuse a package: its boot image does not trust who signed it",
            where=where,
            expected=f"a key that boot image {image.version} trusts: "
            + (", ".join(sorted(key[:12] for key in believed)) or "it trusts none"),
            found=f"key {', '.join(key[:12] for key in strange)}",
            hint=f"build the boot image again, since the key was trusted after it, and add it: "
            f"fwmgr image build --board {image.board} …, fwmgr image add DIR",
        )


def running_warnings(
    entry_slot: SlotId,
    running: ImageRecord,
    software: SoftwareSet,
    packages: Sequence[PackageRecord],
    held: Collection[Digest],
) -> list[str]:
    """What the agent that runs now would refuse, though that of the wanted image would not.

    Who burns judges: after a restart from flash that is the image there, in a burn-all the new one.
    """
    if running.digest == software.boot_image.digest:
        return []
    try:
        check_trusted(entry_slot, SoftwareSet(running.ref, software.packages), [running], packages, held)
    except UsageError as e:
        return [
            f"{e.where}: boot image {running.version}, which the card runs, would refuse it: {e.what}; "
            f"fwmgr burn-all --cards {entry_slot} starts boot image {software.boot_image.version} first"
        ]
    return []


def warnings(packages: Iterable[PackageRecord], trust: Trust) -> list[str]:
    """What a user who chose these should know: below a minimum now, or not acceptable any more."""
    said = []
    for package in packages:
        if not package.signed_by:
            continue
        below = trust.below_minimum(signed_package(package))
        if below:
            said.append(f"{below}: it is stored, so it may be gone back to")
        try:
            trust.held().check_package(signed_package(package), package.signed_by, "")
        except PackageRefused as e:
            text = f"{package.name} {package.version} would not be accepted any more: {e.what}"
            said.append(text + (f": {e.found}" if e.found else ""))
    return said
