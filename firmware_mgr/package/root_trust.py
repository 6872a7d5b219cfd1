"""Judges packages by a root of trust: whose signatures count, and what is too old to be let in.

Pure; asks no clock (SPEC-trust §5, §6). Refuses to know where a root comes from.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import Enum
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from firmware_mgr.model.versions import Version
from firmware_mgr.package.errors import PackageRefused
from firmware_mgr.package.root import Root
from firmware_mgr.package.trust import Role, SignedPackage

#: The roles that packages are judged by; the first whose threshold is reached is the package's.
PACKAGE_ROLES: Final = (Role.RELEASE, Role.TEST)


class Standing(Enum):
    """How a signature stands before it is counted."""

    COUNTS = "counts"
    REVOKED = "revoked"
    OUTSIDE = "outside its time"
    NO_ROLE = "may not sign packages"


#: How those who signed stand -> why it is not enough. The first that occurs is said.
_WHY: Final = (
    (Standing.REVOKED, "signed by a revoked key"),
    (Standing.OUTSIDE, "signed outside the time of its key"),
    (Standing.COUNTS, "not signed by enough keys"),
    (Standing.NO_ROLE, "signed by a key that may not sign packages"),
)


@dataclass(frozen=True, slots=True)
class RootTrust:
    """See Trust. `takes_test`: test packages are taken here. `lets_in`: judges what comes from outside."""

    root: Root
    takes_test: bool = False
    lets_in: bool = True

    def held(self) -> RootTrust:
        return replace(self, lets_in=False)

    def check_signatures(self, signatures: Mapping[str, bytes], message: bytes, where: str) -> None:
        for key, signature in signatures.items():
            public = self.root.public_of(key)
            if public is None:
                raise PackageRefused(
                    "signed by an unknown key",
                    where=where,
                    expected=self._release_names(),
                    found=key[:12],
                    hint=f"root of trust is version {self.root.version}; is there a newer one?",
                )
            try:
                Ed25519PublicKey.from_public_bytes(public).verify(signature, message)
            except (InvalidSignature, ValueError) as e:
                raise PackageRefused(
                    "signature is wrong: header or table of contents was altered",
                    where=where,
                    expected=f"a signature by key {self._name(key)}",
                    found="one that does not fit",
                ) from e
        self._role(signatures, None, where)

    def check_package(self, package: SignedPackage, signers: Collection[str], where: str) -> Role:
        role = self._role(signers, package.signed_at, where)
        if self.lets_in:
            self._check_minimums(package, where)
        return role

    def below_minimum(self, package: SignedPackage) -> str:
        """See Trust."""
        least = self.root.minimum_versions.get(package.name)
        if least is not None and Version(package.version) < Version(least):
            return f"{package.name} {package.version} is below the minimum {least} of the root of trust"
        if package.signed_at < self.root.earliest:
            signed = f"{package.name} {package.version} was signed {day(package.signed_at)}"
            return f"{signed}; the root of trust asks for {day(self.root.earliest)} or later"
        return ""

    def _check_minimums(self, package: SignedPackage, where: str) -> None:
        if not self.below_minimum(package):
            return
        least = self.root.minimum_versions.get(package.name)
        by_version = least is not None and Version(package.version) < Version(least)
        raise PackageRefused(
            "package is older than what is let in from outside",
            where=where,
            expected=f"{package.name} {least} or later"
            if by_version
            else f"signed {day(self.root.earliest)} or later",
            found=package.version if by_version else f"signed {day(package.signed_at)}",
            hint=f"root of trust version {self.root.version} says so; what is stored may be gone back to",
        )

    def _role(self, signers: Collection[str], signed_at: int | None, where: str) -> Role:
        """The package's role. Without `signed_at` windows are passed over: could it be enough at all?"""
        standing = {key: self._standing(key, signed_at) for key in sorted(set(signers))}
        counting = {key for key, how in standing.items() if how is Standing.COUNTS}
        for role in PACKAGE_ROLES:
            held = self.root.roles[role]
            if len(counting & held.keys) < held.threshold:
                continue
            if role is Role.TEST and not self.takes_test:
                raise PackageRefused(
                    "TEST package, and no test packages are taken here",
                    where=where,
                    expected=self._release_names(),
                    found="signed for test by " + ", ".join(self._name(key) for key in counting & held.keys),
                    hint="the master takes them with --accept-test, a card by a boot image built with --test",
                )
            return role
        why = next(text for how, text in _WHY if how in standing.values() or how is Standing.NO_ROLE)
        raise PackageRefused(
            why,
            where=where,
            expected=self._release_names(),
            found="; ".join(self._words(key, how, signed_at) for key, how in standing.items()) or "nobody",
            hint=f"judged by root of trust version {self.root.version}; sign it again: fwmgr key sign",
        )

    def _standing(self, key: str, signed_at: int | None) -> Standing:
        if key in self.root.revoked:
            return Standing.REVOKED
        if not any(key in self.root.roles[role].keys for role in PACKAGE_ROLES):
            return Standing.NO_ROLE
        if signed_at is not None and not self.root.keys[key].holds(signed_at):
            return Standing.OUTSIDE
        return Standing.COUNTS

    def _words(self, key: str, how: Standing, signed_at: int | None) -> str:
        text = f"{self._name(key)} {how.value}"
        if how is Standing.REVOKED:
            return f"{text}: {self.root.revoked[key].reason}"
        if how is Standing.OUTSIDE and signed_at is not None:
            listed = self.root.keys[key]
            return f"{text}, {window(listed.since, listed.until)}: signed {day(signed_at)}"
        return text

    def _name(self, key: str) -> str:
        found = self.root.keys.get(key) or self.root.revoked.get(key)
        return key[:12] if found is None else f"{found.name} {key[:12]}"

    def _release_names(self) -> str:
        held = self.root.roles[Role.RELEASE]
        names = ", ".join(sorted(self._name(key) for key in held.keys)) or "no key at all"
        return f"{held.threshold} of role release: {names}"


def day(moment: int) -> str:
    """A moment as people write it, UTC; to the minute where it is not midnight."""
    try:
        when = datetime.fromtimestamp(moment, UTC)
    except (ValueError, OverflowError, OSError):  # after the year 9999
        return f"{moment} s after 1970"
    return when.strftime("%Y-%m-%d" if moment % 86400 == 0 else "%Y-%m-%d %H:%M")


def window(since: int, until: int | None) -> str:
    """A window in words."""
    start = "" if since == 0 else f"from {day(since)}"
    end = "" if until is None else f"until {day(until)}"
    return " ".join(part for part in (start, end) if part) or "at any time"
