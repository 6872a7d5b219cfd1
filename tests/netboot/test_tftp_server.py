"""The TFTP server over real sockets: tftpy as a client that we did not write, and our own windowed one."""

from __future__ import annotations

import asyncio
import logging
import socket
from pathlib import Path

import pytest
import tftpy

from firmware_mgr.model.ids import SlotId
from firmware_mgr.netboot import tftp_codec as codec
from firmware_mgr.netboot.bounds import TransferBounds
from firmware_mgr.netboot.clock import SystemClock
from firmware_mgr.netboot.events import NetProtocol, Outcome, PacketUnusable, TransferEnded, TransferStarted
from firmware_mgr.netboot.sockets import has_segmentation
from firmware_mgr.netboot.tftp_engine import TftpEngine
from firmware_mgr.netboot.tftp_frames import FramePool
from firmware_mgr.netboot.tftp_listener import REFUSALS

from .conftest import DEADLINE, FILES, KERNEL, Rack
from .test_names import TRICKS
from .tftp_peer import ReadingClient


class Caller:
    """A UDP socket of a client; the first answer fixes the server's port."""

    def __init__(self, rack: Rack) -> None:
        self.raw = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self.raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        self.raw.bind(("127.0.0.1", 0))
        self.service = ("127.0.0.1", rack.servers.ports.tftp)
        self.peer: tuple[str, int] | None = None

    def __enter__(self) -> Caller:
        return self

    def __exit__(self, *_: object) -> None:
        self.raw.close()

    def ask(self, packet: bytes) -> None:
        self.raw.sendto(packet, self.service)

    def request(self, name: str, *, mode: str = "octet", **options: str) -> None:
        self.ask(codec.serialise(codec.Request(False, name, mode, options)))

    async def hear(self) -> bytes:
        async with asyncio.timeout(DEADLINE):
            data, peer = await asyncio.get_running_loop().sock_recvfrom(self.raw, 70_000)
        self.peer = self.peer or peer
        assert peer == self.peer
        return bytes(data)

    def say(self, packet: bytes) -> None:
        assert self.peer is not None
        self.raw.sendto(packet, self.peer)

    async def fetch(self, name: str, *, mode: str = "octet", **options: str) -> ReadingClient:
        client = ReadingClient()
        self.request(name, mode=mode, **options)
        while not client.done and client.error is None:
            for answer in client.receive(await self.hear()):
                self.say(answer)
        return client


@pytest.mark.parametrize("options", [{}, {"blksize": 1468}, {"blksize": 1024, "tsize": 0}, {"blksize": 8192}])
@pytest.mark.parametrize("name", sorted(FILES))
async def test_tftpy_gets_each_file_whole(rack: Rack, options: dict[str, int], name: str) -> None:
    logging.getLogger("tftpy").setLevel(logging.ERROR)
    target = rack.folder / "fetched"

    def download() -> None:
        client = tftpy.TftpClient("127.0.0.1", rack.servers.ports.tftp, dict(options))
        client.download(name, str(target), timeout=DEADLINE)

    await asyncio.to_thread(download)
    assert target.read_bytes() == FILES[name]
    (ended,) = await rack.journal.wait_ended()
    assert (ended.slot, ended.protocol, ended.name) == (SlotId(3), NetProtocol.TFTP, name)
    assert (ended.outcome, ended.bytes_sent) == (Outcome.DONE, len(FILES[name]))


@pytest.mark.parametrize("segmentation", [True, False])
@pytest.mark.parametrize("options", [{}, {"blksize": "1468", "windowsize": "16"}, {"windowsize": "64"}])
async def test_our_client_gets_a_file_in_windows(
    rack: Rack, options: dict[str, str], segmentation: bool
) -> None:
    engine = rack.servers.tftp_engine
    assert engine is not None
    engine.segmentation = segmentation and has_segmentation()
    with Caller(rack) as caller:
        client = await caller.fetch("Image", **options, tsize="0")
    assert bytes(client.got) == KERNEL
    assert client.oack == {**options, "tsize": str(len(KERNEL))}
    assert caller.peer != caller.service
    (ended,) = await rack.journal.wait_ended()
    assert ended.outcome is Outcome.DONE


