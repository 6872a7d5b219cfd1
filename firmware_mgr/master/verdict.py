"""The master's verdict on a card's hello: run, burn, or hold. Pure (R-3.3, R-3.5).

Knows hellos and software sets. The first row of the table in docs/BOOTING that fits decides.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from firmware_mgr.link.messages import AreaState, BootSource, Hello
from firmware_mgr.model.ids import Digest
from firmware_mgr.model.software import SoftwareSet


class Ruling(Enum):
    RUN = "run"
    BURN = "burn"
    HOLD = "hold"
    KEEP = "keep running"  # what runs was validated; another set waits for the next boot


@dataclass(frozen=True, slots=True)
class Verdict:
    """`target` is the set to run or burn. `rejects` names a boot image that has just failed its trial."""

    ruling: Ruling
    reason: str
    target: SoftwareSet | None = None
    rejects: Digest | None = None


def judge(
    hello: Hello,
    wanted: SoftwareSet | None,
    last_good: SoftwareSet | None,
    rejected: frozenset[Digest],
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
        return _fall_back(hello, wanted, last_good, failed_now, rejected)
    return _compare(hello, wanted, "")


def judge_fresh(hello: Hello, wanted: SoftwareSet) -> Verdict:
    """The verdict while a burn-all provisions: what failed is tried again, what runs does not count."""
    if wanted.boot_image.board != hello.board:
        reason = f"the slot's set is for board {wanted.boot_image.board}, the card is a {hello.board}"
        return Verdict(Ruling.HOLD, reason)
    return _compare(hello, wanted, "")


def _running(hello: Hello) -> SoftwareSet | None:
    return next((known for known in hello.sets if known.digest == hello.running_set), None)


def _fall_back(
    hello: Hello,
    wanted: SoftwareSet,
    last_good: SoftwareSet | None,
    failed_now: Digest | None,
    rejected: frozenset[Digest],
) -> Verdict:
    reason = f"boot image {wanted.boot_image.version} failed its trial"
    if last_good is None or last_good.boot_image.digest == wanted.boot_image.digest:
        if failed_now is not None and failed_now not in rejected:
            # There is nothing else to run, and a power cut looks like a failed trial: once more.
            verdict = _compare(hello, wanted, f"{reason}; there is no earlier set: once more; ")
            return Verdict(verdict.ruling, verdict.reason, verdict.target, failed_now)
        return Verdict(Ruling.HOLD, f"{reason}, and there is no earlier set to run", rejects=failed_now)
    verdict = _compare(hello, last_good, f"{reason}; ")
    return Verdict(verdict.ruling, verdict.reason, verdict.target, failed_now)


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


def _compare(hello: Hello, target: SoftwareSet, prefix: str) -> Verdict:
    lack = lacking(hello, target)
    if lack:
        return Verdict(Ruling.BURN, prefix + lack, target)
    return Verdict(Ruling.RUN, prefix + "flash holds the set whole", target)


def lacking(hello: Hello, target: SoftwareSet) -> str:
    """What first keeps the card from running `target` as it is booted now; empty when nothing does."""
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
    if flash.store is not AreaState.GOOD:
        return f"the store is {flash.store.value}"
    stored = {package.digest: package for package in flash.packages}
    for package in target.packages:
        report = stored.get(package.digest)
        if report is None:
            return f"package {package.name} {package.version} is not stored"
        if report.bad_modules:
            return f"package {package.name} {package.version}: {report.bad_modules} modules are bad"
    if target.digest not in {known.digest for known in hello.sets}:
        return f"set {target.digest.short} is not recorded"
    return ""
