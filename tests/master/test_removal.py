"""Images and packages leave the catalogue when nobody refers to them, and not before."""

from __future__ import annotations

from pathlib import Path

import pytest

from firmware_mgr.master.configuration import Configuration
from firmware_mgr.model.errors import UsageError
from firmware_mgr.model.ids import SlotId
from tests.master.rack_twin import ARM_PACKAGE, NEW_IMAGE, PACKAGE, Rack, TwinCard
from tests.master.test_service import serve


async def test_what_cards_should_run_or_go_back_to_stays_and_it_is_said_who(tmp_path: Path) -> None:
    async with Rack(tmp_path, slots=1) as rack:
        await serve(rack, TwinCard(rack, 1))
        await rack.add(NEW_IMAGE)
        for _ in range(2):
            with pytest.raises(UsageError, match=r"still referred to.*slot 1 goes back to it"):
                await rack.master.remove_image("qemu-aarch64", "1")
            await rack.master.want(SlotId(1), "2", None)
        with pytest.raises(
            UsageError, match=r"slot 1 should run it; slot 1 names it \(fwmgr card set 1 --clear images\)"
        ):
            await rack.master.remove_image("qemu-aarch64", "2")
        with pytest.raises(UsageError, match=r"package web 1\.0: still referred to"):
            await rack.master.remove_package("web", "1.0")


async def test_what_a_class_names_stays_unless_another_file_has_the_name(tmp_path: Path) -> None:
    async with Rack(tmp_path, slots=1) as rack:
        await rack.add(NEW_IMAGE)
        named = Configuration(("web",), {"qemu-aarch64": "2"})
        await rack.master.change_classes(lambda: rack.master.wishes.create("edge", named))
        with pytest.raises(UsageError, match=r"class edge names it \(fwmgr class set edge --clear images\)"):
            await rack.master.remove_image("qemu-aarch64", "2")
        with pytest.raises(UsageError, match="class edge names it"):
            await rack.master.remove_package("web", "1.0")
        await rack.master.change_classes(lambda: rack.master.wishes.remove("edge"))
        await rack.add(ARM_PACKAGE)
        assert (await rack.master.remove_image("qemu-aarch64", "2")).digest == NEW_IMAGE.digest
        removed = await rack.master.remove_package("web", "1.0")
        assert {package.digest for package in removed} == {PACKAGE.digest, ARM_PACKAGE.digest}
        await rack.restart()
        assert rack.master.roster.packages == [] and len(rack.master.roster.images) == 1


async def test_what_is_not_there_cannot_be_removed(tmp_path: Path) -> None:
    async with Rack(tmp_path, slots=1) as rack:
        with pytest.raises(UsageError, match="no such boot image"):
            await rack.master.remove_image("qemu-aarch64", "9")
        with pytest.raises(UsageError, match=r"no such package: expected one of web=1\.0"):
            await rack.master.remove_package("web", "9")


async def test_the_bytes_go_too_and_those_of_others_stay(tmp_path: Path) -> None:
    async with Rack(tmp_path, slots=1) as rack:
        path = tmp_path / "blob"
        path.write_bytes(b"web")
        rack.blobs.add(path, PACKAGE.digest)
        rack.clock.now = path.stat().st_mtime + 7200.0
        await rack.master.remove_package("web", "1.0")
        assert not rack.blobs.has(PACKAGE.digest)


async def test_a_class_that_names_an_image_by_the_start_of_its_digest_names_it(tmp_path: Path) -> None:
    async with Rack(tmp_path, slots=1) as rack:
        await rack.add(NEW_IMAGE)
        named = Configuration(None, {"qemu-aarch64": NEW_IMAGE.digest.hex[:12]})
        await rack.master.change_classes(lambda: rack.master.wishes.create("edge", named))
        with pytest.raises(UsageError, match="class edge names it"):
            await rack.master.remove_image("qemu-aarch64", "2")


async def test_what_an_absent_card_was_in_service_with_may_go_and_the_card_comes_back(tmp_path: Path) -> None:
    async with Rack(tmp_path, slots=1) as rack:
        card = TwinCard(rack, 1)
        await serve(rack, card)
        await rack.add(NEW_IMAGE)
        await rack.master.want(SlotId(1), "2", None)
        rack.hands.empty.add(1)
        await rack.wait(lambda: not rack.master.roster.get(SlotId(1)).record.present)
        assert (await rack.master.remove_image("qemu-aarch64", "1")).version == "1"
        record = rack.master.roster.get(SlotId(1)).record
        assert record.last_good is not None and not rack.master.roster.has(record.last_good)


async def test_bytes_that_cannot_be_removed_do_not_undo_a_removal(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with Rack(tmp_path, slots=1) as rack:
        (tmp_path / "blobs" / "blobs" / "incoming").rmdir()
        (tmp_path / "blobs" / "blobs" / "incoming").write_text("not a folder")
        await rack.master.remove_package("web", "1.0")
        assert rack.master.roster.packages == []
        assert "stay until the next removal" in caplog.text
