"""What a card should run: what its own configuration says, else its class's, else its board's, else the
preferred or newest that fits.

Pure. Knows configurations, boot images and packages as the catalogue lists them. WHO_DECIDES is the whole of
the precedence; the table at the end says what a swapped card takes over (docs/CLASSES.md).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from firmware_mgr.master import plan
from firmware_mgr.master.believed import check_trusted
from firmware_mgr.master.board_wish import Preferred
from firmware_mgr.master.card_class import ClassRecord
from firmware_mgr.master.configuration import Configuration, Origin, WantedFrom
from firmware_mgr.master.documents import ImageRecord, PackageRecord
from firmware_mgr.model.errors import UsageError
from firmware_mgr.model.ids import NEUTRAL_CPU, CpuArch, Digest, SlotId
from firmware_mgr.model.pristine import Provisioning
from firmware_mgr.model.software import BootImageRef, PackageRef, SoftwareSet
from firmware_mgr.package.root_chain import RootChain

#: The first of these that says something decides; when none does, what is preferred or newest.
WHO_DECIDES: Final = (Origin.CARD, Origin.CLASS, Origin.BOARD)


#: Brings packages that nobody named into an order that is right on a card of that board.
InOrder = Callable[[tuple[PackageRef, ...], str], tuple[PackageRef, ...]]


def as_added(packages: tuple[PackageRef, ...], _board: str) -> tuple[PackageRef, ...]:
    """For lists of which nothing more is known."""
    return packages


@dataclass(frozen=True, slots=True)
class Place:
    """A slot, the card in it, and who has a say there. `kept` is the slot's wanted set so far: a part of it
    that nobody decided, then and now, stays as it was. `held`: packages that the card has stored. `followed`:
    the site's chain of roots, where the card would follow it when it is burned.
    """

    slot: SlotId
    board: str
    cpu: CpuArch | None
    own: Configuration
    card_class: ClassRecord | None = None
    kept: SoftwareSet | None = None
    kept_from: WantedFrom = field(default_factory=WantedFrom)
    held: frozenset[Digest] = frozenset()
    of_board: Configuration = field(default_factory=Configuration)
    preferred: Preferred = field(default_factory=Preferred)
    followed: RootChain | None = None

    @property
    def of_class(self) -> Configuration:
        return Configuration() if self.card_class is None else self.card_class.configuration

    def says(self, origin: Origin) -> Configuration:
        """What that one of WHO_DECIDES says."""
        return {Origin.CARD: self.own, Origin.CLASS: self.of_class, Origin.BOARD: self.of_board}[origin]

    def decides(self, about: Callable[[Configuration], bool]) -> Origin:
        """Who is the first to say something about it."""
        return next((origin for origin in WHO_DECIDES if about(self.says(origin))), Origin.DEFAULT)


@dataclass(frozen=True, slots=True)
class Wanted:
    software: SoftwareSet
    origin: WantedFrom


def wanted(
    place: Place,
    images: Sequence[ImageRecord],
    packages: Sequence[PackageRecord],
    in_order: InOrder = as_added,
) -> Wanted:
    """Raises UsageError that names slot, what does not fit, and the next step."""
    image_from = image_origin(place)
    packages_from = place.decides(lambda said: said.packages is not None)
    features_from = place.decides(lambda said: said.features is not None)
    kept = place.kept if place.kept is not None and place.kept.boot_image.board == place.board else None
    if kept is not None and (image_from, place.kept_from.boot_image) == (Origin.DEFAULT, Origin.DEFAULT):
        boot_image = kept.boot_image
    else:
        boot_image = _image(place, image_from, images)
    if kept is not None and (packages_from, place.kept_from.packages) == (Origin.DEFAULT, Origin.DEFAULT):
        refs = kept.packages
    elif packages_from is Origin.DEFAULT:
        # What is signed only for tests is for cards whose boot image was chosen for tests.
        image = next((one for one in images if one.ref == boot_image), None)
        takes_test = image is not None and image.takes_test
        choice = [package for package in packages if takes_test or not package.is_test]
        cpu = "" if place.cpu is None else place.cpu.value
        refs = in_order(plan.newest_packages(cpu, choice, place.preferred.packages), place.board)
    else:
        wishes = place.says(packages_from).packages or ()
        refs = tuple(_package(place, wish, packages_from, packages) for wish in wishes)
    features = None if features_from is Origin.DEFAULT else place.says(features_from).features
    software = SoftwareSet(boot_image, refs, features)
    check_trusted(place.slot, software, images, packages, place.held, followed=place.followed)
    return Wanted(software, WantedFrom(image_from, packages_from, features_from))


def wanted_image(place: Place, images: Sequence[ImageRecord]) -> BootImageRef:
    """The boot image alone, looked up anew. Raises UsageError."""
    return _image(place, image_origin(place), images)


def image_origin(place: Place) -> Origin:
    """Who names the boot image. Raises UsageError for a card whose board does not fit the slot."""
    if place.own.images and place.board not in place.own.images:
        meant = ", ".join(sorted(place.own.images))
        raise UsageError(
            "card of a wrong type",
            where=f"slot {place.slot}",
            expected=f"{meant}, whose boot image the slot's own configuration names",
            found=place.board or "no card",
            hint=f"put such a card there, or: fwmgr card set {place.slot} --image VERSION, "
            f"or: fwmgr card clear {place.slot}",
        )
    return place.decides(lambda said: place.board in said.images)


def _image(place: Place, origin: Origin, images: Sequence[ImageRecord]) -> BootImageRef:
    preferred = place.preferred.images.get(place.board)
    try:
        if origin is not Origin.DEFAULT:
            return plan.pick_image(place.board, place.says(origin).images[place.board], images).ref
        if preferred is not None:
            return plan.pick_image(place.board, preferred, images).ref
        return plan.newest_image_ref(place.board, images)
    except UsageError as e:
        where, hint = f"slot {place.slot}, board {place.board}", e.hint or _who(place, origin)
        raise UsageError(e.what, where=where, expected=e.expected, found=e.found, hint=hint) from e


def _package(place: Place, wish: str, origin: Origin, packages: Sequence[PackageRecord]) -> PackageRef:
    """The files for this card's CPU of the version that is wished for, or of the preferred or newest one."""
    name, _, version = wish.partition("=")
    where = f"slot {place.slot}, package {wish}"
    named = [package for package in packages if package.name == name]
    if not version and named:
        newest = max(named, key=plan.age).version
        version = place.preferred.packages.get(name, newest)
    fitting = [package for package in named if package.version == version]
    if not fitting:
        known = ", ".join(sorted({f"{one.name}={one.version}" for one in named or packages})) or "none"
        raise UsageError(
            "no such package", where=where, expected=f"one of {known}", found=wish, hint=_who(place, origin)
        )
    cpu = "" if place.cpu is None else place.cpu.value
    usable = [package for package in fitting if cpu in package.cpus or NEUTRAL_CPU in package.cpus]
    if not usable:
        found = ", ".join(sorted({cpu for package in fitting for cpu in package.cpus}))
        raise UsageError(
            "package has nothing for this card's CPU",
            where=f"slot {place.slot}, package {name} {version}",
            expected=cpu or "a CPU that is known",
            found=found,
            hint=f"add {name} {version} built for {cpu} too, or give the card packages of its own: "
            f"fwmgr card set {place.slot} --package …",
        )
    return max(usable, key=plan.age).ref


