"""Clients that fit no card: remembered, bounded, told with the next step; and the networks they may be in."""

from __future__ import annotations

from io import StringIO
from ipaddress import IPv4Address, IPv4Network

import pytest
from rich.console import Console

from firmware_mgr.cli.strangers import show_strangers
from firmware_mgr.master.settings import BoardFacts, Settings, Wiring, quarantine_range
from firmware_mgr.master.strangers import KEPT_SECONDS, MAX_STRANGERS, NEXT_STEPS, Strangers
from firmware_mgr.model.errors import UsageError
from firmware_mgr.model.ids import CpuArch, MacAddress, SlotId
from firmware_mgr.netboot.events import DhcpDecided
from firmware_mgr.netboot.quarantine import Misfit

from .rack_twin import Clock

ARM = BoardFacts(
    "arm-card", CpuArch.AARCH64, frozenset({11, 22}), "x", vendor_classes=("U-Boot.armv8", "PXE")
)
X64 = BoardFacts("x64-card", CpuArch.X86_64, frozenset({7}), "x", vendor_classes=("PXE",))
LENT = IPv4Address("10.77.0.230")


def mac(number: int) -> MacAddress:
    return MacAddress.from_bytes(b"\x02" + number.to_bytes(5, "big"))


def event(number: int = 1, misfit: Misfit | None = Misfit.UNKNOWN, **more: object) -> DhcpDecided:
    fields: dict[str, object] = {
        "slot": None,
        "message": "discover",
        "decision": "offer",
        "reason": "no card has it",
        "address": LENT,
        "client": "UEFI PXE",
        "vendor_class": "PXEClient:Arch:00007",
        "architectures": (7,),
    }
    return DhcpDecided(mac=mac(number), misfit=misfit, **{**fields, **more})  # type: ignore[arg-type]


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def strangers(clock: Clock) -> Strangers:
    return Strangers({board.name: board for board in (ARM, X64)}, clock)


def test_a_stranger_is_told_with_all_it_said_and_what_to_do(strangers: Strangers, clock: Clock) -> None:
    strangers.met(event())
    clock.now += 5
    strangers.met(event(relay=IPv4Address("10.78.0.253"), port="sw1/eth3"))
    (stranger,) = strangers.document()["strangers"]
    assert stranger == {
        "mac": "02:00:00:00:00:01",
        "slot": None,
        "misfit": "unknown",
        "reason": "no card has it",
        "decision": "offer",
        "client": "UEFI PXE",
        "vendor_class": "PXEClient:Arch:00007",
        "architectures": [7],
        "uuid": "",
        "relay": "10.78.0.253",
        "port": "sw1/eth3",
        "first_seen": 1000.0,
        "last_seen": 1005.0,
        "asked": 2,
        "has_address": "10.77.0.230",
        "boards": ["x64-card"],
        "next_step": "if it is a card: fwmgr card bind SLOT --port sw1/eth3",
    }


def test_every_reason_has_a_next_step(strangers: Strangers) -> None:
    assert set(NEXT_STEPS) == set(Misfit)
    for number, misfit in enumerate(Misfit):
        strangers.met(event(number, misfit, slot=SlotId(3)))
    assert all("{" not in stranger["next_step"] for stranger in strangers.document()["strangers"])


def test_who_becomes_a_card_is_no_stranger_any_more(strangers: Strangers) -> None:
    strangers.met(event())
    strangers.met(event(misfit=None, decision="ignored"))
    assert len(strangers) == 1
    strangers.met(event(misfit=None, slot=SlotId(3)))
    assert len(strangers) == 0


@pytest.mark.parametrize(
    ("vendor_class", "architectures", "boards"),
    [
        ("U-Boot.armv8", (22,), ["arm-card"]),
        ("PXEClient", (), ["arm-card", "x64-card"]),
        ("", (7,), ["x64-card"]),
        ("MSFT 5.0", (), []),
        ("", (), []),
    ],
)
def test_the_boards_that_would_fit_are_guessed(
    strangers: Strangers, vendor_class: str, architectures: tuple[int, ...], boards: list[str]
) -> None:
    assert strangers.fitting(event(vendor_class=vendor_class, architectures=architectures)) == boards


