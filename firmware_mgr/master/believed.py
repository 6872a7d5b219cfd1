"""Whether a card would believe a package, said before it is asked; and what to know of one that it would.

Pure. Knows boot images, which carry trust, and packages as the catalogue lists them. The card judges again.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence

from firmware_mgr.master.documents import ImageRecord, PackageRecord
from firmware_mgr.master.root_offer import holds_root
from firmware_mgr.model.errors import FwmgrError, UsageError
from firmware_mgr.model.ids import Digest, SlotId
from firmware_mgr.model.software import SoftwareSet, canonical_json
from firmware_mgr.package.errors import PackageRefused
from firmware_mgr.package.root import Root
from firmware_mgr.package.root_chain import RootChain
from firmware_mgr.package.root_trust import RootTrust
from firmware_mgr.package.trust import SignedPackage, Trust


def signed_package(package: PackageRecord) -> SignedPackage:
    """Catalogues of older masters have the build date alone."""
    signed_at = package.contents.get("signed_at", package.contents.get("build_date", 0))
    return SignedPackage(package.name, package.version, int(signed_at))


def check_trusted(
    slot: SlotId,
    software: SoftwareSet,
    images: Sequence[ImageRecord],
    packages: Sequence[PackageRecord],
    held: Collection[Digest] = (),
    *,
    followed: RootChain | None = None,
) -> None:
    """Raises UsageError when the card, running the set's boot image, would refuse one of the packages.

    `held` are packages that it has stored. `followed` is the site's chain of roots, for a card that follows
    it: its newest root judges where the image carries an earlier one of the line. What an older fwmgr did not
    note of images and packages is not known, and left to the card.
    """
    ref = software.boot_image
    image = next((one for one in images if (one.board, one.digest) == (ref.board, ref.digest)), None)
    if image is None:
        return
    for package in packages:
        if package.ref in software.packages and package.signed_by:
            where = f"slot {slot}, package {package.name} {package.version}"
            if image.root is not None:
                _check_by_root(image, package, where, followed, held=package.digest in held)
            elif image.keys is not None:
                _check_by_keys(image, package, where)


def _check_by_root(
    image: ImageRecord, package: PackageRecord, where: str, followed: RootChain | None, *, held: bool
) -> None:
    root = Root.from_document(image.root)
    said = f"boot image {image.version}"
    if followed is not None and holds_root(followed, Digest.of(canonical_json(root.document()))):
        root = followed.newest
        said += f", root of trust version {root.version}"
    outside: Trust = RootTrust(root, image.takes_test)
    trust = outside.held() if held else outside
    try:
        trust.check_package(signed_package(package), package.signed_by, where)
    except PackageRefused as e:
        raise UsageError(
            f"the card would refuse a package: {e.what}",
            where=where,
            expected=f"{e.expected} ({said})",
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
    *,
    followed: RootChain | None = None,
) -> list[str]:
    """What the agent that runs now would refuse, though that of the wanted image would not.

    Who burns judges: after a restart from flash that is the image there, in a burn-all the new one.
    """
    if running.digest == software.boot_image.digest:
        return []
    try:
        now = SoftwareSet(running.ref, software.packages)
        check_trusted(entry_slot, now, [running], packages, held, followed=followed)
    except UsageError as e:
        return [
            f"{e.where}: boot image {running.version}, which the card runs, would refuse it: {e.what}; "
            f"fwmgr burn-all --cards {entry_slot} starts boot image {software.boot_image.version} first"
        ]
    return []


def warnings_by(site: Callable[[], Trust], packages: Sequence[PackageRecord]) -> list[str]:
    """`warnings` by the site's trust of today. When that is damaged, the user is told: nothing else fails."""
    if not packages:
        return []
    try:
        return warnings(packages, site())
    except FwmgrError as e:
        return [f"no package is accepted now: {e}"]


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
