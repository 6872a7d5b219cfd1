"""DHCP leases: what netboot's own twin does, and a start of the master in between."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import closing
from dataclasses import replace
from ipaddress import IPv4Address
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from firmware_mgr.master.catalogue import Catalogue, Put
from firmware_mgr.master.catalogue_memory import MemoryCatalogue
from firmware_mgr.master.catalogue_sqlite import SqliteCatalogue
from firmware_mgr.master.leases import MAX_REMOVED, CatalogueLeases, lease_key, read_lease, write_lease
from firmware_mgr.model.errors import PeerError, UsageError
from firmware_mgr.model.ids import MacAddress
from firmware_mgr.netboot.served import Lease, Leases, LeaseState, MemoryLeases

from .clocks import HandClock

MAC, OTHER = MacAddress("52:54:00:00:00:03"), MacAddress("52:54:00:00:00:04")
BOUND = Lease(IPv4Address("10.0.0.3"), MAC, b"\x01RT\x00", 5000, LeaseState.BOUND)

Maker = Callable[[], Awaitable[Leases]]


async def memory() -> Leases:
    return MemoryLeases()


async def catalogue() -> Leases:
    return await loaded(MemoryCatalogue(HandClock()))


async def loaded(stored: Catalogue) -> CatalogueLeases:
    leases = CatalogueLeases(stored)
    await leases.start()
    return leases


@pytest.fixture(params=[memory, catalogue], ids=["memory", "catalogue"])
async def leases(request: pytest.FixtureRequest) -> Leases:
    make: Maker = request.param
    return await make()


async def test_a_card_without_a_lease_has_none(leases: Leases) -> None:
    assert leases.get(MAC) is None


async def test_leases_are_found_by_mac_once_they_are_kept(leases: Leases) -> None:
    other = replace(BOUND, mac=OTHER, address=IPv4Address("10.0.0.4"))
    await leases.keep([BOUND, other])
    assert (leases.get(MAC), leases.get(OTHER)) == (BOUND, other)


async def test_a_card_has_one_lease_whatever_it_calls_itself(leases: Leases) -> None:
    await leases.keep([BOUND])
    renewed = Lease(BOUND.address, MAC, b"", 6000, LeaseState.BOUND)
    await leases.keep([renewed])
    assert leases.get(MAC) == renewed


async def test_a_swapped_card_takes_over_the_address_of_its_slot(leases: Leases) -> None:
    await leases.keep([BOUND])
    swapped = Lease(BOUND.address, OTHER, b"", 7000, LeaseState.BOUND)
    await leases.keep([swapped])
    assert leases.get(OTHER) == swapped
    assert leases.get(MAC) is None


async def test_a_machine_that_asks_under_ever_new_macs_has_one_lease() -> None:
    stored = MemoryCatalogue(HandClock())
    leases = await loaded(stored)
    asked = [replace(BOUND, mac=MacAddress(f"52:54:00:00:00:{n:02x}")) for n in range(200)]
    for start in range(0, len(asked), 50):
        await leases.keep(asked[start : start + 50])
    assert leases.held() == (asked[-1],)
    assert [document.key for document in await stored.list("leases/")] == [lease_key(asked[-1].mac)]


async def test_old_leases_of_an_address_go_a_few_at_a_time() -> None:
    """A catalogue in which such a machine has left many must not stop the slot's card."""
    stored = MemoryCatalogue(HandClock())
    old = [replace(BOUND, mac=MacAddress(f"52:54:00:00:01:{n:02x}")) for n in range(MAX_REMOVED + 5)]
    await stored.transact([], [Put(lease_key(lease.mac), write_lease(lease)) for lease in old])
    leases = await loaded(stored)
    await leases.keep([BOUND])
    assert len(leases.held()) == 6
    await leases.keep([BOUND])
    assert leases.held() == (BOUND,)


async def test_leases_survive_the_master(tmp_path: Path) -> None:
    path = tmp_path / "catalogue.db"
    released = replace(BOUND, expires_at=4000, state=LeaseState.RELEASED)
    declined = Lease(IPv4Address("10.0.0.4"), OTHER, b"", 9000, LeaseState.DECLINED)
    with closing(SqliteCatalogue(path, HandClock())) as stored:
        leases = await loaded(stored)
        await leases.keep([BOUND, declined])
        await leases.keep([released])
    with closing(SqliteCatalogue(path, HandClock())) as stored:
        again = await loaded(stored)
        assert again.held() == (released, declined)


async def test_the_event_loop_goes_on_while_a_lease_is_kept(tmp_path: Path) -> None:
    with closing(SqliteCatalogue(tmp_path / "catalogue.db", HandClock())) as stored:
        leases = await loaded(stored)
        keeping = asyncio.create_task(leases.keep([BOUND]))
        turns = 0
        while not keeping.done():
            turns += 1
            await asyncio.sleep(0)
        assert turns > 1
        assert leases.get(MAC) == BOUND


class Refusing(MemoryCatalogue):
    """Its disk is full."""

    async def transact(self, *_: object) -> int:
        raise UsageError("no space")


async def test_a_lease_that_cannot_be_kept_is_not_answered_with() -> None:
    leases = await loaded(Refusing(HandClock()))
    with pytest.raises(UsageError, match="no space"):
        await leases.keep([BOUND])
    assert leases.get(MAC) is None


@pytest.mark.parametrize(
    ("field", "value"),
    [("address", "10.0.0"), ("client_id", "0"), ("state", "lent"), ("expires_at", 1.5), ("mac", "x")],
)
async def test_a_lease_that_is_not_in_order_is_named(field: str, value: object) -> None:
    stored = MemoryCatalogue(HandClock())
    await stored.transact([], [Put(lease_key(MAC), {**write_lease(BOUND), field: value})])
    with pytest.raises(PeerError, match=r"^leases/52:54:00:00:00:03"):
        await loaded(stored)


@settings(max_examples=50, deadline=None)
@given(
    lease=st.builds(
        Lease,
        st.ip_addresses(v=4),
        st.binary(min_size=6, max_size=6).map(MacAddress.from_bytes),
        st.binary(max_size=255),
        st.integers(0, 2**40),
        st.sampled_from(LeaseState),
    )
)
def test_any_lease_comes_back_from_its_document(lease: Lease) -> None:
    assert read_lease(write_lease(lease), lease_key(lease.mac)) == lease
