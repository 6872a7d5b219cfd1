"""Whom the card believes: the root of trust of its boot image, a newer one that it keeps or was sent.

Knows the document in the state area, and how chains are compared and followed (SPEC-trust §4, §7). Pure:
touches no flash, and what it is given changes nothing unless it verifies.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Final

from firmware_mgr.card.settings import AgentSettings
from firmware_mgr.link.messages import RootReport
from firmware_mgr.model.errors import FwmgrError
from firmware_mgr.model.ids import Digest
from firmware_mgr.package.errors import PackageRefused
from firmware_mgr.package.root import RootRefused
from firmware_mgr.package.root_chain import RootChain, newer_chain
from firmware_mgr.package.root_trust import RootTrust
from firmware_mgr.package.trust import Role, SignedPackage, Trust

log = logging.getLogger("agent")

#: The state area's document: SHA-256 of the authority's certificate, then the chain.
ROOT_DOCUMENT: Final = "root"
_DIGEST_SIZE: Final = 32
_KEPT: Final = "kept root of trust"
#: Characters that the master is told of why nobody is trusted.
_SAID: Final = 1000
#: What an error calls a chain that came over the link.
SENT: Final = "root of trust sent by the master"


@dataclass(frozen=True, slots=True)
class NobodyTrusted:
    """Refuses every package, saying why; see Trust."""

    why: FwmgrError

    def check_signatures(self, signatures: Mapping[str, bytes], message: bytes, where: str) -> None:
        raise self._refusal(where)

    def check_package(self, package: SignedPackage, signers: Collection[str], where: str) -> Role:
        raise self._refusal(where)

    def below_minimum(self, package: SignedPackage) -> str:
        return ""

    def held(self) -> Trust:
        return self

    def _refusal(self, where: str) -> PackageRefused:
        return PackageRefused(
            f"no root of trust can be believed here: {self.why.what}",
            where=where,
            expected=self.why.expected,
            found=self.why.found,
            hint=self.why.hint,
        )


@dataclass(frozen=True, slots=True)
class Believed:
    """`document` is what to keep once the master has validated the card; None: what is kept may stay.

    `chain` is what `trust` judges by; None for a flat keyring, and where two roots contradict each other.
    `extends_kept`: it goes on from what flash keeps. `unreadable`: what flash keeps cannot be read, so nobody
    is trusted until a chain is sent that `chain`, the boot image's, does not contradict.
    """

    trust: Trust
    document: bytes | None = None
    chain: RootChain | None = None
    extends_kept: bool = False
    unreadable: bool = False

    def report(self) -> RootReport:
        """What the card says of itself: by which root it judges or would follow, and why it trusts nobody."""
        trouble = str(self.trust.why)[:_SAID] if isinstance(self.trust, NobodyTrusted) else ""
        if self.chain is None:
            return RootReport(0, trouble=trouble)
        newest = self.chain.roots[-1]
        return RootReport(newest.root.version, Digest.from_bytes(newest.digest), trouble)


def believe(settings: AgentSettings, authority: bytes, kept: bytes | None) -> Believed:
    """`authority`: the certificate in the boot image. `kept`: the state area's document, if any."""
    mark = _mark(authority)
    ours = settings.root
    try:
        known = _read_kept(kept, mark)
    except RootRefused as e:
        log.error("no package is accepted: %s", e)
        return Believed(NobodyTrusted(e), chain=ours, unreadable=True)
    chain: RootChain | None = ours
    extends = known is not None
    if known is not None:
        try:
            chain = known if ours is None else newer_chain(known, ours, "boot image")
        except RootRefused as e:
            log.error("no package is accepted: %s", e)
            return Believed(NobodyTrusted(e))
        if chain is None:
            log.warning("the boot image's root of trust is of another line than the one kept: it is believed")
            chain, extends = ours, False
    if chain is None:
        return Believed(settings.keyring)
    if chain is known:
        carried = "a flat keyring" if ours is None else f"version {ours.newest.version}"
        log.info("root of trust: version %d is kept, the image has %s", chain.newest.version, carried)
    return _believed(settings, mark, chain, kept, extends=extends)


