"""A TFTP client of our own, written from RFC 1350 and RFC 7440 alone, and a wire in memory that can do harm.

The client is a machine like the server's: packets in, packets out, a deadline. It works over the wire in
memory and over real sockets.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from itertools import count

from firmware_mgr.netboot import tftp
from firmware_mgr.netboot import tftp_codec as codec
from firmware_mgr.netboot.served import Blob
from firmware_mgr.netboot.tftp_frames import FramePool
from firmware_mgr.netboot.tftp_terms import Terms

CLIENT_PATIENCE = 3.0
LATENCY = 0.01
DALLY = 8.0  # how long a client that has everything repeats its last ACK when asked to


class ReadingClient:
    """Receives one file. `got` is complete once `done` is set."""

    def __init__(self, blksize: int = 512, window: int = 1, *, expects_oack: bool = False) -> None:
        self.blksize = blksize
        self.window = window
        self.got = bytearray()
        self.done = False
        self.error: codec.Error | None = None
        self.oack: dict[str, str] | None = None
        self._expects_oack = expects_oack
        self._last = 0
        self._in_window = 0
        self._complained = False

    def receive(self, datagram: bytes) -> list[bytes]:
        match codec.parse(datagram):
            case codec.OptionAck(options):
                self.oack = dict(options)
                self.blksize = int(options.get("blksize", "512"))
                self.window = int(options.get("windowsize", "1"))
                return [self._ack()] if self._last == 0 else []
            case codec.Data(block, payload):
                return self._data(block, payload)
            case codec.Error() as error:
                self.error = error
                return []
            case other:
                raise AssertionError(f"a server sent {other}")

    def timeout(self) -> list[bytes]:
        """Silence: say again what we have."""
        self._in_window = 0
        self._complained = False
        return [self._ack()]

    def _data(self, block: int, payload: bytes) -> list[bytes]:
        if block != (self._last + 1) % codec.BLOCK_NUMBERS or self.done:
            self._in_window = 0
            if self._complained and not self.done:
                return []
            self._complained = True
            return [self._ack()]
        self._complained = False
        self._last += 1
        self.got += payload
        self._in_window += 1
        self.done = len(payload) < self.blksize
        if self.done or self._in_window == self.window:
            self._in_window = 0
            return [self._ack()]
        return []

    def _ack(self) -> bytes:
        return codec.serialise(codec.Ack(self._last % codec.BLOCK_NUMBERS))


class Wire:
    """Runs a transfer between the server's machine and a client in virtual time.

    `fate` says for the n-th packet at which delays it arrives: () is lost, (0, 0) is doubled.
    """

    def __init__(
        self,
        blob: Blob,
        pool: FramePool,
        terms: Terms,
        fate: Callable[[int], tuple[float, ...]] = lambda n: (0.0,),
    ) -> None:
        self.server = tftp.TftpTransfer(blob.length, terms)
        self.client = ReadingClient(terms.blksize, terms.window)
        self.finish: tftp.Finish | None = None
        self.packets = 0
        self.data_packets = 0
        self.now = 0.0
        self._blob = blob
        self._pool = pool
        self._terms = terms
        self._fate = fate
        self._queue: list[tuple[float, int, str, bytes]] = []
        self._order = count()
        self._client_deadline = CLIENT_PATIENCE

    def run(self) -> None:
        self._perform(self.server.start(0.0))
        while self.finish is None:
            self._step()

    def _step(self) -> None:
        deadlines = [self.server.next_deadline or float("inf"), self._client_deadline]
        at = min(self._queue[0][0] if self._queue else float("inf"), *deadlines)
        assert at < 10_000, "the transfer hangs"
        self.now = at
        if self._queue and self._queue[0][0] == at:
            _, _, to, packet = heapq.heappop(self._queue)
            if to == "server":
                match codec.parse(packet):
                    case codec.Ack(block):
                        self._perform(self.server.receive(tftp.Acked(block), at))
            else:
                self._client_deadline = at + CLIENT_PATIENCE
                self._carry("server", self.client.receive(packet))
        elif at == self.server.next_deadline:
            self._perform(self.server.receive(tftp.TimePassed(), at))
        else:
            self._client_deadline = at + CLIENT_PATIENCE
            if not self.client.done:
                self._carry("server", self.client.timeout())

    def _perform(self, actions: list[tftp.Action]) -> None:
        for action in actions:
            match action:
                case tftp.SendOptions():
                    self._carry("client", [codec.serialise(codec.OptionAck(self._terms.granted))])
                case tftp.SendBlocks(first, blocks):
                    stride = self._terms.blksize + codec.DATA_HEADER
                    for view in self._pool.window(self._blob, self._terms.blksize, first, blocks):
                        packets = [bytes(view[i : i + stride]) for i in range(0, len(view), stride)]
                        self.data_packets += len(packets)
                        self._carry("client", packets)
                case tftp.SendError(code, text):
                    self._carry("client", [codec.serialise(codec.Error(code, text))])
                case tftp.Finish():
                    self.finish = action

    def _carry(self, to: str, packets: list[bytes]) -> None:
        for packet in packets:
            for delay in self._fate(self.packets):
                heapq.heappush(self._queue, (self.now + LATENCY + delay, next(self._order), to, packet))
            self.packets += 1
