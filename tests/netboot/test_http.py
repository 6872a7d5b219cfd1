from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
from aiohttp.test_utils import TestServer

from firmware_mgr.model.ids import Digest, SlotId
from firmware_mgr.netboot.bounds import TransferBounds
from firmware_mgr.netboot.clock import SystemClock
from firmware_mgr.netboot.events import NetProtocol, Outcome, TransferEnded, TransferStarted
from firmware_mgr.netboot.http import NetbootHttp
from firmware_mgr.netboot.served import Blob, MemoryDirectory

from .conftest import DEADLINE, FILES, KERNEL, Journal, Rack
from .rack import card

ETAG = f'"{Digest.of(KERNEL).hex}"'


@pytest.fixture
async def client(rack: Rack) -> AsyncIterator[aiohttp.ClientSession]:
    base = f"http://127.0.0.2:{rack.servers.ports.http}/"
    async with aiohttp.ClientSession(base, timeout=aiohttp.ClientTimeout(DEADLINE)) as session:
        yield session


@pytest.mark.parametrize("name", sorted(FILES))
async def test_a_file_comes_whole_with_its_digest_as_tag(
    rack: Rack, client: aiohttp.ClientSession, name: str
) -> None:
    async with client.get(name) as response:
        assert (response.status, await response.read()) == (200, FILES[name])
        assert response.headers["ETag"] == f'"{Digest.of(FILES[name]).hex}"'
        assert response.headers["Accept-Ranges"] == "bytes"
        assert int(response.headers["Content-Length"]) == len(FILES[name])
    (ended,) = await rack.journal.wait_ended()
    assert (ended.slot, ended.protocol, ended.outcome) == (SlotId(3), NetProtocol.HTTP, Outcome.DONE)
    assert ended.bytes_sent == len(FILES[name])


@pytest.mark.parametrize(
    ("header", "first", "last"),
    [("bytes=0-0", 0, 0), ("bytes=299990-", 299_990, 299_999), ("bytes=-5", 299_995, 299_999)],
)
async def test_a_range_comes_as_partial_content(
    rack: Rack, client: aiohttp.ClientSession, header: str, first: int, last: int
) -> None:
    async with client.get("Image", headers={"Range": header}) as response:
        assert (response.status, await response.read()) == (206, KERNEL[first : last + 1])
        assert response.headers["Content-Range"] == f"bytes {first}-{last}/300000"
    (ended,) = await rack.journal.wait_ended()
    assert ended.bytes_sent == last - first + 1


async def test_a_range_past_the_end_is_416_with_the_length(client: aiohttp.ClientSession) -> None:
    async with client.get("Image", headers={"Range": "bytes=300000-"}) as response:
        assert response.status == 416
        assert response.headers["Content-Range"] == "bytes */300000"


async def test_an_interrupted_fetch_goes_on_only_with_the_same_content(client: aiohttp.ClientSession) -> None:
    for tag, status in ((ETAG, 206), ('"another"', 200)):
        async with client.get("Image", headers={"Range": "bytes=100-", "If-Range": tag}) as response:
            assert response.status == status


async def test_head_tells_length_and_tag_and_counts_as_a_probe(
    rack: Rack, client: aiohttp.ClientSession
) -> None:
    async with client.head("Image", headers={"Range": "bytes=0-9"}) as response:
        assert (response.status, response.headers["Content-Length"]) == (200, "300000")
        assert response.headers["ETag"] == ETAG
    (ended,) = await rack.journal.wait_ended()
    assert (ended.outcome, ended.bytes_sent) == (Outcome.PROBE, 0)
    assert rack.journal.of(TransferStarted) == []


async def raw_get(rack: Rack, target: str) -> bytes:
    """A request whose target no client library has tidied."""
    reader, writer = await asyncio.open_connection("127.0.0.2", rack.servers.ports.http)
    writer.write(f"GET {target} HTTP/1.1\r\nHost: master\r\nConnection: close\r\n\r\n".encode("latin-1"))
    async with asyncio.timeout(DEADLINE):
        answer = await reader.read()
    writer.close()
    return answer


@pytest.mark.parametrize(
    "target",
    [
        "/../blob0",
        "/%2e%2e/blob0",
        "/..%2fblob0",
        "/%2e%2e%2fetc%2fpasswd",
        "//etc/passwd",
        "/%2fetc%2fpasswd",
        "/Image%00",
        "/a%5cb",
        "/" + "n" * 300,
        "/./Image",
        "/9ffefdef/../Image",
        "/",
        "/%ff%fe",
        "/%252e%252e/blob0",
        "/blob0",
        "/Image/",
    ],
)
async def test_no_path_leads_out_of_the_cards_files(rack: Rack, target: str) -> None:
    answer = await raw_get(rack, target)
    assert answer.split(b" ", 2)[1] in (b"400", b"403", b"404")
    assert rack.journal.of(TransferStarted) == []


async def test_only_get_and_head_are_served(client: aiohttp.ClientSession) -> None:
    for method in ("POST", "PUT", "DELETE", "OPTIONS"):
        async with client.request(method, "Image") as response:
            assert response.status == 405


async def test_an_address_that_is_no_cards_is_forbidden(rack: Rack) -> None:
    connector = aiohttp.TCPConnector(local_addr=("127.0.0.9", 0))
    async with (
        aiohttp.ClientSession(connector=connector) as session,
        session.get(f"http://127.0.0.2:{rack.servers.ports.http}/Image") as response,
    ):
        assert response.status == 403
    assert rack.journal.of(TransferEnded)[0].outcome is Outcome.REFUSED


async def test_a_file_cut_short_does_not_look_whole(rack: Rack, client: aiohttp.ClientSession) -> None:
    (rack.folder / "blob1").write_bytes(KERNEL[:280_000])
    with pytest.raises(aiohttp.ClientError):
        async with client.get("Image") as response:
            await response.read()
    (ended,) = await rack.journal.wait_ended()
    assert (ended.outcome, ended.reason) == (Outcome.FAILED, "blob is cut short")


async def test_a_client_that_takes_nothing_does_not_keep_its_place(tmp_path: Path) -> None:
    """As a card does whose power went away amid a transfer."""
    big = tmp_path / "big"
    with big.open("wb") as file:
        file.truncate(64 << 20)
    blob = Blob(Digest.of(b"big"), 64 << 20, big)
    journal, bounds = Journal(), TransferBounds()
    http = NetbootHttp(
        MemoryDirectory([card({"Image": blob}, address="127.0.0.1")]),
        bounds,
        SystemClock(),
        journal.add,
        stall_seconds=0.1,
    )
    async with TestServer(http.application(), host="127.0.0.1") as server:
        _, writer = await asyncio.open_connection("127.0.0.1", server.port, limit=1024)
        writer.write(b"GET /Image HTTP/1.1\r\nHost: master\r\n\r\n")
        (ended,) = await journal.wait_ended()
        writer.close()
    assert (ended.outcome, ended.reason) == (Outcome.FAILED, "client took nothing for 0.1 s")
    assert bounds.running == 0


@pytest.mark.parametrize(
    "head", ["GET /" + "x" * 9000 + " HTTP/1.1", "GET /Image HTTP/1.1\r\nX: " + "x" * 9000]
)
async def test_a_request_line_or_header_without_end_is_refused(rack: Rack, head: str) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.2", rack.servers.ports.http)
    writer.write(f"{head}\r\n\r\n".encode())
    async with asyncio.timeout(DEADLINE):
        assert (await reader.readline()).split()[1] == b"400"
    writer.close()
