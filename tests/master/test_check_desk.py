"""The master asks after every change what cards lack, and says what the change did (R-2.6, R-2.7)."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import pytest

from firmware_mgr.master.check_api import burn_document, change_document
from firmware_mgr.master.check_desk import CheckDesk
from firmware_mgr.master.configuration import Configuration
from firmware_mgr.master.documents import PackageRecord
from firmware_mgr.master.package_tables import PackageTables, Tables
from firmware_mgr.model.discrepancies import Report
from firmware_mgr.model.ids import CpuArch, SlotId
from firmware_mgr.package.contents import ModuleKind
from firmware_mgr.packaging.build import ModuleSource
from tests.master.rack_twin import Rack
from tests.master.stocked_rack import StockedRack, package_file

BASE = package_file("base 12")
SSL_1, SSL_3 = package_file("ssl 1.1", local=["base"]), package_file("ssl 3.0.1", local=["base"])
WEB = package_file("web 2.1", local=["ssl >= 3", "base"])
PEER_1, PEER_2 = package_file("peer 1"), package_file("peer 2")
SYNC = package_file("sync 2", remote=["peer = 2"])


def names(rack: Rack, slot: int) -> list[str]:
    wanted = rack.master.roster.get(SlotId(slot)).record.wanted
    return [] if wanted is None else [f"{one.name} {one.version}" for one in wanted.packages]


async def test_a_change_that_breaks_another_card_says_so_and_what_would_mend_it(tmp_path: Path) -> None:
    async with StockedRack(tmp_path, slots=2) as rack:
        await rack.stock(PEER_1, PEER_2, SYNC)
        await rack.name(2, "peer=2")
        await rack.name(1, "sync")
        assert await rack.lacking() == []
        note = rack.master.checks.note()
        await rack.name(2, "peer=1", note=note)
        told = await change_document(note, rack.master)
        assert told["counts"] == {"worse": 1, "better": 0}
        (worse,) = told["worse"]
        assert (worse["slot"], worse["package"], worse["needs"], worse["constraint"]) == (
            "1", "sync", "peer", "= 2",
        )  # fmt: skip
        assert worse["instead"] == [{"package": "peer", "version": "1", "slots": ["2"], "cards": 1}]
        (remedy,) = worse["remedies"]
        assert (remedy["way"], remedy["version"], remedy["slots"]) == ("activate", "2", ["2"])
        assert remedy["command"] == "fwmgr card set 2 --package peer=2"
        note = rack.master.checks.note()
        await rack.name(2, "peer=2", note=note)
        assert (await change_document(note, rack.master))["counts"] == {"worse": 0, "better": 1}


async def test_a_remedy_is_a_list_that_satisfies(tmp_path: Path) -> None:
    async with StockedRack(tmp_path, slots=1) as rack:
        await rack.stock(BASE, SSL_1, SSL_3, WEB)
        note = rack.master.checks.note()
        await rack.name(1, "web", "ssl=1.1", "base", note=note)
        (worse,) = (await change_document(note, rack.master))["worse"]
        command = worse["remedies"][0]["command"]
        assert command == "fwmgr card set 1 --package web --package ssl=3.0.1 --package base"
        await rack.name(
            1, *(word for word in command.split() if word.partition("=")[0] in ("web", "ssl", "base"))
        )
        assert await rack.lacking() == []


async def test_where_a_class_names_the_packages_the_remedy_is_the_classs(tmp_path: Path) -> None:
    async with StockedRack(tmp_path, slots=2) as rack:
        await rack.stock(BASE, SSL_1, SSL_3, WEB)
        master, edge = rack.master, Configuration(("web=2.1", "base"))
        await master.change_classes(lambda: master.wishes.create("edge", edge))
        note = master.checks.note()
        entries = [master.roster.get(SlotId(2))]
        await master.change_classes(lambda: master.wishes.assign("edge", entries), note)
        told = await change_document(note, master)
        commands = {remedy["command"] for one in told["worse"] for remedy in one["remedies"]}
        assert commands == {"fwmgr class set edge --package web=2.1 --package ssl=3.0.1 --package base"}


async def test_a_list_that_nobody_named_is_put_into_order(tmp_path: Path) -> None:
    async with StockedRack(tmp_path, slots=1) as rack:
        await rack.stock(WEB, SSL_3, BASE)
        await rack.master.burn_all(None, False)
        assert names(rack, 1) == ["web 2.1", "ssl 3.0.1", "base 12"]  # the last one added is not in front
        assert await rack.lacking() == []


async def test_a_circle_leaves_a_list_that_nobody_named_as_it_was(tmp_path: Path) -> None:
    async with StockedRack(tmp_path, slots=1) as rack:
        await rack.stock(package_file("a 1", local=["b"]), package_file("b 1", local=["a"]))
        await rack.master.burn_all(None, False)
        assert names(rack, 1) == ["b 1", "a 1"]
        assert await rack.lacking() == ["slot 1: a 1: order: b"]


async def test_users_keep_their_order_and_are_told_what_stands_wrong(tmp_path: Path) -> None:
    fix = package_file("ssl-fix 1", upgrades=["ssl = 3.0.2"])
    async with StockedRack(tmp_path, slots=1) as rack:
        await rack.stock(BASE, SSL_3, WEB, fix)
        note = rack.master.checks.note()
        await rack.name(1, "base", "ssl", "web", "ssl-fix", note=note)
        assert names(rack, 1) == ["base 12", "ssl 3.0.1", "web 2.1", "ssl-fix 1"]
        worse = (await change_document(note, rack.master))["worse"]
        assert [(one["package"], one["lack"], one["needs"]) for one in worse] == [
            ("ssl", "order", "base"),
            ("ssl-fix", "orphaned upgrade", "ssl"),
            ("web", "order", "base"),
            ("web", "order", "ssl"),
        ]
        right = "fwmgr card set 1 --package web --package ssl --package base --package ssl-fix"
        assert {one["command"] for one in worse if one["lack"] == "order"} == {right}


async def test_files_that_clash_and_libraries_that_nobody_brings_are_told(tmp_path: Path) -> None:
    library = ModuleSource("usr/lib/libx.so.1", ModuleKind.SHARED_LIBRARY, b"x", CpuArch.AARCH64)
    wants = ModuleSource(
        "usr/bin/x", ModuleKind.PROGRAM, b"y", CpuArch.AARCH64, 0o755, consumes=("so:libx.so.1",)
    )
    folder, file = ModuleSource("srv/a/b", ModuleKind.DATA), ModuleSource("srv/a", ModuleKind.DATA)
    async with StockedRack(tmp_path, slots=1) as rack:
        await rack.stock(package_file("x 1", modules=[folder, wants]), package_file("y 1", modules=[file]))
        await rack.stock(package_file("libx 1", modules=[library]))
        await rack.name(1, "x", "y")
        assert await rack.lacking() == ["slot 1: x 1: library: so:libx.so.1", "slot 1: y 1: clash: srv/a"]
        await rack.name(1, "x", "libx")
        assert await rack.lacking() == []


async def test_after_a_restart_of_the_master_the_report_is_the_same(tmp_path: Path) -> None:
    async with StockedRack(tmp_path, slots=2) as rack:
        await rack.stock(BASE, SSL_1, SSL_3, WEB, SYNC)
        await rack.name(1, "web", "ssl=1.1")
        await rack.name(2, "sync")
        before = (await rack.master.checks.current()).report
        assert [one.package for one in before.discrepancies] == ["ssl", "web", "web", "sync"]
        await rack.restart()
        assert (await rack.master.checks.current()).report == before


async def test_cards_that_come_and_go_are_noticed_without_being_asked(tmp_path: Path) -> None:
    async with StockedRack(tmp_path, slots=2) as rack:
        await rack.stock(PEER_2, SYNC)
        await rack.name(1, "sync")
        await rack.name(2, "peer")
        await rack.wait(lambda: len(rack.master.checks.last.situation) == 2)
        assert rack.master.checks.lacks(SlotId(1)) == ()
        rack.hands.empty.add(2)
        await rack.wait(lambda: bool(rack.master.checks.lacks(SlotId(1))))
        (one,) = rack.master.checks.lacks(SlotId(1))
        assert [remedy.way.value for remedy in one.remedies] == ["return", "activate"]
        rack.hands.empty.clear()
        await rack.wait(lambda: not rack.master.checks.lacks(SlotId(1)))


async def test_a_package_that_cannot_be_read_is_told_and_stops_nobody(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    wants = ModuleSource(
        "usr/bin/x", ModuleKind.PROGRAM, b"y", CpuArch.AARCH64, 0o755, consumes=("so:libx.so.1",)
    )
    user = package_file("user 1", local=["lost = 1"], modules=[wants])
    lost = package_file("lost 1")
    async with StockedRack(tmp_path, slots=2) as rack:
        (record,) = await rack.stock(lost, readable=False)
        await rack.stock(user)
        await rack.name(1, "user", "lost")
        # Its name and version count; whether it brings the library is unknown, so nothing is said of that.
        assert await rack.lacking() == [f"slot 1: lost 1: unreadable package: file {record.digest.short}"]
        assert caplog.text.count("package lost 1 cannot be read") == 1
        await rack.master.load_software()
        await rack.lacking()
        assert caplog.text.count("package lost 1 cannot be read") == 1
        rack.blobs.add(io.BytesIO(lost), record.digest)
        await rack.master.load_software()
        assert await rack.lacking() == ["slot 1: user 1: library: so:libx.so.1"]


async def test_a_damaged_file_is_one_that_cannot_be_read(tmp_path: Path) -> None:
    async with StockedRack(tmp_path, slots=1) as rack:
        (record,) = await rack.stock(BASE, readable=False)
        path = tmp_path / "blobs" / "blobs" / "sha256" / record.digest.hex[:2] / record.digest.hex
        path.parent.mkdir(parents=True)
        path.write_bytes(BASE[:-1] if len(BASE) > 400 else BASE[:100])
        await rack.name(1, "base")
        assert await rack.lacking() == [f"slot 1: base 12: unreadable package: file {record.digest.short}"]


async def test_a_chassis_without_packages_lacks_nothing(tmp_path: Path) -> None:
    async with StockedRack(tmp_path, slots=2) as rack:
        await rack.master.burn_all(None, False)
        checked = await rack.master.checks.current()
        assert len(checked.situation) == 2 and checked.report == Report()


async def test_a_burn_all_says_what_its_cards_lack_and_begins(tmp_path: Path) -> None:
    async with StockedRack(tmp_path, slots=3) as rack:
        await rack.stock(BASE, WEB, SYNC)
        await rack.name(3, "sync")
        await rack.name(2, "web", "base")
        note = rack.master.checks.note()
        operation = await rack.master.burn_all([SlotId(2)], False, note=note)
        told = await burn_document(operation, note, rack.master)
        assert [(one["slot"], one["needs"]) for one in told["discrepancies"]] == [("2", "ssl")]
        assert told["count"] == 1 and not operation.state.finished


async def test_changes_that_come_together_are_checked_once(tmp_path: Path) -> None:
    async with StockedRack(tmp_path, slots=3) as rack:
        await rack.stock(PEER_1, PEER_2)
        await rack.wait(lambda: len(rack.master.checks.last.tables.packages) == 2)
        before = rack.master.checks.looks
        for slot in (1, 2, 3):
            for version in ("1", "2"):
                await rack.name(slot, f"peer={version}")
        await rack.wait(lambda: len(rack.master.checks.last.situation) == 3)
        assert [one.packages[0].version for one in rack.master.checks.last.situation] == ["2", "2", "2"]
        assert rack.master.checks.looks == before + 1


class BreaksOnce(PackageTables):
    broke = False

    async def read(self, records: Sequence[PackageRecord]) -> Tables:
        if not self.broke:
            self.broke = True
            raise RuntimeError("a fault of ours")
        return await super().read(records)


async def test_what_breaks_in_a_check_does_not_end_the_checks(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with StockedRack(tmp_path, slots=1) as rack:
        await rack.stock(BASE)
        desk = CheckDesk(rack.master.roster, BreaksOnce(rack.blobs), lambda: None)
        desk.start()
        await rack.wait(lambda: "the check of all cards failed" in caplog.text)
        await rack.name(1, "base")
        await rack.wait(lambda: len(desk.last.situation) == 1)
        await desk.stop()
