"""Whom the card believes: the root of trust of its boot image, or the newer one that it keeps itself.

Knows the document in the state area, and how the two are compared (SPEC-trust §7). Touches no flash.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Final

from firmware_mgr.card.settings import AgentSettings
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
    """`document` is what to keep once the master has validated the card; None: what is kept may stay."""

    trust: Trust
    document: bytes | None = None


def believe(settings: AgentSettings, authority: bytes, kept: bytes | None) -> Believed:
    """`authority`: the certificate in the boot image. `kept`: the state area's document, if any."""
    mark = Digest.of(authority).to_bytes()
    ours, known = settings.root, _read_kept(kept, mark)
    chain: RootChain | None = ours
    if known is not None:
        try:
            chain = known if ours is None else newer_chain(known, ours, "boot image")
        except RootRefused as e:
            log.error("no package is accepted: %s", e)
            return Believed(NobodyTrusted(e))
        if chain is None:
            log.warning("the boot image's root of trust is of another line than the one kept: it is believed")
            chain = ours
    if chain is None:
        return Believed(settings.keyring)
    if chain is known:
        carried = "a flat keyring" if ours is None else f"version {ours.newest.version}"
        log.info("root of trust: version %d is kept, the image has %s", chain.newest.version, carried)
    document = mark + chain.encode()
    trust = RootTrust(chain.newest, settings.takes_test)
    return Believed(trust, None if document == kept else document)


def _read_kept(kept: bytes | None, mark: bytes) -> RootChain | None:
    """What is kept of this authority. What cannot be read was not written by us: the boot image decides."""
    if kept is None or kept[:_DIGEST_SIZE] != mark:
        return None
    try:
        return RootChain.decode(kept[_DIGEST_SIZE:], "kept root of trust").require("kept root of trust")
    except RootRefused as e:
        log.error("the boot image decides whom to believe: %s", e)
        return None
