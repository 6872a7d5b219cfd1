"""All netboot servers of one backplane: opened together, closed together.

Knows ports and interface. Refuses to know what is served: directory, leases and identity are handed in.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Self

from firmware_mgr.netboot.bounds import TransferBounds
from firmware_mgr.netboot.clock import Clock
from firmware_mgr.netboot.dhcp_listener import DhcpListener
from firmware_mgr.netboot.events import NetbootEvent
from firmware_mgr.netboot.http import NetbootHttp
from firmware_mgr.netboot.http_guard import HttpGuard
from firmware_mgr.netboot.served import Directory, Leases, ServerIdentity
from firmware_mgr.netboot.sockets import KernelNetwork, Network, PacketSocket
from firmware_mgr.netboot.tftp_engine import TftpEngine
from firmware_mgr.netboot.tftp_frames import FramePool
from firmware_mgr.netboot.tftp_listener import TftpListener

SHUTDOWN_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Ports:
    """UDP 67, 69 and 4011 (PXE's boot service) and TCP 80; 0 takes a free one.

    `dhcp_client` and `dhcp_relay` are where those listen.
    """

    dhcp: int = 67
    tftp: int = 69
    http: int = 80
    dhcp_client: int = 68
    dhcp_relay: int = 67
    boot_service: int = 4011


class NetbootServers:
    """`start` and `stop`; between them `ports` tells the ports that were taken."""

    def __init__(
        self,
        directory: Directory,
        leases: Leases,
        identity: ServerIdentity,
        *,
        interface: str | None,
        clock: Clock,
        on_event: Callable[[NetbootEvent], None],
        ports: Ports = Ports(),
        bounds: TransferBounds | None = None,
        pool: FramePool | None = None,
        network: Network | None = None,
    ) -> None:
        self._directory = directory
        self._leases = leases
        self._identity = identity
        self._interface = interface
        self._clock = clock
        self._on_event = on_event
        self._bounds = bounds or TransferBounds()
        self._pool = pool or FramePool()
        self._network = network or KernelNetwork()
        self.ports = ports
        self.tftp_engine: TftpEngine | None = None
        self._udp: list[DhcpListener | TftpListener] = []
        self._http: HttpGuard | None = None

    async def start(self) -> None:
        """Listen on all ports, or raise DeviceError and listen on none."""
        wanted = self.ports
        with ExitStack() as opened:
            dhcp = self._network.packets(wanted.dhcp, self._interface, broadcast=True)
            opened.callback(dhcp.close)
            tftp = self._network.packets(wanted.tftp, self._interface)
            opened.callback(tftp.close)
            service = self._network.packets(wanted.boot_service, self._interface)
            opened.callback(service.close)
            http = self._network.listening(self._identity.address, wanted.http, self._interface)
            opened.callback(http.close)
            await self._start_http(http)
            opened.pop_all()
        self.ports = replace(
            wanted,
            dhcp=dhcp.port,
            tftp=tftp.port,
            http=http.getsockname()[1],
            boot_service=service.port,
        )
        self._identity = replace(self._identity, http_port=self.ports.http)
        engine = TftpEngine(
            self._pool,
            self._bounds,
            self._clock,
            self._on_event,
            device=self._interface,
            network=self._network,
        )
        self.tftp_engine = engine
        self._udp = [
            self._dhcp_listener(dhcp),
            self._dhcp_listener(service, boot_service=True),
            TftpListener(
                tftp,
                engine,
                self._directory,
                self._on_event,
                identity=self._identity,
                clock=self._clock,
            ),
        ]
        for listener in self._udp:
            listener.start()

    def _dhcp_listener(self, raw: PacketSocket, *, boot_service: bool = False) -> DhcpListener:
        return DhcpListener(
            raw,
            self._directory,
            self._leases,
            self._identity,
            clock=self._clock,
            on_event=self._on_event,
            relay_port=self.ports.dhcp_relay,
            client_port=self.ports.dhcp_client,
            boot_service=boot_service,
        )

    async def stop(self) -> None:
        """End transfers (their clients are told) and close the ports."""
        for listener in self._udp:
            listener.stop()
        self._udp = []
        if self._http is not None:
            await self._http.stop()
            self._http = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    async def _start_http(self, raw: socket.socket) -> None:
        http = NetbootHttp(self._directory, self._bounds, self._clock, self._on_event)
        guard = HttpGuard(http.application(), shutdown_seconds=SHUTDOWN_SECONDS)
        await guard.start(raw)
        self._http = guard
