"""The master's verdict on a card's hello: run, burn, or hold. Pure (R-3.3, R-3.5).

Knows hellos, software sets and the pristine orders (R-3.1). The first row of the table in docs/BOOTING that
fits decides; what a card lacks, and what is to be burned for it, is a rule for each order.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from enum import Enum

from firmware_mgr.link.messages import AreaState, BootSource, FlashReport, Hello, Stored
from firmware_mgr.model.ids import Digest
from firmware_mgr.model.pristine import STORE_FIRST, PristineOrder, Provisioning
from firmware_mgr.model.software import SoftwareSet


class Ruling(Enum):
    RUN = "run"
    BURN = "burn"
    HOLD = "hold"
    NETBOOT = "netboot"  # what it runs is neither the wanted image nor to be replaced in flash
    KEEP = "keep running"  # what runs was validated; another set waits for the next boot


@dataclass(frozen=True, slots=True)
class Verdict:
    """`target` is the set to run or burn. `rejects` names a boot image that has just failed its trial.

    `save_image` False: only packages are burned. `final` False: the card restarts after this burn and lacks
    packages yet.
    """

    ruling: Ruling
    reason: str
    target: SoftwareSet | None = None
    rejects: Digest | None = None
    save_image: bool = True
    final: bool = True


def judge(
    hello: Hello,
    wanted: SoftwareSet | None,
    last_good: SoftwareSet | None,
    rejected: frozenset[Digest],
    how: Provisioning = STORE_FIRST,
) -> Verdict:
    """`last_good` is the set this card was last in service with; `rejected` are images that failed here."""
    running = _running(hello)
    if running is not None and (wanted is None or running.digest != wanted.digest):
        return Verdict(Ruling.KEEP, "another set is wanted: it is taken at the next boot", running)
    if wanted is None:
        return Verdict(Ruling.HOLD, "no software set for this slot; add an image and packages, then burn-all")
    if wanted.boot_image.board != hello.board:
        reason = f"the slot's set is for board {wanted.boot_image.board}, the card is a {hello.board}"
        return Verdict(Ruling.HOLD, reason)
    failed_now = _failed_trial(hello, wanted)
    if failed_now is not None or wanted.boot_image.digest in rejected:
        return _fall_back(hello, wanted, last_good, failed_now, how, rejected=rejected)
    return _compare(hello, wanted, "", how)


def judge_fresh(hello: Hello, wanted: SoftwareSet, how: Provisioning = STORE_FIRST) -> Verdict:
    """The verdict while a burn-all provisions: what failed is tried again, what runs does not count."""
    if wanted.boot_image.board != hello.board:
        reason = f"the slot's set is for board {wanted.boot_image.board}, the card is a {hello.board}"
        return Verdict(Ruling.HOLD, reason)
    return _compare(hello, wanted, "", how)


def within_reach(verdict: Verdict, hello: Hello, formats: Mapping[Digest, int]) -> Verdict:
    """A burn of packages that the agent cannot read becomes a start of the wanted image from the network.

    `formats` are those of the packages in the catalogue, by digest.
    """
    target = verdict.target
    if verdict.ruling is not Ruling.BURN or target is None:
        return verdict
    reason = _out_of_reach(hello, target, formats)
    if not reason:
        return verdict
    image = target.boot_image.version
    if hello.boot_source is BootSource.NETBOOT and hello.boot_version == image:
        reason += ": want an image built by this version of fwmgr, or what this agent reads"
        return replace(verdict, ruling=Ruling.HOLD, reason=reason, target=None)
    return replace(verdict, ruling=Ruling.NETBOOT, reason=f"{reason}: image {image} is to come up first")


def _out_of_reach(hello: Hello, target: SoftwareSet, formats: Mapping[Digest, int]) -> str:
    """What of the set the agent cannot read; empty when it can."""
    for package in target.packages:
        if formats.get(package.digest, 1) > hello.package_format:
            return (
                f"package {package.name} {package.version} is of format {formats[package.digest]}, "
                f"and the agent in image {hello.boot_version} reads formats up to {hello.package_format}"
            )
    if target.features is not None and not hello.reads_features:
        return f"the set asks for features, and the agent in image {hello.boot_version} knows none"
    return ""


def _running(hello: Hello) -> SoftwareSet | None:
    return next((known for known in hello.sets if known.digest == hello.running_set), None)


def _fall_back(
    hello: Hello,
    wanted: SoftwareSet,
    last_good: SoftwareSet | None,
    failed_now: Digest | None,
    how: Provisioning,
    *,
    rejected: frozenset[Digest],
) -> Verdict:
    reason = f"boot image {wanted.boot_image.version} failed its trial"
    if last_good is None or last_good.boot_image.digest == wanted.boot_image.digest:
        if failed_now is not None and failed_now not in rejected:
            # There is nothing else to run, and a power cut looks like a failed trial: once more.
            verdict = _compare(hello, wanted, f"{reason}; there is no earlier set: once more; ", how)
            return replace(verdict, rejects=failed_now)
        if failed_now is None and not image_lacking(hello, wanted):
            return _compare(hello, wanted, f"{reason} before, and is up now; ", how)
        return Verdict(Ruling.HOLD, f"{reason}, and there is no earlier set to run", rejects=failed_now)
    verdict = _compare(hello, last_good, f"{reason}; ", how)
    return replace(verdict, rejects=failed_now)


def _failed_trial(hello: Hello, wanted: SoftwareSet) -> Digest | None:
    """The wanted image, when it is whole in flash and yet the loader had to come back from it."""
    control = hello.flash.control
    if control.trial not in ("a", "b") or control.trial == hello.boot_source.value:
        return None
    on_a = control.trial == BootSource.A.value
    partition = hello.flash.boot_a if on_a else hello.flash.boot_b
    tries = control.tries_a if on_a else control.tries_b
    if partition.image != wanted.boot_image.digest or partition.state is not AreaState.GOOD:
        return None
    return wanted.boot_image.digest if tries == 0 or control.trial in control.failed else None


def _compare(hello: Hello, target: SoftwareSet, prefix: str, how: Provisioning) -> Verdict:
    verdict = _BY_ORDER[how.order](hello, target, how)
    return replace(verdict, reason=prefix + verdict.reason)


def _store_first(hello: Hello, target: SoftwareSet, _how: Provisioning) -> Verdict:
    lack = lacking(hello, target)
    return Verdict(Ruling.BURN, lack, target) if lack else _run(target)


def _image_first(hello: Hello, target: SoftwareSet, _how: Provisioning) -> Verdict:
    lack = image_lacking(hello, target)
    if lack:
        # Nothing but the image: it is run from flash before packages are asked for.
        return Verdict(Ruling.BURN, lack, SoftwareSet(target.boot_image, ()), final=not target.packages)
    return _store_first(hello, target, _how)


def _from_ram(hello: Hello, target: SoftwareSet, how: Provisioning) -> Verdict:
    flash, wanted = hello.flash, target.boot_image
    if hello.boot_source is BootSource.NETBOOT:
        if hello.boot_version != wanted.version:
            reason = f"it was served image {hello.boot_version}, wanted is {wanted.version}"
            return Verdict(Ruling.NETBOOT, reason, target)
        saved = any(
            part.image == wanted.digest and part.state is AreaState.GOOD
            for part in (flash.boot_a, flash.boot_b)
        )
        lack = "" if saved or not how.save_image else f"image {wanted.version} is not saved"
    else:
        lack = image_lacking(hello, target)
        if lack and not how.save_image:
            return Verdict(Ruling.NETBOOT, lack, target)
    lack = lack or packages_lacking(hello, target)
    save = how.save_image
    return Verdict(Ruling.BURN, lack, target, save_image=save) if lack else _run(target)


def _run(target: SoftwareSet) -> Verdict:
    return Verdict(Ruling.RUN, "flash holds the set whole", target)


_BY_ORDER: dict[PristineOrder, Callable[[Hello, SoftwareSet, Provisioning], Verdict]] = {
    PristineOrder.STORE_FIRST: _store_first,
    PristineOrder.IMAGE_FIRST: _image_first,
    PristineOrder.FROM_RAM: _from_ram,
}


def lacking(hello: Hello, target: SoftwareSet) -> str:
    """What first keeps the card from running `target` as it is booted now; empty when nothing does."""
    return image_lacking(hello, target) or packages_lacking(hello, target)


def image_lacking(hello: Hello, target: SoftwareSet) -> str:
    """Why the card does not run the target's image from flash; empty when it does."""
    if hello.boot_source is BootSource.NETBOOT:
        return "it came up from the network"
    flash = hello.flash
    running = flash.boot_a if hello.boot_source is BootSource.A else flash.boot_b
    if running.image != target.boot_image.digest:
        found = (
            "an unknown image" if running.image is None else f"image {running.version or running.image.short}"
        )
        return f"it runs {found}, wanted is {target.boot_image.version}"
    if running.state is not AreaState.GOOD:
        return f"boot partition {hello.boot_source.value}: {running.bad_pieces} pieces are bad"
    return ""


