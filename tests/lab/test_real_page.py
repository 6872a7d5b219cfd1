"""A simulated card's page on a real socket: one connection that goes wrong does not end it."""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Callable
from typing import Any

import pytest

from firmware_mgr.lab.sim.real_page import RealPage

Refusal = Callable[["Scarce"], tuple[socket.socket, Any]]


class Scarce(socket.socket):
    """Listens; what is in `refusals` befalls the next connections."""

    def __init__(self) -> None:
        super().__init__(socket.AF_INET, socket.SOCK_STREAM)
        self.refusals: list[Refusal] = []
        self.bind(("127.0.0.1", 0))
        self.listen()

    def accept(self) -> tuple[socket.socket, Any]:
        return self.refusals.pop(0)(self) if self.refusals else super().accept()


class Reset(socket.socket):
    """A connection that its other end resets once it was accepted."""

    accepted = False

    def setblocking(self, flag: bool) -> None:
        """The loop's first call on a connection is of accepting it, its second of beginning to read."""
        if self.accepted:
            raise ConnectionResetError(errno.ECONNRESET, "reset")
        self.accepted = True
        super().setblocking(flag)


def no_descriptor_left(_listening: Scarce) -> tuple[socket.socket, Any]:
    raise OSError(errno.EMFILE, "too many open files")


def reset_at_once(listening: Scarce) -> tuple[socket.socket, Any]:
    connection, address = socket.socket.accept(listening)
    return Reset(connection.family, connection.type, fileno=connection.detach()), address


async def ask(listening: socket.socket) -> bytes:
    async with asyncio.timeout(30):
        reader, writer = await asyncio.open_connection(*listening.getsockname())
        try:
            writer.write(b"GET / HTTP/1.0\r\n\r\n")
            return await reader.read()
        except ConnectionError:
            return b""
        finally:
            writer.close()


@pytest.mark.asyncio
@pytest.mark.parametrize("refusal", [no_descriptor_left, reset_at_once])
async def test_a_page_outlives_a_connection_that_goes_wrong(refusal: Refusal) -> None:
    listening = Scarce()
    page = RealPage(listening, "in service", pause=0.01)
    assert b"in service" in await ask(listening)
    listening.refusals.append(refusal)
    await ask(listening)
    assert not listening.refusals
    assert b"in service" in await ask(listening)
    page.close()


@pytest.mark.asyncio
async def test_a_closed_page_leaves_the_number_of_its_socket_to_others() -> None:
    listening = socket.create_server(("127.0.0.1", 0))
    page = RealPage(listening, "one")
    await asyncio.sleep(0)  # it accepts
    number = listening.fileno()
    page.close()
    page.close()
    with socket.create_server(("127.0.0.1", 0)) as other:
        assert other.fileno() == number, "the kernel gives the lowest number that is free"
        came = asyncio.Event()
        loop = asyncio.get_running_loop()
        loop.add_reader(other, came.set)
        with socket.create_connection(other.getsockname()):
            async with asyncio.timeout(30):
                await came.wait()
        loop.remove_reader(other)


@pytest.mark.asyncio
async def test_a_closed_page_frees_its_port_at_once() -> None:
    listening = socket.create_server(("127.0.0.1", 0))
    address = listening.getsockname()
    page = RealPage(listening, "one")
    await asyncio.sleep(0)
    page.close()
    again = socket.create_server(address)
    page = RealPage(again, "again")
    assert b"again" in await ask(again)
    page.close()
