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
        with pytest.raises(UsageError, match=r"slot 1 should run it; slot 1 names it \(fwmgr card clear 1\)"):
            await rack.master.remove_image("qemu-aarch64", "2")
        with pytest.raises(UsageError, match=r"package web 1\.0: still referred to"):
            await rack.master.remove_package("web", "1.0")


async def test_what_a_class_names_stays_unless_another_file_has_the_name(tmp_path: Path) -> None:
    async with Rack(tmp_path, slots=1) as rack:
        await rack.add(NEW_IMAGE)
        named = Configuration(("web",), {"qemu-aarch64": "2"})
        await rack.master.change_classes(lambda: rack.master.wishes.create("edge", named))
        with pytest.raises(UsageError, match=r"class edge names it \(fwmgr class set edge\)"):
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
