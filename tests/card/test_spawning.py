"""The small pure parts that starting a process rests on: users, frames, the root's own mount."""

from __future__ import annotations

import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware_mgr.card import keeper_wire as wire
from firmware_mgr.card.mounts import root_can_be_pivoted
from firmware_mgr.card.users import Identity, find_user
from firmware_mgr.model.errors import DeviceError, PeerError, UsageError
from firmware_mgr.package.process import NamedUser, NumericUser

PASSWD = "root:x:0:0:root:/root:/bin/sh\nbad line\nweb:x:abc:1::\nweb:x:33:34::/:\nbig:x:4294967295:1::/:\n"
GROUP = "log:x:4:root,web\nweb:x:34:web\nbroken:x:y:web\ntty:x:5:\n"


def test_user_by_number_needs_no_file() -> None:
    assert find_user(NumericUser(5, 6), "", "") == Identity(5, 6)


def test_user_by_name_has_the_groups_that_name_it() -> None:
    assert find_user(NamedUser("web"), PASSWD, GROUP) == Identity(33, 34, (4,))


@pytest.mark.parametrize("name", ["nobody", "big", "bad"])
def test_unknown_or_impossible_user_is_refused(name: str) -> None:
    with pytest.raises(PeerError, match="user is not in the root"):
        find_user(NamedUser(name), PASSWD, GROUP)


DOCUMENTS = st.lists(st.dictionaries(st.text(max_size=5), st.integers() | st.text(), max_size=3), max_size=5)


@given(DOCUMENTS, st.integers(1, 7))
def test_frames_come_back_however_they_are_cut(documents: list[dict[str, object]], step: int) -> None:
    data = b"".join(wire.encode(document) for document in documents)
    decoder = wire.Decoder()
    found = [document for at in range(0, len(data), step) for document in decoder.feed(data[at : at + step])]
    assert found == documents


@pytest.mark.parametrize("body", [b"[]", b"{", b"\xff"])
def test_what_is_no_frame_is_refused(body: bytes) -> None:
    with pytest.raises(PeerError):
        wire.Decoder().feed(wire.LENGTH.pack(len(body)) + body)
    with pytest.raises(PeerError, match="too long"):
        wire.Decoder().feed(wire.LENGTH.pack(wire.MAX_FRAME + 1))


def test_descriptors_travel_beside_their_frame() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs, socket.socket(socket.AF_UNIX) as passed:
        wire.send(ours, {"do": "spawn"}, [passed.fileno()])
        wire.send(ours, {"do": "close"})
        received = wire.receive(theirs)
        assert received is not None and received[0] == {"do": "spawn"}
        socket.close(received[1][0])
        assert wire.receive(theirs) == ({"do": "close"}, [])
        ours.close()
        assert wire.receive(theirs) is None


@pytest.mark.parametrize("kind", [UsageError, PeerError, DeviceError])
def test_errors_cross_the_wire_whole(kind: type[PeerError]) -> None:
    error = kind("it broke", where="here", expected=1, found="2", hint="mend it")
    back = wire.to_error(error.document())
    assert (type(back), str(back)) == (kind, str(error))


def test_root_of_an_initramfs_cannot_be_pivoted_until_it_is_bound_over_itself() -> None:
    proc = "22 1 0:21 / /proc rw - proc proc rw\n"
    assert not root_can_be_pivoted(f"1 1 0:2 / / rw - rootfs rootfs rw\n{proc}")
    assert not root_can_be_pivoted(proc)
    assert root_can_be_pivoted(f"{proc}28 1 0:2 / / rw - rootfs rootfs rw\n")