async def test_this_kernel_has_segmentation_so_that_both_ways_are_tested() -> None:
    assert has_segmentation()


async def test_many_transfers_at_once_each_have_their_own_port(rack: Rack) -> None:
    callers = [Caller(rack) for _ in range(8)]
    clients = await asyncio.gather(*(caller.fetch("Image", windowsize="8") for caller in callers))
    assert all(bytes(client.got) == KERNEL for client in clients)
    assert len({caller.peer for caller in callers}) == 8
    for caller in callers:
        caller.raw.close()


async def test_the_largest_block_size_works_where_the_path_takes_it(rack: Rack) -> None:
    with Caller(rack) as caller:
        client = await caller.fetch("Image", blksize="65464", windowsize="2")
    assert client.oack == {"blksize": "65464", "windowsize": "2"}
    assert bytes(client.got) == KERNEL


async def test_a_look_at_the_size_is_a_probe(rack: Rack) -> None:
    with Caller(rack) as caller:
        caller.request("Image", tsize="0", blksize="1468")
        assert codec.parse(await caller.hear()) == codec.OptionAck({"tsize": "300000", "blksize": "1468"})
        caller.say(codec.serialise(codec.Error(0, "Early terminate")))
        (ended,) = await rack.journal.wait_ended()
    assert (ended.outcome, ended.bytes_sent) == (Outcome.PROBE, 0)
    assert ended.reason == "client sent error 0 'Early terminate'"


async def test_a_client_that_goes_away_ends_its_transfer_at_the_next_packet(rack: Rack) -> None:
    with Caller(rack) as caller:
        caller.request("Image")
        await caller.hear()
        caller.raw.close()
    engine = rack.servers.tftp_engine
    assert engine is not None
    (ended,) = await rack.journal.wait_ended()  # the repetition meets a closed port
    assert (ended.outcome, ended.reason) == (Outcome.FAILED, "client closed its port at block 1 of 586")
    assert engine.running == 0


async def refusal(rack: Rack, packet: bytes) -> tuple[codec.Error, TransferEnded]:
    with Caller(rack) as caller:
        caller.ask(packet)
        error = codec.parse(await caller.hear())
        assert caller.peer != caller.service
    assert isinstance(error, codec.Error)
    return error, (await rack.journal.wait_ended())[-1]


@pytest.mark.parametrize("name", [name for name in TRICKS if "\0" not in name])
async def test_a_path_trick_is_an_access_violation(rack: Rack, name: str) -> None:
    error, ended = await refusal(rack, codec.serialise(codec.Request(False, name, "octet")))
    assert error.code == codec.ErrorCode.ACCESS
    assert ended.outcome is Outcome.REFUSED
    assert rack.journal.of(TransferStarted) == []


async def test_a_nul_in_a_name_ends_it_and_what_follows_is_no_mode(rack: Rack) -> None:
    error, _ = await refusal(rack, b"\0\x01Image\0.txt\0octet\0x\0")
    assert error.text == "mode .txt is not served, octet and netascii are"


async def test_a_name_of_a_file_on_the_master_is_not_found(rack: Rack) -> None:
    for name in ("blob0", "etc/passwd"):
        error, _ = await refusal(rack, codec.serialise(codec.Request(False, name, "octet")))
        assert error.code == codec.ErrorCode.NOT_FOUND


async def test_writing_is_refused(rack: Rack) -> None:
    error, ended = await refusal(rack, codec.serialise(codec.Request(True, "Image", "octet")))
    assert (error.code, ended.reason) == (codec.ErrorCode.ACCESS, "writing is not served")


async def test_modes_other_than_octet_and_netascii_are_refused(rack: Rack) -> None:
    for mode in ("mail", "binary"):
        error, _ = await refusal(rack, codec.serialise(codec.Request(False, "Image", mode)))
        assert error.code == codec.ErrorCode.UNDEFINED


async def test_an_address_that_is_no_cards_gets_nothing(rack: Rack) -> None:
    with Caller(rack) as caller:
        caller.raw.close()
        caller.raw = socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        caller.raw.bind(("127.0.0.9", 0))
        client = await caller.fetch("Image")
    assert client.error == codec.Error(codec.ErrorCode.ACCESS, "no card has this address")
    (ended,) = await rack.journal.wait_ended()
    assert (ended.slot, ended.outcome) == (None, Outcome.REFUSED)


