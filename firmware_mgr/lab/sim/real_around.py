"""Where a simulated card sits in a chassis of real sockets: its address on the bridge, and what goes from it.

Knows the kernel's sockets and addresses. Refuses to know cards. All cards and the master share one network
namespace, so that what they say to each other goes over its loopback.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable
from contextlib import suppress
from contextvars import Context
from pathlib import Path
from weakref import WeakSet

from pyroute2 import IPRoute
from pyroute2.netlink.exceptions import NetlinkError

from firmware_mgr.card.https import dial_tls
from firmware_mgr.card.uplink import TlsUplink, Uplink
from firmware_mgr.lab.sim.netclient import NOWHERE, Came, Jack, Socket
from firmware_mgr.lab.sim.process import PROCESS, SimProcess
from firmware_mgr.lab.sim.real_page import RealPage
from firmware_mgr.model.errors import DeviceError
from firmware_mgr.netboot.sockets import bind_to_device

LARGEST_DATAGRAM = 1 << 16
#: To see whether a port of the card answers, in seconds.
ANSWER_SECONDS = 1.0
#: Between two tries to end what a power-on left, in seconds.
CANCEL_SECONDS = 0.05


class KernelSocket:
    """See netclient.Socket."""

    def __init__(self, raw: socket.socket) -> None:
        self._raw = raw

    def send(self, data: bytes, to: tuple[str, int]) -> None:
        self._raw.sendto(data, to)

    async def receive(self) -> Came:
        data, (source, port) = await asyncio.get_running_loop().sock_recvfrom(self._raw, LARGEST_DATAGRAM)
        return Came(data, source, port)

    def close(self) -> None:
        self._raw.close()


class Bridge:
    """The addresses of all cards, on the backplane's bridge."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._links = IPRoute()
        self._index = self._links.link_lookup(ifname=name)[0]

    def add(self, address: str) -> None:
        """Raises DeviceError, also when another card has the address."""
        try:
            self._links.addr("add", index=self._index, address=address, prefixlen=32)
        except NetlinkError as e:
            raise DeviceError(
                "a card cannot have this address", where=self.name, found=f"{address}: {e}"
            ) from e

    def remove(self, address: str) -> None:
        with suppress(NetlinkError):  # it went with the network
            self._links.addr("del", index=self._index, address=address, prefixlen=32)

    def close(self) -> None:
        self._links.close()


class KernelAround:
    """See card.Around, and netclient.Jack: the card's own jack. Without an address nothing leaves it."""

    def __init__(self, bridge: Bridge) -> None:
        self._bridge = bridge
        self._address: str | None = None
        self._pages: set[RealPage] = set()
        self._dialled: WeakSet[socket.socket] = WeakSet()

    def jack(self) -> Jack:
        return self

    def open(self, port: int, address: str) -> Socket:
        raw = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        try:
            if address == NOWHERE:
                # All cards ask from one port of one host: each answer comes to all, as on a wire.
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
                bind_to_device(raw, self._bridge.name)
            raw.bind((address, port))
        except OSError:
            raw.close()
            raise
        return KernelSocket(raw)

    def hold(self, address: str | None) -> None:
        if address == self._address:
            return
        if self._address is not None:
            self._bridge.remove(self._address)
            self._address = None
        if address is not None:
            process = PROCESS.get()
            if process is not None and process.dead:
                raise DeviceError("this power-on is over", where=process.name)
            self._bridge.add(address)
            self._address = address

    def uplink(self, authority: Path) -> Uplink:
        return TlsUplink(authority, bind=True, dial=self._dial)

    def serve(self, port: int, page: str) -> Callable[[], None]:
        if self._address is None:
            return lambda: None
        serving = RealPage(socket.create_server((self._address, port), backlog=16), page)
        self._pages.add(serving)

        def close() -> None:
            self._pages.discard(serving)
            serving.close()

        return close

    async def answers(self, port: int) -> bool:
        if self._address is None:
            return False
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                _, writer = await asyncio.open_connection(self._address, port)
        except (OSError, TimeoutError):
            return False
        writer.close()
        return True

    def ended(self, process: SimProcess, *, silent: bool) -> None:
        """Its tasks end where they wait; what they still want to say finds no address to say it from."""
        _end_tasks(process)
        for serving in self._pages:
            serving.close()
        self._pages.clear()
        for raw in tuple(self._dialled):
            with suppress(OSError):
                socket.socket.shutdown(raw, socket.SHUT_RDWR)

    def _dial(
        self, host: str, port: int, context: ssl.SSLContext, own_address: str | None = None
    ) -> socket.socket:
        made = dial_tls(host, port, context, own_address)
        self._dialled.add(made)
        return made


def _end_tasks(process: SimProcess) -> None:
    """Cancel them until all have gone: a task that was about to fail by itself may lose a cancellation."""
    for task in tuple(process.tasks):
        task.cancel()
    if process.tasks:
        asyncio.get_running_loop().call_later(CANCEL_SECONDS, _end_tasks, process, context=Context())
