"""`fwmgr flash show` of an image of NAND flash, which has areas and no partition table."""

import json
from pathlib import Path

from typer.testing import CliRunner

from firmware_mgr.cli.flash import app
from firmware_mgr.flash.control import first_burn, write_control
from firmware_mgr.flash.device import Window
from firmware_mgr.flash.erase_block_device import EraseBlockDevice
from firmware_mgr.flash.letter import Letter
from firmware_mgr.flash.skip_bad import ControlBlocks
from firmware_mgr.flash.store import Store
from tests.flash.kinds import MIB, nand

AREAS = "mtdparts=flash:1m(control),-(store)"


def test_areas_of_an_image_of_nand_are_shown(tmp_path: Path) -> None:
    chip = nand()
    device = EraseBlockDevice(chip)
    write_control(ControlBlocks(Window(device, 4 * 128 * 1024, MIB, "control")), first_burn(Letter.B))
    Store.format(Window(device, 2 * MIB, 6 * MIB), store_id=bytes(16)).commit({"a": b"1"})
    image = tmp_path / "nand.img"
    image.write_bytes(chip.read(4 * 128 * 1024, MIB) + chip.read(2 * MIB, 6 * MIB))
    command = [str(image), "--erase-block", "131072", "--areas", AREAS, "--json"]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output
    shown = json.loads(done.output)
    assert shown["control"]["effective"]["boot"] == "b"
    assert shown["store"]["unit"] == 131072
    assert [document["name"] for document in shown["store"]["documents"]] == ["a"]
