"""What there is, the newest first; where regressing leads (R-4.11)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware_mgr.model.errors import UsageError
from firmware_mgr.model.ids import CpuArch
from firmware_mgr.model.known_packages import KnownPackages
from firmware_mgr.model.package_facts import PackageFacts
from tests.model.software import module, package, packages, range_of, unhurried

ARM = CpuArch.AARCH64
OLD, CANDIDATE, NEW = package("ssl 1.9"), package("ssl 1.10~rc1"), package("ssl 1.10")
FOR_ARM = package("ssl 1.11", modules=[module("x", cpu=ARM)])
KNOWN = KnownPackages([NEW, OLD, FOR_ARM, package("web 1"), CANDIDATE, OLD])


def test_versions_are_told_the_newest_first_and_each_once() -> None:
    assert KNOWN.versions("ssl") == (FOR_ARM, NEW, CANDIDATE, OLD)
    assert [one.name for one in KNOWN] == ["ssl"] * 4 + ["web"] and KNOWN.versions("mail") == ()


def test_what_fits_a_range_and_a_cpu() -> None:
    assert KNOWN.fitting(range_of("ssl >= 1.10")) == (FOR_ARM, NEW)
    assert KNOWN.fitting(range_of("ssl >= 1.10"), CpuArch.X86_64) == (NEW,)
    assert KNOWN.fitting(range_of("mail")) == ()


def test_regressing_leads_to_the_next_earlier_version() -> None:
    assert KNOWN.before(NEW) == CANDIDATE
    assert KNOWN.before(package("ssl 2"), CpuArch.X86_64) == NEW
    with pytest.raises(UsageError) as refused:
        KNOWN.before(OLD)
    assert refused.value.expected == "a version before 1.9" and "1.10~rc1" in (refused.value.found or "")


@unhurried
@given(st.lists(packages("ab"), max_size=5), st.randoms())
def test_the_order_in_which_packages_came_changes_nothing(some: list[PackageFacts], random: object) -> None:
    mixed = list(some)
    random.shuffle(mixed)  # type: ignore[attr-defined]
    assert list(KnownPackages(mixed)) == list(KnownPackages(some))