def test_a_flood_of_macs_fills_no_memory_and_drives_out_nobody_who_asks_again(strangers: Strangers) -> None:
    for _ in range(2):
        strangers.met(event(1))
    for number in range(2, 5000):
        strangers.met(event(number))
    assert len(strangers) == MAX_STRANGERS
    assert "02:00:00:00:00:01" in {stranger["mac"] for stranger in strangers.document()["strangers"]}


def test_when_all_ask_again_a_newcomer_waits_until_one_is_old(strangers: Strangers, clock: Clock) -> None:
    for number in range(MAX_STRANGERS):
        strangers.met(event(number))
        strangers.met(event(number))
    strangers.met(event(9999))
    assert strangers.document()["overlooked"] == 1
    clock.now += KEPT_SECONDS
    strangers.met(event(9999))
    macs = {stranger["mac"] for stranger in strangers.document()["strangers"]}
    assert str(mac(9999)) in macs
    assert str(mac(0)) not in macs
    assert len(macs) == MAX_STRANGERS


def test_the_table_says_who_why_and_what_next(
    strangers: Strangers, capsys: pytest.CaptureFixture[str]
) -> None:
    table = StringIO()
    show_strangers(Console(file=table, width=160), strangers.document())
    assert table.getvalue() == ""
    strangers.met(event(vendor_class="PXEClient\x1b[2J", misfit=Misfit.WRONG_ARCHITECTURE, slot=SlotId(3)))
    show_strangers(Console(file=table, width=160), strangers.document())
    assert "02:00:00:00:00:01" in table.getvalue()
    assert "wrong architecture" in table.getvalue()
    assert "\x1b" not in table.getvalue()
    assert "no card has it: see that the right card is in slot 3" in capsys.readouterr().out


OWN = (IPv4Address("10.77.0.1"), IPv4Network("10.77.0.0/16"))


def test_a_shelf_behind_a_relay_has_its_addresses_in_its_own_subnet() -> None:
    wiring = Wiring.parse("10.77.0.230", ["2=10.80.0.0/24,10.80.0.254"], ["192.0.2.7"])
    settings = Settings(*OWN, wiring=wiring)
    assert str(settings.card_address(SlotId(3, shelf=2))) == "10.80.0.13"
    assert str(settings.card_address(SlotId(3, shelf=3))) == "10.77.2.13"
    server = settings.server_identity()
    assert server.relays == {IPv4Address("192.0.2.7")}
    far = server.subnet_of(IPv4Address("10.80.0.13"))
    assert far is not None
    assert (far.router, far.quarantine[0]) == (IPv4Address("10.80.0.254"), IPv4Address("10.80.0.212"))
    assert IPv4Address("10.77.0.230") not in server.quarantine
    assert server.router == IPv4Address("10.77.0.230")


def test_no_slot_has_an_address_that_is_lent_to_strangers() -> None:
    settings = Settings(*OWN)
    slots = {settings.card_address(SlotId(n, shelf=s)) for n in range(1, 201) for s in range(1, 4)}
    lent = settings.server_identity().quarantine
    assert len(lent) == 40
    assert slots.isdisjoint(lent)
    assert quarantine_range(IPv4Network("10.0.0.0/26")) == ()


@pytest.mark.parametrize(
    "wrong", ["10.80.0.0/24", "0=10.80.0.0/24", "2=10.80.0.1/24", "2=x", "x=10.80.0.0/24", "2=10.80.0.0/24,y"]
)
def test_a_subnet_that_is_none_is_refused(wrong: str) -> None:
    with pytest.raises(UsageError, match="unusable --router"):
        Wiring.parse(None, [wrong], [])


def test_a_subnet_twice_or_over_another_is_refused() -> None:
    with pytest.raises(UsageError, match="given twice"):
        Wiring.parse(None, ["2=10.80.0.0/24", "2=10.81.0.0/24"], [])
    with pytest.raises(UsageError, match="overlap"):
        Settings(*OWN, wiring=Wiring.parse(None, ["2=10.77.5.0/24"], [])).server_identity()
