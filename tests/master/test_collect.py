"""Versions that nobody refers to are collected, but for the newest of each name; what is pinned stays."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from firmware_mgr.link.messages import BootPieces
from firmware_mgr.master.batch import BATCHES
from firmware_mgr.master.board_wish import BoardRecord, Preferred
from firmware_mgr.master.card_class import ClassRecord
from firmware_mgr.master.catalogue import Put
from firmware_mgr.master.collect import Collected, collect
from firmware_mgr.master.configuration import Configuration
from firmware_mgr.master.documents import PACKAGES, CardRecord, ImageRecord, PackageRecord, StoredFile
from firmware_mgr.master.removal import who_refers
from firmware_mgr.master.said import Said
from firmware_mgr.model.errors import DeviceError, UsageError
from firmware_mgr.model.ids import Digest, SlotId
from firmware_mgr.model.software import SoftwareSet
from tests.master.rack_twin import IMAGE, NEW_IMAGE, Rack
from tests.master.test_batch import Mortal


def package(name: str, version: int, cpu: str = "aarch64") -> PackageRecord:
    digest = Digest.of(f"{name} {version} {cpu}".encode())
    return PackageRecord(name, str(version), digest, 10 + version, (cpu,), float(version))


def image(version: int, kernel: bytes = b"kernel") -> ImageRecord:
    digest = Digest.of(f"image {version}".encode())
    files = (StoredFile("kernel", Digest.of(kernel), 100),)
    pieces = BootPieces(1 << 20, (digest,))
    return ImageRecord("virt", str(version), digest, 1000, pieces, files, float(version))


WEB = [package("web", version) for version in range(1, 6)]
CARD = CardRecord(SlotId(1), 1.0)


def going(found: Collected) -> list[str]:
    return [f"{one.name} {one.version}" for one in found.packages] + [
        f"image {i.version}" for i in found.images
    ]


def test_the_newest_versions_stay_and_older_ones_go() -> None:
    found = collect([], WEB, [CARD], Said(), keep=2)
    assert going(found) == ["web 3", "web 2", "web 1"] and found.freed == 13 + 12 + 11


def test_newest_is_what_was_added_last_whatever_it_is_called() -> None:
    older = replace(WEB[0], version="9")
    assert going(collect([], [older, WEB[1]], [], Said(), keep=1)) == ["web 9"]


def test_all_files_of_a_version_stay_or_go_together() -> None:
    other = [package("web", version, "armv7") for version in range(1, 6)]
    card = replace(CARD, wanted=SoftwareSet(image(1).ref, (other[0].ref,)))
    found = collect([], [*WEB, *other], [card], Said(), keep=2)
    assert {one.version for one in found.packages} == {"2", "3"} and len(found.packages) == 4


@pytest.mark.parametrize(
    ("card", "users", "stays"),
    [
        (replace(CARD, wanted=SoftwareSet(image(1).ref, (WEB[0].ref,))), Said(), "web 1"),
        (replace(CARD, present=True, last_good=SoftwareSet(image(1).ref, (WEB[1].ref,))), Said(), "web 2"),
        (replace(CARD, own=Configuration(("web=3",))), Said(), "web 3"),
        (CARD, Said({"edge": ClassRecord("edge", 0.0, Configuration(("web=2",)))}), "web 2"),
        (CARD, Said(boards={"b": BoardRecord("b", Configuration(("web=1",)))}), "web 1"),
        (CARD, Said(preferred=Preferred(packages={"web": "3"})), "web 3"),
    ],
    ids=["wanted", "last good", "the card's own", "a class", "a board", "preferred"],
)
def test_what_somebody_refers_to_stays(card: CardRecord, users: Said, stays: str) -> None:
    left = {"web 1", "web 2", "web 3"} - set(going(collect([], WEB, [card], users, keep=2)))
    assert left == {stays}


def test_bytes_that_another_image_has_too_are_not_freed() -> None:
    found = collect([image(1), image(2), image(3, b"other")], [], [], Said(), keep=1)
    assert going(found) == ["image 2", "image 1"] and found.freed == 2 * 1000 + 100
    assert collect([image(1), image(2)], [], [], Said(), keep=1).freed == 1000


def test_not_everything_can_be_collected() -> None:
    with pytest.raises(UsageError, match="the newest of each name stays"):
        collect([], WEB, [], [], keep=0)


@settings(deadline=None)
@given(
    st.sets(st.tuples(st.sampled_from("ab"), st.integers(1, 6))),
    st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from(["", "=1", "=2", "=3"])), max_size=2),
    st.integers(1, 3),
)
def test_nobody_refers_to_what_goes_and_nothing_more_would_go(
    stored: set[tuple[str, int]], named: list[tuple[str, str]], keep: int
) -> None:
    records = [package(name, version) for name, version in sorted(stored)]
    classes = {
        f"c{number}": ClassRecord(f"c{number}", 0.0, Configuration((f"{name}{version}",)))
        for number, (name, version) in enumerate(named)
    }
    users = Said(classes)
    gone = list(collect([], records, [], users, keep).packages)
    left = [one for one in records if one not in gone]
    assert not any(who_refers(one, [], users, left) for one in gone)
    for name in "ab":
        versions = sorted((one for one in records if one.name == name), key=lambda one: -one.added_at)
        assert not any(one in gone for one in versions[:keep])
        spared = [one for one in versions[keep:] if one not in gone]
        assert all(f"{one.name}={one.version}" in {f"{n}{v}" for n, v in named} for one in spared)
    assert not collect([], left, [], users, keep).records


async def test_a_dry_run_removes_nothing_and_a_real_one_does_also_after_a_restart(tmp_path: Path) -> None:
    async with Rack(tmp_path, slots=1) as rack:
        await rack.add(NEW_IMAGE)
        for record in (package("old", version) for version in (2, 3, 4)):
            await rack.add(record)
        said = await rack.master.collect_software(1, dry_run=True)
        assert [one.version for one in said.packages] == ["3", "2"] and said.images == (IMAGE,)
        assert len(rack.master.roster.packages) == 4
        assert await rack.master.collect_software(1, dry_run=False) == said
        await rack.restart()
        assert sorted(f"{one.name} {one.version}" for one in rack.master.roster.packages) == [
            "old 4",
            "web 1.0",
        ]
        assert rack.master.roster.images == [NEW_IMAGE]


async def test_more_than_one_transaction_holds_goes_whole_or_not_at_all(tmp_path: Path) -> None:
    async with Rack(tmp_path, slots=1) as rack:
        records = [package("old", version) for version in range(1, 300)]
        for record in records[:-1]:
            await rack.catalogue.transact([], [Put(record.key, record.to_document())])
        await rack.add(records[-1])
        catalogue, full = rack.catalogue, DeviceError("catalogue cannot be written", found="no space left")
        rack.catalogue = Mortal(catalogue, 2, full, done=False)  # type: ignore[assignment]
        await rack.restart()
        with pytest.raises(DeviceError, match="no space left"):
            await rack.master.collect_software(1, dry_run=False)
        assert len(rack.master.roster.packages) == 300 and len(await catalogue.list(PACKAGES)) == 300
        assert not await catalogue.list(BATCHES)
        rack.catalogue = catalogue
        await rack.restart()
        assert len((await rack.master.collect_software(1, dry_run=False)).packages) == 298
        assert len(rack.master.roster.packages) == 2
