"""DHCP leases: what netboot's own twin does, and a start of the master in between."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from ipaddress import IPv4Address
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from firmware_mgr.master.catalogue import Put
from firmware_mgr.master.catalogue_memory import MemoryCatalogue
from firmware_mgr.master.catalogue_sqlite import SqliteCatalogue
from firmware_mgr.master.leases import CatalogueLeases, lease_key, read_lease, write_lease
from firmware_mgr.model.errors import PeerError, UsageError
from firmware_mgr.model.ids import MacAddress
from firmware_mgr.netboot.served import Lease, Leases, LeaseState, MemoryLeases

from .clocks import HandClock

MAC, OTHER = MacAddress("52:54:00:00:00:03"), MacAddress("52:54:00:00:00:04")
BOUND = Lease(IPv4Address("10.0.0.3"), MAC, b"\x01RT\x00", 5000, LeaseState.BOUND)

MAKERS: list[Callable[[], Leases]] = [MemoryLeases, lambda: CatalogueLeases(MemoryCatalogue(HandClock()))]


@pytest.fixture(params=MAKERS, ids=["memory", "catalogue"])
def leases(request: pytest.FixtureRequest) -> Leases:
    made: Leases = request.param()
    return made


def test_a_card_without_a_lease_has_none(leases: Leases) -> None:
    assert leases.get(MAC) is None


def test_a_lease_is_found_by_mac(leases: Leases) -> None:
    leases.put(BOUND)
    assert leases.get(MAC) == BOUND
    assert leases.get(OTHER) is None


def test_a_card_has_one_lease_whatever_it_calls_itself(leases: Leases) -> None:
    leases.put(BOUND)
    renewed = Lease(BOUND.address, MAC, b"", 6000, LeaseState.BOUND)
    leases.put(renewed)
    assert leases.get(MAC) == renewed


def test_a_released_lease_ends_now(leases: Leases) -> None:
    leases.put(BOUND)
    leases.release(MAC, 2000)
    assert leases.get(MAC) == Lease(BOUND.address, MAC, BOUND.client_id, 2000, LeaseState.RELEASED)
    leases.release(OTHER, 2000)
    assert leases.get(OTHER) is None


def test_a_swapped_card_takes_over_the_address_of_its_slot(leases: Leases) -> None:
    leases.put(BOUND)
    swapped = Lease(BOUND.address, OTHER, b"", 7000, LeaseState.BOUND)
    leases.put(swapped)
    assert leases.get(OTHER) == swapped


def test_a_lease_is_released_only_by_releasing_it(leases: Leases) -> None:
    with pytest.raises(UsageError, match="released by release"):
        leases.put(Lease(BOUND.address, MAC, b"", 1, LeaseState.RELEASED))


def test_leases_survive_the_master(tmp_path: Path) -> None:
    path = tmp_path / "catalogue.db"
    declined = Lease(IPv4Address("10.0.0.4"), OTHER, b"", 9000, LeaseState.DECLINED)
    with closing(SqliteCatalogue(path, HandClock())) as catalogue:
        leases = CatalogueLeases(catalogue)
        leases.put(BOUND)
        leases.put(declined)
        leases.release(MAC, 4000)
    with closing(SqliteCatalogue(path, HandClock())) as catalogue:
        again = CatalogueLeases(catalogue)
        released = Lease(BOUND.address, MAC, BOUND.client_id, 4000, LeaseState.RELEASED)
        assert again.held() == (released, declined)


class Refusing(MemoryCatalogue):
    """Its disk is full."""

    def transact_blocking(self, *_: object) -> int:
        raise UsageError("no space")


def test_a_lease_that_cannot_be_kept_is_not_answered_with() -> None:
    leases = CatalogueLeases(Refusing(HandClock()))
    with pytest.raises(UsageError, match="no space"):
        leases.put(BOUND)
    assert leases.get(MAC) is None


@pytest.mark.parametrize(
    ("field", "value"),
    [("address", "10.0.0"), ("client_id", "0"), ("state", "lent"), ("expires_at", 1.5), ("mac", "x")],
)
def test_a_lease_that_is_not_in_order_is_named(field: str, value: object) -> None:
    catalogue = MemoryCatalogue(HandClock())
    catalogue.transact_blocking([], [Put(lease_key(MAC), {**write_lease(BOUND), field: value})])
    with pytest.raises(PeerError, match=r"^leases/52:54:00:00:00:03"):
        CatalogueLeases(catalogue)


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