def packages_lacking(hello: Hello, target: SoftwareSet) -> str:
    """What the store lacks of the target; empty when nothing."""
    lack = _store_lacking(hello.flash, target)
    if not lack and target.digest not in {known.digest for known in hello.sets}:
        lack = f"set {target.digest.short} is not recorded"
    return lack or _read_otherwise(hello, target)


def _read_otherwise(hello: Hello, target: SoftwareSet) -> str:
    """A card reads a package back by the features of the first of its sets that has it (SPEC-link §3)."""
    for package in target.packages:
        reading = next((known for known in hello.sets if package in known.packages), target)
        if reading.features != target.features:
            return f"package {package.name} {package.version} was read back for other features"
    return ""


def _store_lacking(flash: FlashReport, target: SoftwareSet) -> str:
    if flash.store is not AreaState.GOOD:
        return f"the store is {flash.store.value}"
    stored = {package.digest: package for package in flash.packages}
    for package in target.packages:
        report = stored.get(package.digest)
        if report is None:
            return f"package {package.name} {package.version} is not stored"
        if report.bad_modules:
            return f"package {package.name} {package.version}: {report.bad_modules} modules are bad"
    return ""


def unstored(message: Stored, target: SoftwareSet, *, save_image: bool) -> str:
    """What a card that says it has stored `target` has not, by its own reading; empty when it is right.

    Whatever the order, stored versions are compared here before packages run (R-3.1).
    """
    flash, wanted = message.flash, target.boot_image
    if save_image:
        part = flash.boot_a if message.boot_partition == BootSource.A.value else flash.boot_b
        if part.image != wanted.digest or part.state is not AreaState.GOOD:
            return f"boot partition {message.boot_partition} does not hold image {wanted.version}"
    return _store_lacking(flash, target)
