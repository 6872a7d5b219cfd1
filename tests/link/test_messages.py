"""Messages: both ways, and each field missing or ill-typed is named."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware_mgr.link import messages as m
from firmware_mgr.link import service as sv
from firmware_mgr.model.errors import PeerError
from firmware_mgr.model.ids import Digest, SlotId
from firmware_mgr.model.software import BootImageRef, PackageRef, SoftwareSet

IMAGE = BootImageRef("qemu-aarch64", "1", Digest.of(b"image"), 10)
SET = SoftwareSet(IMAGE, (PackageRef("web", "1.0", Digest.of(b"web"), 20),))
FLASH = m.FlashReport(
    table=m.AreaState.GOOD,
    control=m.ControlReport(m.AreaState.GOOD, m.AreaState.BAD, "a", "-", 3, 3, "boot", "b"),
    boot_a=m.BootPartitionReport(m.AreaState.GOOD, IMAGE.digest, "1"),
    boot_b=m.BootPartitionReport(m.AreaState.EMPTY),
    store=m.AreaState.GOOD,
    packages=(m.PackageReport("web", "1.0", Digest.of(b"web"), 4, 0),),
    data=m.DataReport(m.AreaState.GOOD, "made anew", 10, 5),
)
HELLO = m.Hello(
    1,
    "0.1.0",
    SlotId(3),
    "qemu-aarch64",
    "aarch64",
    m.BootSource.A,
    "1",
    FLASH,
    SET,
    (SET,),
    None,
    4.5,
    "b1",
    settings=Digest.of(b"settings"),
    root=m.RootReport(3, Digest.of(b"root")),
)
FROM_CARD: list[m.FromCard] = [
    HELLO,
    m.Progress("packages", 1, 2, 1),
    m.Stored(SET.digest, 1, 2, "a", True, 3.0, FLASH, m.RootReport(0)),
    m.Running(SET.digest, (m.ProcessReport("web", 12, "running"),), FLASH.control),
    m.Failed("burn", {"what": "no"}),
    m.Pong(),
    sv.SettingsKept(Digest.of(b"settings"), {"what": "no"}),
    sv.Kept(1, (sv.KeptLog("web", 5, 9),), (sv.KeptCore("c", "web", 7, 11, 2.5, 100, cut=True),), "one lost"),
    sv.Piece(2, 5, 9, bytes(range(256)), {"what": "no"}),
]
FROM_MASTER: list[m.FromMaster] = [
    m.Welcome(1, 1.5, "card-3"),
    m.Refused({"what": "no"}),
    m.Burn(SET, m.BootPieces(1 << 20, (Digest.of(b"p"),)), root=(b"a chain of roots", b" in pieces\n")),
    m.Run(SET.digest),
    m.Hold("wait"),
    m.Reset("because"),
    m.Ping(),
    sv.Settings(
        Digest.of(b"settings"),
        "web-1",
        ("10.1.2.3/24",),
        (sv.SettingsFile("web/key", 0o600, 33, 33, (b"\0\xff", b"b"), secret=True),),
        {"LEVEL": "debug"},
    ),
    sv.ListKept(1),
    sv.ReadKept(2, "log", "web", -10),
]


@pytest.mark.parametrize("message", FROM_CARD, ids=lambda message: message.TYPE)
def test_card_messages_survive_the_wire(message: m.FromCard) -> None:
    assert m.read_from_card(m.to_document(message)) == message


@pytest.mark.parametrize("message", FROM_MASTER, ids=lambda message: message.TYPE)
def test_master_messages_survive_the_wire(message: m.FromMaster) -> None:
    assert m.read_from_master(m.to_document(message)) == message


def test_every_message_type_is_tested_here() -> None:
    assert {message.TYPE for message in FROM_CARD} == set(m.FROM_CARD)
    assert {message.TYPE for message in FROM_MASTER} == set(m.FROM_MASTER)


@pytest.mark.parametrize("field", ["protocol", "slot", "board", "flash", "believes", "boot_source"])
def test_a_missing_field_is_named(field: str) -> None:
    document = m.to_document(HELLO)
    del document[field]
    with pytest.raises(PeerError, match=field):
        m.read_from_card(document)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("protocol",), "1"),
        (("protocol",), True),
        (("slot",), "x"),
        (("boot_source",), "c"),
        (("flash", "boot_a", "image"), "zz"),
        (("flash", "packages"), {}),
        (("believes", "boot_image"), None),
    ],
)
def test_an_ill_typed_field_is_refused(path: tuple[str, ...], value: object) -> None:
    document = copy.deepcopy(m.to_document(HELLO))
    place: Any = document
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    with pytest.raises(PeerError, match="hello"):
        m.read_from_card(document)


def test_unknown_fields_are_passed_over() -> None:
    assert m.read_from_card({**m.to_document(m.Pong()), "later": 1}) == m.Pong()


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(st.sampled_from(FROM_CARD), st.data())
def test_any_change_of_a_message_gives_a_message_or_a_peer_error(
    message: m.FromCard, data: st.DataObject
) -> None:
    document = m.to_document(message)
    document[data.draw(st.sampled_from(sorted(document)))] = data.draw(json_values)
    try:
        m.read_from_card(document)
    except PeerError:
        pass
