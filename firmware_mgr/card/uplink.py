"""The agent's way to its master: enrolment, the link, and blobs. The seam, and the real one over TLS.

Knows addresses, ports and who is shown which key. Knows nothing of messages.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from firmware_mgr.card.https import BulkClient, Dial, dial_tls, enrol
from firmware_mgr.card.identity import Identity, client_context
from firmware_mgr.card.network import NetworkLease
from firmware_mgr.link import messages as m
from firmware_mgr.link.transport import LinkStream
from firmware_mgr.model.ids import Digest

CONNECT_SECONDS = 10.0


class OpenBlobs(Protocol):
    """The master's blobs. `fetch` blocks, and is called in one thread at a time."""

    def fetch(self, digest: Digest, start: int, length: int) -> Iterator[bytes]:
        """Raises PeerError when the master will not give these bytes."""
        ...

    def close(self) -> None: ...


class Uplink(Protocol):
    """All that a card and its master say to each other goes through here. A seam."""

    async def enrol(self, lease: NetworkLease, request: dict[str, Any]) -> str:
        """The certificate that the authority gives us, as PEM. Raises PeerError."""
        ...

    async def connect(self, lease: NetworkLease, identity: Identity) -> LinkStream:
        """A new link. Raises OSError, TimeoutError or FwmgrError."""
        ...

    def blobs(self, lease: NetworkLease, identity: Identity) -> OpenBlobs: ...


class TlsUplink:
    """See Uplink: HTTPS, and the link's own port; trusts the authority of the boot image alone.

    `bind`: connections come from the leased address, for a card that is not alone on its host. `dial` and
    `pause` (seconds) are for what blocks: enrolment and blobs.
    """

    def __init__(
        self,
        authority: Path,
        *,
        bind: bool = False,
        dial: Callable[..., Any] = dial_tls,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self._authority = authority
        self._bind = bind
        self._dial = dial
        self._pause = pause

    async def enrol(self, lease: NetworkLease, request: dict[str, Any]) -> str:
        context = client_context(self._authority, None)
        return await asyncio.to_thread(enrol, lease.master, context, request, dial=self._dialler(lease))

    async def connect(self, lease: NetworkLease, identity: Identity) -> LinkStream:
        context = client_context(self._authority, identity)
        opening = asyncio.open_connection(
            lease.master,
            m.LINK_PORT,
            ssl=context,
            server_hostname=m.MASTER_NAME,
            local_addr=(lease.address, 0) if self._bind else None,
        )
        reader, writer = await asyncio.wait_for(opening, CONNECT_SECONDS)
        return LinkStream(reader, writer)

    def blobs(self, lease: NetworkLease, identity: Identity) -> OpenBlobs:
        context = client_context(self._authority, identity)
        return BulkClient(lease.master, context, pause=self._pause, dial=self._dialler(lease))

    def _dialler(self, lease: NetworkLease) -> Dial:
        return partial(self._dial, own_address=lease.address) if self._bind else self._dial
