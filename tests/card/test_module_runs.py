"""Modules that lie together travel together, and each gets its own bytes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from firmware_mgr.card.module_runs import Dealer, place, runs
from firmware_mgr.model.ids import CpuArch
from firmware_mgr.package.contents import Module, ModuleKind, select
from firmware_mgr.packaging.build import ModuleSource, PackageHead, pack

TOC, CONTENT = pack(
    PackageHead("p", "1", 0),
    [
        ModuleSource(f"f{number}", ModuleKind.DATA, bytes([number, 7]) * 40 * number, cpu)
        for number in range(6)
        for cpu in CpuArch
    ]
    + [ModuleSource(f"any{number}", ModuleKind.DATA, bytes([number])) for number in range(3)],
)


def test_what_one_card_needs_is_two_runs_its_own_and_what_is_for_all() -> None:
    for cpu in CpuArch:
        chosen = select(TOC, cpu)
        found = list(runs(chosen))
        assert sorted(module.path for run in found for module in run) == sorted(m.path for m in chosen)
        assert len(found) == (1 if cpu is CpuArch.AARCH64 else 2)


@given(st.sets(st.sampled_from(TOC.modules)), st.integers(1, 400))
def test_every_run_is_one_range_that_holds_its_modules_and_nothing_else(
    chosen: set[Module], limit: int
) -> None:
    found = list(runs(chosen, limit))
    together = [(module.path, module.cpu_text) for run in found for module in run]
    assert sorted(together) == sorted((module.path, module.cpu_text) for module in chosen)
    for run in found:
        span = place(run)
        assert len(span) == sum(module.stored_length for module in run)
        assert len(span) <= limit or sum(bool(module.stored_length) for module in run) == 1


@given(st.lists(st.binary(max_size=9)), st.lists(st.integers(0, 12)))
def test_a_dealer_gives_each_its_length_in_order(chunks: list[bytes], lengths: list[int]) -> None:
    dealer = Dealer(iter(chunks))
    whole, at = b"".join(chunks), 0
    for length in lengths:
        assert b"".join(dealer.deal(length)) == whole[at : at + length]
        at += length
