"""The site's chain of roots for a card that judges by an older root of it: who follows, and what is sent.

Pure. Knows what cards say of their root (SPEC-link §3). The card verifies it all by itself (SPEC-trust §7).
"""

from __future__ import annotations

from firmware_mgr.link.messages import RootReport
from firmware_mgr.link.service import CONTENT_PIECE
from firmware_mgr.model.ids import Digest
from firmware_mgr.package.root_chain import RootChain


def would_follow(chain: RootChain | None, said: RootReport | None) -> bool:
    """Whether the card judges by a root of this chain: then it follows it to its end when it is burned.

    False for older agents, for a flat keyring, and for a root of another line or newer than the site's.
    """
    if chain is None or said is None or said.digest is None:
        return False
    wanted = said.version, said.digest.to_bytes()
    return any((signed.root.version, signed.digest) == wanted for signed in chain.roots)


def root_offer(chain: RootChain | None, said: RootReport | None) -> tuple[bytes, ...]:
    """What goes with an order to burn: the chain in pieces; nothing where it would tell the card nothing."""
    if chain is None or said is None or not would_follow(chain, said):
        return ()
    if chain.newest.version == said.version and not said.trouble:
        return ()
    data = chain.encode()
    return tuple(data[at : at + CONTENT_PIECE] for at in range(0, len(data), CONTENT_PIECE))


def holds_root(chain: RootChain, root_digest: Digest) -> bool:
    """Whether that root is one of the chain."""
    return any(signed.digest == root_digest.to_bytes() for signed in chain.roots)
