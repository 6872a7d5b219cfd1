"""Three namespaces for clients that we did not write: the server's (this process's), a relay's, a card's.

br0 10.77.0.1 ──┬── card0 (straight)
                └── relay0 10.77.0.9 ─ relay1 10.78.0.9 ── card1 (behind the relay)
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Any

from firmware_mgr.model.ids import MacAddress
from firmware_mgr.netboot.clock import SystemClock
from firmware_mgr.netboot.events import DhcpDecided, NetbootEvent, TransferEnded
from firmware_mgr.netboot.served import Blob, MemoryDirectory, MemoryLeases, ServerIdentity, Subnet
from firmware_mgr.netboot.servers import NetbootServers

from .rack import card

DEADLINE = 60.0
TESTS = Path(__file__).parents[1]
STRAIGHT, BEHIND = MacAddress("52:54:00:00:00:0d"), MacAddress("52:54:00:00:00:1d")
RELAY = IPv4Address("10.78.0.9")
SERVER = ServerIdentity(
    IPv4Address("10.77.0.1"),
    IPv4Network("10.77.0.0/24"),
    subnets=(Subnet(IPv4Network("10.78.0.0/24"), RELAY),),
)
ADDRESSES = {STRAIGHT: "10.77.0.13", BEHIND: "10.78.0.13"}


async def run(*command: str, allow: tuple[int, ...] = (0,)) -> str:
    """Output of a command that must succeed."""
    process = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    async with asyncio.timeout(DEADLINE):
        output, _ = await process.communicate()
    if process.returncode not in allow:
        raise SystemExit(f"{' '.join(command)}: {process.returncode}: {output.decode(errors='replace')}")
    return output.decode(errors="replace")


@dataclass
class Room:
    """A namespace, held open by a process."""

    holder: asyncio.subprocess.Process

    @classmethod
    async def make(cls) -> Room:
        holder = await asyncio.create_subprocess_exec(
            "unshare", "-n", "sh", "-c", "ip link set lo up; echo ready; exec cat", stdin=-1, stdout=-1
        )
        assert holder.stdout is not None
        assert await holder.stdout.readline() == b"ready\n"
        return cls(holder)

    def inside(self, *command: str, **environment: str) -> tuple[str, ...]:
        settings = [f"PATH={os.environ['PATH']}", *(f"{name}={value}" for name, value in environment.items())]
        return ("nsenter", "-t", str(self.holder.pid), "-n", "env", "-i", *settings, *command)

    async def ip(self, *words: str) -> str:
        return await run(*self.inside("ip", *words))

    async def close(self) -> None:
        assert self.holder.stdin is not None
        self.holder.stdin.close()
        await self.holder.wait()


@dataclass
class Wires:
    """The net, the servers on it, what they told, and what went to and from relays."""

    folder: Path
    files: dict[str, Blob]
    events: list[NetbootEvent] = field(default_factory=list)
    frames: list[bytes] = field(default_factory=list)
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    async def __aenter__(self) -> Wires:
        self.card, self.relay = await Room.make(), await Room.make()
        for words in (
            ("link", "set", "lo", "up"),
            ("link", "add", "br0", "type", "bridge", "forward_delay", "0"),
            ("addr", "add", "10.77.0.1/24", "dev", "br0"),
            ("link", "set", "br0", "up"),
        ):
            await run("ip", *words)
        await self._pair("rackc", "card0", self.card, STRAIGHT)
        await self._pair("rackr", "relay0", self.relay, MacAddress("52:54:00:00:01:01"))
        await run("ip", "route", "add", "10.78.0.0/24", "via", "10.77.0.9")
        await self.relay.ip(
            "link", "add", "relay1", "type", "veth", "peer", "name", "card1", "address", str(BEHIND)
        )
        await self.relay.ip("link", "set", "card1", "netns", str(self.card.holder.pid))
        for device, address in (("relay0", "10.77.0.9/24"), ("relay1", f"{RELAY}/24")):
            await self.relay.ip("addr", "add", address, "dev", device)
            await self.relay.ip("link", "set", device, "up")
        await run(*self.relay.inside("sh", "-c", "echo 1 >/proc/sys/net/ipv4/ip_forward"))
        for device in ("card0", "card1"):
            await self.card.ip("link", "set", device, "up")
        self._tap = socket.socket(socket.AF_PACKET, socket.SOCK_RAW | socket.SOCK_NONBLOCK, socket.htons(3))
        self._tap.bind(("rackr", 0))
        asyncio.get_running_loop().add_reader(self._tap.fileno(), self._tapped)
        self.leases = MemoryLeases()
        directory = MemoryDirectory(
            card(dict(self.files), slot=n, address=ADDRESSES[mac], mac=mac)
            for n, mac in enumerate((STRAIGHT, BEHIND), 1)
        )
        self._servers = NetbootServers(
            directory, self.leases, SERVER, interface="br0", clock=SystemClock(), on_event=self._keep
        )
        await self._servers.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._servers.stop()
        asyncio.get_running_loop().remove_reader(self._tap.fileno())
        self._tap.close()
        await self.card.close()
        await self.relay.close()

    async def _pair(self, here: str, there: str, room: Room, mac: MacAddress) -> None:
        await run("ip", "link", "add", here, "type", "veth", "peer", "name", there, "address", str(mac))
        await run("ip", "link", "set", there, "netns", str(room.holder.pid))
        await run("ip", "link", "set", here, "master", "br0", "up")

    def _tapped(self) -> None:
        try:
            self.frames.append(self._tap.recv(65535))
        except BlockingIOError:
            pass

    def _keep(self, event: NetbootEvent) -> None:
        self.events.append(event)
        self.changed.set()

    async def wait_until(self, holds: Callable[[], bool]) -> None:
        async with asyncio.timeout(DEADLINE):
            while not holds():
                self.changed.clear()
                await self.changed.wait()

    def decided(self, mac: MacAddress, since: int = 0) -> list[tuple[str, str]]:
        return [
            (event.message, event.decision)
            for event in self.events[since:]
            if isinstance(event, DhcpDecided) and event.mac == mac
        ]

    def ended(self, since: int = 0) -> list[TransferEnded]:
        return [event for event in self.events[since:] if isinstance(event, TransferEnded)]

    async def wait_decided(self, mac: MacAddress, last: tuple[str, str], since: int) -> None:
        await self.wait_until(lambda: last in self.decided(mac, since))

    async def wait_address(self, device: str, address: str) -> None:
        async with asyncio.timeout(DEADLINE):
            while address not in await self.card.ip("addr", "show", "dev", device):
                await asyncio.sleep(0.05)


def said_by(module: str, folder: Path, seconds: float) -> dict[str, Any]:
    """Run a module of this package in namespaces of its own; the JSON document that it printed."""
    unshare = ["unshare", "-nm"] if os.geteuid() == 0 else ["unshare", "-Urnm"]
    done = subprocess.run(
        [*unshare, sys.executable, "-m", f"netboot.{module}", str(folder)],
        cwd=TESTS,
        env=os.environ | {"PYTHONPATH": f"{TESTS}:{TESTS.parent}"},
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def print_result(main: Callable[[Path], Coroutine[Any, Any, dict[str, Any]]]) -> None:
    sys.stdout.write(json.dumps(asyncio.run(main(Path(sys.argv[1])))))
