"""The store on the kernel's own MTD drivers, in a small machine: NAND with faults, RAM, a block device."""

from pathlib import Path

import pytest

from tests.flash.mtd_machine import build_machine, run_machine

#: Seconds. It takes half a minute of a core's time, and others want the core too.
DEADLINE = 1200


@pytest.fixture(scope="module")
def machine() -> Path:
    return build_machine()


@pytest.mark.qemu
def test_a_store_lives_on_every_mtd_driver_and_survives_their_faults(machine: Path) -> None:
    results, console = run_machine(machine, DEADLINE)
    assert "FAILED" not in console and "END" in console, console
    by_name = {result["name"].split()[0]: result for result in results}
    assert len(by_name) == 3, console
    nand = by_name["NAND"]
    assert (nand["kind"], nand["erase_size"], nand["page_size"], nand["size"]) == (
        "NAND",
        128 << 10,
        2048,
        64 << 20,
    )
    assert nand["factory_bad"] == 4
    assert nand["bad"] == [3, 5, 17, 20, 40, 41, 45, 70], "those, three that refused an erase, one a program"
    assert nand["corrected"] > 0, "bits that the ECC put right"
    assert nand["found_bad"] > 0, "the page that lost its data was found, and its blob put again"
    for name, erase_size in (("mtdram", 64 << 10), ("block2mtd:", 128 << 10)):
        plain = by_name[name]
        assert (plain["kind"], plain["erase_size"], plain["bad"]) == ("RAM", erase_size, [])
        assert plain["found_bad"] == 0