def follow(
    believed: Believed, settings: AgentSettings, authority: bytes, kept: bytes | None, sent: bytes
) -> Believed:
    """What is believed after the master has sent this chain. Raises RootRefused: then all stays as it was.

    Nothing is taken on the master's word: each root that is new here is signed as the one before it asks.
    """
    known = believed.chain
    try:
        if known is None:
            raise RootRefused(
                "there is no root of trust here that another could follow",
                expected="a boot image with a root of trust",
                found="a flat keyring, or two roots that contradict each other",
            )
        chain = _extended(known, RootChain.decode(sent, SENT))
    except RootRefused as e:
        stays = "what was believed before" if known is None else f"version {known.newest.version}"
        goes_on = "trusting nobody" if believed.unreadable else f"with {stays}"
        raise RootRefused(
            e.what,
            where=e.where if e.where.startswith(SENT) else f"{SENT}: {e.where}".removesuffix(": "),
            expected=e.expected or f"a chain that goes on from {stays}",
            found=e.found,
            hint=f"the card goes on {goes_on}; {e.hint or 'is this the master of its site?'}",
        ) from e
    if chain is known and not believed.unreadable:
        return believed
    log.info("root of trust: version %d follows version %d", chain.newest.version, known.newest.version)
    if believed.unreadable:
        log.warning("it takes the place of the kept one that cannot be read, once the card is validated")
    return _believed(settings, _mark(authority), chain, kept, extends=believed.extends_kept)


def _extended(known: RootChain, offered: RootChain) -> RootChain:
    """`known` and what `offered` has beyond it; `known` itself when that is nothing. Raises RootRefused."""
    newer = newer_chain(known, offered, SENT)
    if newer is None:
        raise RootRefused(
            "root of trust does not follow the one that is known here",
            where=SENT,
            expected=f"one that has version {known.newest.version} in common",
            found=f"versions {offered.roots[0].root.version} to {offered.newest.version} of another line",
            hint="a site that began anew: fwmgr burn-all, with boot images built for it",
        )
    if offered.newest.version < known.newest.version:
        raise RootRefused(
            "root of trust is older than the one that is known here",
            where=SENT,
            expected=f"version {known.newest.version} or later",
            found=f"version {offered.newest.version}",
        )
    if newer is known:
        return known
    # Our own beginning stays: a chain that starts later has nothing in common with an older boot image.
    beyond = tuple(one for one in offered.roots if one.root.version > known.newest.version)
    whole = RootChain((*known.roots, *beyond)).require(SENT)
    # What is kept must be such that it can be read again.
    return RootChain.decode(whole.encode(), SENT)


def _believed(
    settings: AgentSettings, mark: bytes, chain: RootChain, kept: bytes | None, *, extends: bool
) -> Believed:
    document = mark + chain.encode()
    trust = RootTrust(chain.newest, settings.takes_test)
    return Believed(trust, None if document == kept else document, chain, extends)


def kept_by(believed: Believed) -> Believed:
    """The same, now that flash keeps its document."""
    return replace(believed, document=None, extends_kept=True)


def _mark(authority: bytes) -> bytes:
    return Digest.of(authority).to_bytes()


def _read_kept(kept: bytes | None, mark: bytes) -> RootChain | None:
    """What is kept of this authority. Raises RootRefused when it is there and cannot be read.

    The store gives a document whole or not at all, so no power cut does that: a later format does, or damage.
    The boot image's root may be older than what was seen to be revoked, so it is no substitute.
    """
    if kept is None or kept[:_DIGEST_SIZE] != mark:
        return None
    try:
        return RootChain.decode(kept[_DIGEST_SIZE:], _KEPT).require(_KEPT)
    except RootRefused as e:
        raise RootRefused(
            f"the root of trust that the card keeps cannot be read: {e.what}",
            where=e.where,
            expected=e.expected or "a chain of roots",
            found=e.found or "none",
            hint="fwmgr burn-all brings the site's; if a later fwmgr wrote it, a boot image of that reads it",
        ) from e
