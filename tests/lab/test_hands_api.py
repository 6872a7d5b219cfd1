"""The hands API between its client and its server, over a real Unix socket."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import aiohttp
import pytest
import pytest_asyncio

from firmware_mgr.model.errors import DeviceError, PeerError, UsageError
from firmware_mgr.model.ids import MacAddress, SlotId
from firmware_mgr.rack.api import hands_application, serve_on_socket
from firmware_mgr.rack.client import HandsClient
from firmware_mgr.rack.hands import ConsoleLine, HandsStatus, PowerAction, PowerState, SlotRegister

REGISTER = SlotRegister(
    SlotId(3, shelf=2), MacAddress("52:54:00:f7:02:03"), "qemu-aarch64", True, PowerState.ON, 2, True, 4711
)
LINE = ConsoleLine(7, datetime(2030, 1, 1, tzinfo=UTC), "=> é \\x1b")
STATUS = HandsStatus("a bench", 1, Path("/c"), "fwmgr-01234567", "10.77.0.1/24", ("nsenter", "--"))


class BenchHands:
    """Hands with one slot, 2/3, that remember what was asked."""

    def __init__(self) -> None:
        self.asked: list[object] = []

    def status(self) -> HandsStatus:
        return STATUS

    def slots(self) -> list[SlotRegister]:
        return [REGISTER]

    async def power(self, slot: SlotId, action: PowerAction, *, netboot: bool) -> SlotRegister:
        self._check(slot)
        if action is PowerAction.CYCLE:
            raise DeviceError("relay stuck", where="slot 2/3", expected="open", found="shut", hint="hit it")
        self.asked.append((slot, action, netboot))
        return REGISTER

    def console_tail(self, slot: SlotId, lines: int) -> list[ConsoleLine]:
        self._check(slot)
        self.asked.append((slot, lines))
        return [LINE]

    async def wait_for_line(self, slot: SlotId, text: str, *, after: int, within: float) -> ConsoleLine:
        self._check(slot)
        self.asked.append((slot, text, after, within))
        return LINE

    def request_shutdown(self) -> None:
        self.asked.append("shutdown")

    @staticmethod
    def _check(slot: SlotId) -> None:
        if slot != REGISTER.slot:
            raise UsageError("no such slot", found=slot)


@pytest.fixture
def hands() -> BenchHands:
    return BenchHands()


@pytest_asyncio.fixture
async def socket(hands: BenchHands, short_path: Path) -> AsyncIterator[Path]:
    path = short_path / "api.sock"
    runner = await serve_on_socket(hands_application(hands), path)
    yield path
    await runner.cleanup()


@pytest.fixture
def client(socket: Path) -> HandsClient:
    return HandsClient(socket)


async def test_registers_and_status_arrive_whole(client: HandsClient) -> None:
    assert await client.slots() == [REGISTER]
    assert await client.status() == STATUS


async def test_slot_with_a_shelf_is_one_word_of_the_path(client: HandsClient, hands: BenchHands) -> None:
    assert await client.power(SlotId(3, 2), PowerAction.ON, netboot=True) == REGISTER
    assert hands.asked == [(SlotId(3, 2), PowerAction.ON, True)]


async def test_console_is_read_and_waited_for(client: HandsClient, hands: BenchHands) -> None:
    assert await client.console_tail(SlotId(3, 2), 5) == [LINE]
    assert await client.wait_for_line(SlotId(3, 2), "a&b =>", after=6, within=2.5) == LINE
    assert hands.asked == [(SlotId(3, 2), 5), (SlotId(3, 2), "a&b =>", 6, 2.5)]


async def test_shutdown_is_asked_for(client: HandsClient, hands: BenchHands) -> None:
    await client.shutdown()
    assert hands.asked == ["shutdown"]


async def test_refusals_arrive_as_the_errors_they_were(client: HandsClient) -> None:
    with pytest.raises(UsageError, match="no such slot: found 1"):
        await client.power(SlotId(1), PowerAction.ON)
    with pytest.raises(DeviceError) as caught:
        await client.power(SlotId(3, 2), PowerAction.CYCLE)
    assert str(caught.value) == "slot 2/3: relay stuck: expected open, found shut (hit it)"


@pytest.mark.parametrize(
    ("request_line", "body", "status", "what"),
    [
        ("POST /v1/slots/3/power", b"{", 400, "not JSON"),
        ("POST /v1/slots/3/power", b"[]", 400, "not an object"),
        ("POST /v1/slots/3/power", b"{}", 400, "no such power action"),
        ("POST /v1/slots/3/power", b'{"action": "on", "netboot": 1}', 400, "not a yes or no"),
        ("POST /v1/slots/x/power", b'{"action": "on"}', 400, "not a slot"),
        ("GET /v1/slots/3/console?tail=x", b"", 400, "not a number"),
        ("GET /v1/slots/3/console?tail=-1", b"", 400, "out of range"),
        ("GET /v1/slots/3/console?tail=nan", b"", 400, "out of range"),
        ("GET /v1/slots/3/console/wait", b"", 400, "no text"),
        ("GET /v1/nothing", b"", 404, "no such request"),
        ("GET /v1/shutdown", b"", 405, "no such request"),
    ],
)
async def test_wrong_request_gets_an_error_document(
    socket: Path, request_line: str, body: bytes, status: int, what: str
) -> None:
    method, path = request_line.split()
    async with (
        aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(socket))) as session,
        session.request(method, f"http://hands{path}", data=body) as response,
    ):
        document = await response.json()
    assert response.status == status
    assert document["kind"] == "UsageError"
    assert what in document["what"]


async def test_socket_is_for_its_owner_alone(socket: Path) -> None:
    assert socket.stat().st_mode & 0o777 == 0o600


async def test_absent_daemon_is_reported_with_the_next_step(tmp_path: Path) -> None:
    with pytest.raises(PeerError, match=r"api\.sock: nothing answers here.*fwmgr chassis up"):
        await HandsClient(tmp_path / "api.sock").slots()


async def test_path_too_long_for_a_socket_is_the_callers_fault() -> None:
    with pytest.raises(UsageError, match="too long"):
        await HandsClient(Path("/" + "d" * 200) / "api.sock").slots()
