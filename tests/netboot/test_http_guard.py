"""Clients that would hold an HTTP server: slow ones, idle ones, too many at once."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web

from firmware_mgr.netboot.http_guard import HttpGuard, HttpLimits

DEADLINE = 10.0
WHOLE = b"GET /x HTTP/1.1\r\nHost: m\r\n\r\n"


@asynccontextmanager
async def served(limits: HttpLimits, handling: float = 0.0) -> AsyncIterator[tuple[HttpGuard, int]]:
    async def get(_: web.Request) -> web.Response:
        await asyncio.sleep(handling)
        return web.Response(text="here")

    app = web.Application()
    app.router.add_get("/x", get)
    guard = HttpGuard(app, limits)
    listening = socket.create_server(("127.0.0.1", 0))
    port = int(listening.getsockname()[1])
    await guard.start(listening)
    try:
        yield guard, port
    finally:
        await guard.stop()


async def answer(reader: asyncio.StreamReader) -> bytes:
    async with asyncio.timeout(DEADLINE):
        head = await reader.readuntil(b"\r\n\r\n")
        assert await reader.readexactly(4) == b"here"
    return head


async def wait_closed(reader: asyncio.StreamReader) -> None:
    async with asyncio.timeout(DEADLINE):
        try:
            assert await reader.read(1) == b""
        except ConnectionResetError:
            pass


async def test_a_request_that_comes_a_byte_at_a_time_has_its_seconds_and_no_more() -> None:
    async with served(HttpLimits(idle_seconds=0.3)) as (guard, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /")
        closed = asyncio.create_task(wait_closed(reader))
        while not closed.done():
            writer.write(b"x")
            await asyncio.wait({closed}, timeout=0.02)
        await closed
        assert guard.connections == 0
        writer.close()


async def test_a_connection_without_a_request_is_closed() -> None:
    async with served(HttpLimits(idle_seconds=0.1)) as (guard, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        await wait_closed(reader)
        assert guard.connections == 0
        writer.close()


async def test_a_kept_connection_serves_one_request_after_the_other() -> None:
    async with served(HttpLimits(idle_seconds=DEADLINE)) as (guard, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for _ in range(3):
            writer.write(WHOLE)
            assert (await answer(reader)).startswith(b"HTTP/1.1 200")
        assert guard.connections == 1
        writer.close()


async def test_a_request_that_is_being_served_may_take_longer_than_a_connection_may_idle() -> None:
    async with served(HttpLimits(idle_seconds=0.1), handling=0.4) as (_, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(WHOLE)
        assert (await answer(reader)).startswith(b"HTTP/1.1 200")
        await wait_closed(reader)
        writer.close()


async def test_one_address_has_its_share_of_connections_and_others_theirs() -> None:
    async with served(HttpLimits(per_address=2, idle_seconds=DEADLINE)) as (guard, port):
        held = []
        for _ in range(2):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(WHOLE)
            await answer(reader)
            held.append(writer)
        over, writer = await asyncio.open_connection("127.0.0.1", port)
        held.append(writer)
        await wait_closed(over)
        other, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=("127.0.0.9", 0))
        held.append(writer)
        writer.write(WHOLE)
        assert (await answer(other)).startswith(b"HTTP/1.1 200")
        assert guard.connections == 3
        for writer in held:
            writer.close()


async def test_all_addresses_together_have_their_bound_and_a_place_is_given_back() -> None:
    async with served(HttpLimits(in_all=1, idle_seconds=DEADLINE)) as (guard, port):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(WHOLE)
        await answer(reader)
        over, late = await asyncio.open_connection("127.0.0.1", port, local_addr=("127.0.0.9", 0))
        await wait_closed(over)
        writer.close()
        async with asyncio.timeout(DEADLINE):
            while guard.connections:
                await asyncio.sleep(0)
        again, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(WHOLE)
        assert (await answer(again)).startswith(b"HTTP/1.1 200")
        writer.close()
        late.close()
