"""The TFTP port: reads requests, finds card and file, and starts transfers or says no.

Knows directory and names. Refuses to know how a transfer runs; nothing is sent from this port itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace

from firmware_mgr.model.errors import DeviceError
from firmware_mgr.netboot import tftp_codec as codec
from firmware_mgr.netboot.clock import Clock
from firmware_mgr.netboot.events import NetbootEvent, NetProtocol, Outcome, PacketUnusable, TransferEnded
from firmware_mgr.netboot.limits import RateLimit
from firmware_mgr.netboot.names import NameFault, NameRefused, find_file, printable
from firmware_mgr.netboot.netascii import TextBlob, TextBlobs
from firmware_mgr.netboot.served import Directory, ServedCard, ServerIdentity
from firmware_mgr.netboot.sockets import Datagram, Endpoint, PacketSocket
from firmware_mgr.netboot.tftp_codec import ErrorCode
from firmware_mgr.netboot.tftp_engine import TftpEngine, Wanted

OCTET, NETASCII = "octet", "netascii"
REQUESTS_PER_WAKE = 32  # before the running transfers get their turn
#: ERRORs to one address, a second and at once: loaders look for some twenty files that are not there.
REFUSALS = (16.0, 64.0)
REMEMBERED_ADDRESSES = 1024
ERROR_OF_FAULT = {NameFault.TRICK: ErrorCode.ACCESS, NameFault.ABSENT: ErrorCode.NOT_FOUND}


class TftpListener:
    def __init__(
        self,
        socket: PacketSocket,
        engine: TftpEngine,
        directory: Directory,
        on_event: Callable[[NetbootEvent], None],
        *,
        identity: ServerIdentity,
        clock: Clock,
    ) -> None:
        self._socket = socket
        self._engine = engine
        self._directory = directory
        self._on_event = on_event
        self._identity = identity
        self._clock = clock
        self._refusals = RateLimit(per_second=REFUSALS[0], burst=REFUSALS[1], keys=REMEMBERED_ADDRESSES)
        self._texts = TextBlobs()

    def start(self) -> None:
        asyncio.get_running_loop().add_reader(self._socket.fileno(), self._readable)

    def stop(self) -> None:
        asyncio.get_running_loop().remove_reader(self._socket.fileno())
        self._socket.close()
        self._texts.stop()
        self._engine.stop()

    def _readable(self) -> None:
        for _ in range(REQUESTS_PER_WAKE):
            datagram = self._socket.receive()
            if datagram is None:
                return
            self._received(datagram)

    def _received(self, datagram: Datagram) -> None:
        if datagram.destination != datagram.local:
            self._unusable(datagram, "request by broadcast")  # RFC 1123 §4.2.3.4: not answered
            return
        try:
            packet = codec.parse(datagram.data)
        except codec.TftpFormatError as e:
            self._unusable(datagram, str(e))
            return
        if isinstance(packet, codec.Request):
            self._requested(packet, datagram)
        else:
            self._unusable(datagram, f"{type(packet).__name__} outside of a transfer")

    def _requested(self, request: codec.Request, datagram: Datagram) -> None:
        card = self._directory.card_by_address(datagram.source)
        if card is None and self._identity.subnet_of(datagram.source) is None:
            self._unusable(
                datagram, "request from outside the rack's subnets"
            )  # not answered: who knows whose
        elif card is None:
            self._refuse(request, datagram, None, codec.Error(ErrorCode.ACCESS, "no card has this address"))
        elif request.write:
            self._refuse(request, datagram, card, codec.Error(ErrorCode.ACCESS, "writing is not served"))
        elif request.mode not in (OCTET, NETASCII):
            text = f"mode {printable(request.mode)[:32]} is not served, {OCTET} and {NETASCII} are"
            self._refuse(request, datagram, card, codec.Error(ErrorCode.UNDEFINED, text))
        else:
            found = find_file(card, request.name)
            if isinstance(found, NameRefused):
                error = codec.Error(ERROR_OF_FAULT[found.fault], found.reason)
                self._refuse(request, datagram, card, error)
                return
            wanted = Wanted(
                slot=card.slot,
                name=request.name,
                blob=found,
                options=request.options,
                refused_options=card.refused_tftp_options,
                peer=Endpoint(datagram.source, datagram.port),
                local=datagram.local,
                max_blocks=card.max_tftp_blocks,
            )
            if request.mode == OCTET:
                self._engine.begin(wanted)
            else:
                self._begin_text(request, datagram, card, wanted)

    def _begin_text(
        self, request: codec.Request, datagram: Datagram, card: ServedCard, wanted: Wanted
    ) -> None:
        """Over the bound nothing is answered: the client asks again."""

        def take(text: TextBlob | DeviceError) -> None:
            if isinstance(text, DeviceError):
                self._refuse(request, datagram, card, codec.Error(ErrorCode.UNDEFINED, text.what))
            else:
                self._engine.begin(replace(wanted, blob=text))

        self._texts.get(wanted.blob, take)

    def _refuse(
        self, request: codec.Request, datagram: Datagram, card: ServedCard | None, error: codec.Error
    ) -> None:
        self._on_event(
            TransferEnded(
                slot=None if card is None else card.slot,
                protocol=NetProtocol.TFTP,
                name=printable(request.name),
                peer=datagram.peer,
                bytes_sent=0,
                outcome=Outcome.REFUSED,
                reason=error.text,
                seconds=0.0,
            )
        )
        if self._refusals.allows(datagram.source, self._clock.monotonic()):
            self._engine.refuse(Endpoint(datagram.source, datagram.port), datagram.local, error)

    def _unusable(self, datagram: Datagram, reason: str) -> None:
        self._on_event(PacketUnusable(NetProtocol.TFTP, datagram.peer, printable(reason)))
