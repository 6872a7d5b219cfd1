"""The master's door for links: nobody takes more than his share of it, and an ended link hurts nobody."""

from __future__ import annotations

import asyncio
import socket
import ssl
from pathlib import Path
from typing import Any

from firmware_mgr.link import messages as m
from firmware_mgr.master.https import LIMITS, HttpsServer, enrolment_app
from firmware_mgr.master.link_server import MAX_LINKS_PER_ADDRESS, Link, LinkServer
from firmware_mgr.master.trust import AUTHORITY_CERTIFICATE, open_authority
from firmware_mgr.model.errors import PeerError
from tests.master.rack_twin import SET, Rack, TwinCard

DEADLINE = 10.0


class NoEvents:
    def refused(self, address: str, error: PeerError) -> None: ...

    async def greeted(self, link: Link, hello: m.Hello) -> None: ...

    async def reported(self, link: Link, message: m.FromCard) -> None: ...

    async def lost(self, link: Link) -> None: ...


def closed(connection: socket.socket) -> bool:
    connection.setblocking(False)
    try:
        return connection.recv(1) == b""
    except BlockingIOError:
        return False


async def test_connections_that_wait_already_are_counted_too(tmp_path: Path) -> None:
    listening = socket.create_server(("127.0.0.1", 0), backlog=128)
    waiting = [socket.create_connection(listening.getsockname()) for _ in range(64)]
    server = LinkServer(
        NoEvents(), open_authority(tmp_path).link_context(), "127.0.0.1", 0, lambda *_: listening
    )
    await server.start()
    turns = 0
    try:
        async with asyncio.timeout(DEADLINE):
            while sum(not closed(one) for one in waiting) > MAX_LINKS_PER_ADDRESS:
                turns += 1
                await asyncio.sleep(0)
        assert turns > 32, "accepted in one go: everybody else waits meanwhile"
    finally:
        await server.stop()
        for one in waiting:
            one.close()


async def test_what_is_said_on_a_link_that_has_just_ended_is_lost_and_no_fault(tmp_path: Path) -> None:
    """Whoever tells many cards must not stop at the one whose end the master is yet to hear of."""
    async with Rack(tmp_path, slots=1) as rack:
        card = TwinCard(rack, 1)
        await card.hello()
        assert card.link is not None
        card.link.session.close()
        card.link.send(m.Run(SET.digest))
        assert card.told() == []


async def test_who_connects_to_https_and_never_shakes_hands_has_his_share_and_no_more(tmp_path: Path) -> None:
    """TLS takes memory before anybody has shown who he is."""

    async def enrol(address: str, document: dict[str, Any]) -> str:
        raise PeerError("nobody enrols here")

    authority = open_authority(tmp_path)
    server = HttpsServer(enrolment_app(enrol), authority.enrolment_context(), "127.0.0.1", 0)
    await server.start()
    waiting = []
    try:
        for _ in range(LIMITS.per_address + 20):
            one = socket.socket()
            one.setblocking(False)
            one.connect_ex(("127.0.0.1", server.port))
            waiting.append(one)
        async with asyncio.timeout(DEADLINE):
            while sum(not closed(one) for one in waiting) > LIMITS.per_address:
                await asyncio.sleep(0)
        assert sum(not closed(one) for one in waiting) == LIMITS.per_address
        for one in waiting:
            one.close()
        # Their places are free again as soon as they are gone.
        context = ssl.create_default_context(cafile=str(tmp_path / AUTHORITY_CERTIFICATE))
        context.check_hostname = False
        async with asyncio.timeout(DEADLINE):
            while True:
                try:
                    _, writer = await asyncio.open_connection("127.0.0.1", server.port, ssl=context)
                except OSError:
                    continue
                break
        writer.close()
    finally:
        await server.stop()