def _who(place: Place, origin: Origin) -> str:
    if origin is Origin.CLASS and place.card_class is not None:
        return f"class {place.card_class.name} names it: fwmgr class show {place.card_class.name}"
    if origin is Origin.BOARD:
        return f"what is said of board {place.board} names it: fwmgr board show {place.board}"
    if origin is Origin.DEFAULT:
        return "it is the preferred version: fwmgr prefer"
    return f"the slot's own configuration names it: fwmgr card {place.slot}"


def provisioning(
    own: Configuration, of_class: Configuration, by_board: Configuration, of_board: Provisioning
) -> tuple[Provisioning, Origin]:
    """How the card is provisioned, and who chose the order. Each question goes down the line by itself.

    `of_board` is what the board file says, `by_board` what users said of the board.
    """
    asked = [(Origin.CARD, own), (Origin.CLASS, of_class), (Origin.BOARD, by_board)]
    order, origin = next(
        ((one.order, origin) for origin, one in asked if one.order is not None),
        (of_board.order, Origin.BOARD),
    )
    save = next((one.save_image for _, one in asked if one.save_image is not None), of_board.save_image)
    return Provisioning(order, save), origin


@dataclass(frozen=True, slots=True)
class CarriedOver:
    """What a slot keeps of its past when a card is let in: all that is not kept is worked out anew."""

    software: bool  # wanted and last good set
    failures: bool  # boot images that failed their trial, and tries


#: (the same key, the same board) -> what stays. A swapped card of the same type takes over the software.
CARRIED_OVER: dict[tuple[bool, bool], CarriedOver] = {
    (True, True): CarriedOver(software=True, failures=True),
    (False, True): CarriedOver(software=True, failures=False),
    (True, False): CarriedOver(software=False, failures=False),  # its flash has moved to another board
    (False, False): CarriedOver(software=False, failures=False),
}
