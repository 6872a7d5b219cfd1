"""Leases as the card reads and keeps them."""

from __future__ import annotations

import pytest

from firmware_mgr.card.network import kept_lease, read_lease, script_words
from firmware_mgr.model.errors import DeviceError
from firmware_mgr.model.ids import SlotId

TEXT = (
    "interface=eth0\nip=10.77.0.13\nsubnet=255.255.255.0\nrouter=\nsiaddr=10.77.0.1\n"
    "serverid=10.77.0.1\nlease=3600\nhostname=slot-3\n"
)
SLOT = SlotId(3)


def test_lease_names_the_master() -> None:
    lease = read_lease(TEXT)
    assert (lease.address, lease.master, lease.hostname) == ("10.77.0.13", "10.77.0.1", "slot-3")


@pytest.mark.parametrize("missing", ["ip=", "siaddr="])
def test_lease_without_address_or_master_is_not_usable(missing: str) -> None:
    kept = [line for line in TEXT.splitlines() if not line.startswith((missing, "serverid="))]
    with pytest.raises(DeviceError, match="not usable"):
        read_lease("\n".join(kept))


def test_kept_lease_is_for_the_slot_it_was_given_in() -> None:
    document = read_lease(TEXT).document(SLOT)
    kept = kept_lease(document, SLOT)
    assert kept is not None and read_lease(kept).address == "10.77.0.13"
    assert kept_lease(document, SlotId(4)) is None
    assert kept_lease(document, SlotId(3, 2)) is None


@pytest.mark.parametrize("document", [None, b"", b"\xff", b"slot=3\n", TEXT.encode()])
def test_nothing_is_made_of_a_lease_that_was_not_kept_whole(document: bytes | None) -> None:
    assert kept_lease(document, SLOT) is None


def test_kept_lease_is_handed_to_the_script_as_udhcpc_would() -> None:
    words = script_words(read_lease(TEXT).document(SLOT).decode())
    assert (words["ip"], words["mask"], words["interface"]) == ("10.77.0.13", "24", "eth0")
    assert words["router"] == "" and "slot" not in words


@pytest.mark.parametrize("mask", ["", "255.0.255.0", "x"])
def test_kept_lease_without_a_netmask_is_not_used(mask: str) -> None:
    text = TEXT.replace("subnet=255.255.255.0", f"subnet={mask}")
    with pytest.raises(DeviceError, match="netmask"):
        script_words(text)
    assert kept_lease(read_lease(text).document(SLOT), SLOT) is None
