"""Runs TFTP transfers: a connected socket and a machine for each, one heap of deadlines, one event loop.

Knows sockets and the loop. Refuses to know which card may have what: it is told blob, options and peer.
What to send and when is the machine's business.
"""

from __future__ import annotations

import asyncio
import errno
import heapq
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address
from itertools import count

from firmware_mgr.model.errors import FwmgrError
from firmware_mgr.model.ids import SlotId
from firmware_mgr.netboot import sockets, tftp
from firmware_mgr.netboot import tftp_codec as codec
from firmware_mgr.netboot.bounds import TransferBounds
from firmware_mgr.netboot.clock import Clock
from firmware_mgr.netboot.events import NetbootEvent, NetProtocol, Outcome, TransferEnded, TransferStarted
from firmware_mgr.netboot.served import Blob
from firmware_mgr.netboot.sockets import Endpoint
from firmware_mgr.netboot.tftp_frames import FramePool
from firmware_mgr.netboot.tftp_terms import negotiate

IP_UDP_TFTP = 32  # bytes of headers before the block in an IP packet
PACKETS_PER_WAKE = 16  # read from one socket before the others get their turn
NO_SEGMENTATION = {errno.EIO, errno.EINVAL, errno.EMSGSIZE, errno.EOPNOTSUPP, errno.ENOPROTOOPT}


#: Entries of ended transfers that the heap of deadlines may hold beyond its running ones.
_HEAP_SLACK = 64


@dataclass(frozen=True, slots=True)
class Wanted:
    """A request that may be served: what, to whom, and from which of our addresses.

    `max_blocks`: as many as the client can count; None when its block numbers wrap.
    """

    slot: SlotId
    name: str
    blob: Blob
    options: Mapping[str, str]
    refused_options: frozenset[str]
    peer: Endpoint
    local: IPv4Address
    max_blocks: int | None = None


@dataclass(slots=True, eq=False)
class _Running:
    wanted: Wanted
    machine: tftp.TftpTransfer
    raw: socket.socket
    since: float
    bytes_sent: int = 0
    backlog: tuple[int, int] | None = None  # blocks (first, count) that the kernel had no room for
    queued: float | None = None  # the deadline that stands in the heap


