from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import TypeVar

import pytest

from firmware_mgr.netboot.clock import SystemClock
from firmware_mgr.netboot.events import NetbootEvent, TransferEnded
from firmware_mgr.netboot.served import MemoryDirectory, MemoryLeases, ServerIdentity
from firmware_mgr.netboot.servers import NetbootServers, Ports

from .rack import blob_of, card

DEADLINE = 20.0
SERVER_ADDRESS = IPv4Address("127.0.0.2")
E_ = TypeVar("E_", bound=NetbootEvent)

KERNEL = bytes((i * 31 + i // 509) % 256 for i in range(300_000))
FILES = {
    "boot.scr.uimg": b"setenv bootargs console=ttyAMA0\n",
    "Image": KERNEL,
    "empty": b"",
    "whole": b"w" * 1024,
    "9ffefdef/config.txt": b"arm_64bit=1\n",
}


@dataclass
class Journal:
    """Keeps the servers' events and lets a test wait for one."""

    events: list[NetbootEvent] = field(default_factory=list)
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def add(self, event: NetbootEvent) -> None:
        self.events.append(event)
        self.changed.set()

    def of(self, kind: type[E_]) -> list[E_]:
        return [event for event in self.events if isinstance(event, kind)]

    async def wait_until(self, holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(DEADLINE):
            while not holds():
                self.changed.clear()
                await self.changed.wait()

    async def wait_ended(self, count: int = 1) -> list[TransferEnded]:
        await self.wait_until(lambda: len(self.of(TransferEnded)) >= count)
        return self.of(TransferEnded)


@dataclass
class Rack:
    """Servers on loopback at 127.0.0.2 with free ports, for one card at 127.0.0.1 in slot 3."""

    servers: NetbootServers
    journal: Journal
    leases: MemoryLeases
    directory: MemoryDirectory
    folder: Path


@pytest.fixture
def relay_socket() -> Iterator[socket.socket]:
    """Where a relay on loopback listens."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as raw:
        raw.bind(("127.0.0.5", 0))
        yield raw


@pytest.fixture
def relay_port(relay_socket: socket.socket) -> int:
    return int(relay_socket.getsockname()[1])


@pytest.fixture
async def rack(tmp_path: Path, relay_port: int) -> AsyncIterator[Rack]:
    blobs = {name: blob_of(tmp_path / f"blob{i}", data) for i, (name, data) in enumerate(FILES.items())}
    directory = MemoryDirectory([card(blobs, address="127.0.0.1")])
    identity = ServerIdentity(SERVER_ADDRESS, IPv4Network("127.0.0.0/8"))
    leases, journal = MemoryLeases(), Journal()
    servers = NetbootServers(
        directory,
        leases,
        identity,
        interface="lo",
        clock=SystemClock(),
        on_event=journal.add,
        ports=Ports(0, 0, 0, dhcp_client=0, dhcp_relay=relay_port, boot_service=0),
    )
    async with servers:
        yield Rack(servers, journal, leases, directory, tmp_path)