async def test_noise_is_reported_and_not_answered(rack: Rack) -> None:
    with Caller(rack) as caller:
        for noise in (
            b"",
            b"\xff" * 600,
            codec.serialise(codec.Ack(3)),
            codec.serialise(codec.Error(0, "x")),
        ):
            caller.ask(noise)
        await rack.journal.wait_until(lambda: len(rack.journal.of(PacketUnusable)) == 4)
        client = await caller.fetch("whole")  # the first thing that is heard
    assert bytes(client.got) == FILES["whole"]


async def test_a_request_that_comes_twice_starts_one_transfer(rack: Rack) -> None:
    with Caller(rack) as caller:
        for _ in range(3):
            caller.request("whole", tsize="0")
        client = ReadingClient()
        while not client.done:
            for answer in client.receive(await caller.hear()):
                caller.say(answer)
        await rack.journal.wait_ended()
    assert len(rack.journal.of(TransferStarted)) == 1


async def test_a_request_for_another_file_from_the_same_port_takes_its_place(rack: Rack) -> None:
    with Caller(rack) as caller:
        caller.request("Image")
        await caller.hear()
        caller.peer = None
        client = await caller.fetch("whole")
    assert bytes(client.got) == FILES["whole"]
    ended = await rack.journal.wait_ended(2)
    assert [(event.name, event.outcome) for event in ended] == [
        ("Image", Outcome.FAILED),
        ("whole", Outcome.DONE),
    ]


async def test_a_card_has_a_bounded_number_of_transfers(rack: Rack) -> None:
    callers = [Caller(rack) for _ in range(9)]
    for caller in callers:
        caller.request("Image", tsize="0")
    (ended,) = await rack.journal.wait_ended()
    assert (ended.outcome, ended.reason) == (Outcome.REFUSED, "slot 3 has 8 transfers running already")
    for caller in callers:
        caller.raw.close()


async def test_stopping_tells_the_clients(rack: Rack) -> None:
    with Caller(rack) as caller:
        caller.request("Image")
        await caller.hear()
        await rack.servers.stop()
        assert codec.parse(await caller.hear()) == codec.Error(0, "the server is stopping")


async def test_a_file_that_was_cut_short_ends_in_an_error(rack: Rack) -> None:
    (rack.folder / "blob1").write_bytes(b"short")
    with Caller(rack) as caller:
        client = await caller.fetch("Image")
    assert client.error == codec.Error(0, "blob is cut short")
    (ended,) = await rack.journal.wait_ended()
    assert (ended.outcome, ended.reason) == (Outcome.FAILED, "blob is cut short")


def test_the_bounds_in_all_hold_over_cards() -> None:
    bounds = TransferBounds(per_card=2, in_all=3)
    assert [bounds.enter(SlotId(n)) for n in (1, 1, 2)] == [None, None, None]
    assert bounds.enter(SlotId(3)) == "3 transfers are running already"
    bounds.leave(SlotId(1))
    assert bounds.enter(SlotId(3)) is None


def test_an_engine_finds_out_about_segmentation_by_itself(tmp_path: Path) -> None:
    engine = TftpEngine(FramePool(), TransferBounds(), SystemClock(), lambda event: None)
    assert engine.segmentation == has_segmentation()


async def test_one_who_asks_for_absent_files_without_end_is_refused_now_and_then(rack: Rack) -> None:
    since = asyncio.get_running_loop().time()
    with Caller(rack) as caller:
        for _ in range(200):
            caller.request("absent")
            await asyncio.sleep(0)
        ended = await rack.journal.wait_ended(200)
        took = asyncio.get_running_loop().time() - since
        heard = 0
        while True:
            try:
                caller.raw.recv(2048)
            except BlockingIOError:
                break
            heard += 1
    assert {event.outcome for event in ended} == {Outcome.REFUSED}
    assert REFUSALS[1] <= heard <= REFUSALS[1] + took * REFUSALS[0] + 1