class TftpEngine:
    """`begin` starts a transfer; it ends by itself. `stop` ends all."""

    def __init__(
        self,
        pool: FramePool,
        bounds: TransferBounds,
        clock: Clock,
        on_event: Callable[[NetbootEvent], None],
        *,
        device: str | None = None,
        segmentation: bool | None = None,
        network: sockets.Network | None = None,
    ) -> None:
        self._pool = pool
        self._bounds = bounds
        self._clock = clock
        self._on_event = on_event
        self._device = device
        self._network = network or sockets.KernelNetwork()
        self.segmentation = self._network.segmentation() if segmentation is None else segmentation
        self._running: dict[Endpoint, _Running] = {}
        self._heap: list[tuple[float, int, Endpoint]] = []
        self._order = count()
        self._wake: asyncio.TimerHandle | None = None

    @property
    def running(self) -> int:
        return len(self._running)

    def begin(self, wanted: Wanted) -> None:
        """Start sending. A retransmitted request starts nothing; one over the bounds is not answered."""
        former = self._running.get(wanted.peer)
        if former is not None:
            if former.machine.untouched and former.wanted.name == wanted.name:
                return
            self._feed(former, tftp.PortClosed())  # it began anew; an ERROR would reach the new transfer
        full = self._bounds.enter(wanted.slot)
        if full is not None:
            self._refused(wanted, full)
            return
        try:
            raw = self._network.connected(wanted.local, wanted.peer, self._device)
        except OSError as e:
            self._bounds.leave(wanted.slot)
            self._refused(wanted, f"no socket: {e.strerror}")
            return
        largest = sockets.path_mtu(raw) - IP_UDP_TFTP
        terms = negotiate(wanted.options, wanted.blob.length, largest, wanted.refused_options)
        now = self._clock.monotonic()
        machine = tftp.TftpTransfer(wanted.blob.length, terms)
        if wanted.max_blocks is not None and machine.blocks > wanted.max_blocks:
            raw.close()
            self._bounds.leave(wanted.slot)
            text = f"{machine.blocks} blocks of {terms.blksize}: this board counts to {wanted.max_blocks}"
            self._refused(wanted, text)
            self.refuse(wanted.peer, wanted.local, codec.Error(codec.ErrorCode.UNDEFINED, text))
            return
        running = _Running(wanted, machine, raw, now)
        self._running[wanted.peer] = running
        asyncio.get_running_loop().add_reader(raw.fileno(), self._readable, running)
        self._on_event(
            TransferStarted(wanted.slot, NetProtocol.TFTP, wanted.name, str(wanted.peer), wanted.blob.length)
        )
        self._perform(running, running.machine.start(now))

    def refuse(self, peer: Endpoint, local: IPv4Address, error: codec.Error) -> None:
        """Send one ERROR from a port of its own; when it cannot be sent the client asks again."""
        try:
            with self._network.connected(local, peer, self._device) as raw:
                raw.send(codec.serialise(error))
        except OSError:
            pass

    def stop(self) -> None:
        for running in tuple(self._running.values()):
            self._feed(running, tftp.Cancelled("the server is stopping"))
        if self._wake is not None:
            self._wake.cancel()
            self._wake = None
        self._heap.clear()

    def _feed(self, running: _Running, event: tftp.Event) -> None:
        self._perform(running, running.machine.receive(event, self._clock.monotonic()))

    def _perform(self, running: _Running, actions: list[tftp.Action]) -> None:
        for action in actions:
            match action:
                case tftp.SendOptions():
                    self._send(running, codec.serialise(codec.OptionAck(running.machine.terms.granted)))
                case tftp.SendError(code, text):
                    self._send(running, codec.serialise(codec.Error(code, text)))
                case tftp.SendBlocks(first, blocks):
                    self._send_blocks(running, first, blocks)
                case tftp.Finish(outcome, reason):
                    self._finish(running, outcome, reason)
        self._schedule(running)

    def _send(self, running: _Running, packet: bytes) -> None:
        """A single packet; one that the kernel does not take counts as lost on the way."""
        try:
            running.raw.send(packet)
        except ConnectionRefusedError:
            self._later(running, tftp.PortClosed())
        except OSError:
            pass

    def _send_blocks(self, running: _Running, first: int, blocks: int) -> None:
        self._set_backlog(running, None)
        blksize = running.machine.terms.blksize
        stride = blksize + codec.DATA_HEADER
        try:
            views = self._pool.window(running.wanted.blob, blksize, first, blocks)
        except FwmgrError as e:
            self._later(running, tftp.Cancelled(e.what))
            return
        for view in views:
            batch = self._batch(stride) * stride
            for start in range(0, len(view), batch):
                part = view[start : start + batch]
                try:
                    self._send_part(running, part, stride)
                except BlockingIOError:
                    self._set_backlog(running, (first, blocks))
                    return
                except ConnectionRefusedError:
                    self._later(running, tftp.PortClosed())
                    return
                except OSError:
                    return  # no route, no buffers: lost on the way, the deadline repeats it
                packets = -(-len(part) // stride)
                running.bytes_sent += len(part) - packets * codec.DATA_HEADER
                first += packets
                blocks -= packets

    def _batch(self, stride: int) -> int:
        """Packets for one call."""
        return min(sockets.MAX_SEGMENTS, sockets.MAX_DATAGRAM // stride) if self.segmentation else 1

    def _send_part(self, running: _Running, part: memoryview, stride: int) -> None:
        if len(part) <= stride:
            running.raw.send(part)
            return
        try:
            sockets.send_segments(running.raw, part, stride)
        except OSError as e:
            if e.errno not in NO_SEGMENTATION:
                raise
            self.segmentation = False  # the kernel has it and the device's driver has not
            for start in range(0, len(part), stride):
                running.raw.send(part[start : start + stride])

    def _set_backlog(self, running: _Running, blocks: tuple[int, int] | None) -> None:
        """Have the loop call again when the kernel has room, or no longer."""
        loop = asyncio.get_running_loop()
        if blocks is not None:
            loop.add_writer(running.raw.fileno(), self._writable, running)
        elif running.backlog is not None:
            loop.remove_writer(running.raw.fileno())
        running.backlog = blocks

    def _writable(self, running: _Running) -> None:
        if running.backlog is not None:
            self._send_blocks(running, *running.backlog)

    def _later(self, running: _Running, event: tftp.Event) -> None:
        """Feed an event that arose while actions are performed."""
        asyncio.get_running_loop().call_soon(self._feed, running, event)

    def _readable(self, running: _Running) -> None:
        for _ in range(PACKETS_PER_WAKE):
            if running.machine.state is tftp.State.ENDED:
                return
            try:
                datagram = running.raw.recv(sockets.RECEIVE_BYTES)
            except BlockingIOError:
                return
            except ConnectionRefusedError:
                self._feed(running, tftp.PortClosed())
                return
            except OSError:
                return  # the network's, not the client's: the deadline decides
            self._feed(running, _event_of(datagram))

    def _schedule(self, running: _Running) -> None:
        """Put the machine's deadline into the heap, unless an earlier entry will look at it anyway."""
        deadline = running.machine.next_deadline
        if deadline is None or (running.queued is not None and running.queued <= deadline):
            return
        running.queued = deadline
        heapq.heappush(self._heap, (deadline, next(self._order), running.wanted.peer))
        if self._heap[0][2] == running.wanted.peer:
            self._set_wake()

    def _set_wake(self) -> None:
        if self._wake is not None:
            self._wake.cancel()
            self._wake = None
        if self._heap:
            delay = max(0.0, self._heap[0][0] - self._clock.monotonic())
            self._wake = asyncio.get_running_loop().call_later(delay, self._wake_up)

    def _wake_up(self) -> None:
        self._wake = None
        now = self._clock.monotonic()
        while self._heap and self._heap[0][0] <= now:
            deadline, _, peer = heapq.heappop(self._heap)
            running = self._running.get(peer)
            if running is None or running.queued != deadline:
                continue  # of a transfer that has ended
            running.queued = None
            self._perform(running, running.machine.receive(tftp.TimePassed(), now))
        self._set_wake()

    def _finish(self, running: _Running, outcome: Outcome, reason: str) -> None:
        wanted = running.wanted
        self._set_backlog(running, None)
        asyncio.get_running_loop().remove_reader(running.raw.fileno())
        running.raw.close()
        del self._running[wanted.peer]
        if len(self._heap) > _HEAP_SLACK + 2 * len(self._running):
            self._heap = [entry for entry in self._heap if entry[2] in self._running]
            heapq.heapify(self._heap)
        self._bounds.leave(wanted.slot)
        seconds = self._clock.monotonic() - running.since
        self._ended(wanted, running.bytes_sent, outcome, reason, seconds=seconds)

    def _refused(self, wanted: Wanted, reason: str) -> None:
        self._ended(wanted, 0, Outcome.REFUSED, reason, seconds=0.0)

    def _ended(
        self, wanted: Wanted, bytes_sent: int, outcome: Outcome, reason: str, *, seconds: float
    ) -> None:
        peer = str(wanted.peer)
        self._on_event(
            TransferEnded(
                wanted.slot, NetProtocol.TFTP, wanted.name, peer, bytes_sent, outcome, reason, seconds
            )
        )


def _event_of(datagram: bytes) -> tftp.Event:
    """What a client's packet means to the machine."""
    try:
        packet = codec.parse(datagram)
    except codec.TftpFormatError as e:
        return tftp.Stray(f"a packet that is not TFTP: {e.what}")
    match packet:
        case codec.Ack(block):
            return tftp.Acked(block)
        case codec.Error(code, text):
            return tftp.Stopped(code, text)
        case _:
            return tftp.Stray(type(packet).__name__)
