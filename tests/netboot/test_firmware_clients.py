"""Boot loaders that we did not write, in QEMU, over a real wire: iPXE, UEFI PXE, UEFI HTTP boot, U-Boot.

Needs network namespaces, QEMU, OVMF, ipxe, ipxe-qemu and u-boot-qemu. Fails where one is not there.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

TESTS = Path(__file__).parents[1]
pytestmark = pytest.mark.qemu


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("firmware")
    unshare = ["unshare", "-n"] if os.geteuid() == 0 else ["unshare", "-Urn"]
    done = subprocess.run(
        [*unshare, sys.executable, "-m", "netboot.firmware_in_namespace", str(folder)],
        cwd=TESTS,
        env=os.environ | {"PYTHONPATH": f"{TESTS}:{TESTS.parent}"},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def transfers(said: dict[str, Any], slot: str) -> list[tuple[str, str, str, int]]:
    """Protocol, file, outcome and bytes of each, in order, as the server tells."""
    return [
        (event["protocol"], event["name"], event["outcome"], event["bytes_sent"])
        for event in said["events"]
        if event["event"] == "TransferEnded" and event["slot"] == slot
    ]


def decisions(said: dict[str, Any], slot: str) -> list[tuple[str, str, str]]:
    return [
        (event["message"], event["decision"], event["reason"])
        for event in said["events"]
        if event["event"] == "DhcpDecided" and event["slot"] == slot
    ]


def test_ipxe_under_a_bios_gets_its_script_and_fetches_by_tftp_and_http(said: dict[str, Any]) -> None:
    console, length = said["consoles"]["ipxe-bios"], said["length"]
    assert "address 10.77.0.11 mask 255.255.255.0 name slot1 on pcbios" in console, console
    assert console.count(f"Image : {length} bytes") == 2, console
    assert transfers(said, "1") == [
        ("http", "boot.ipxe", "done", transfers(said, "1")[0][3]),
        ("tftp", "Image", "done", length),
        ("http", "Image", "done", length),
    ]


def test_uefi_pxe_boots_the_file_of_its_architecture(said: dict[str, Any]) -> None:
    console = said["consoles"]["uefi-pxe"]
    assert "NBP filename is snponly.efi" in console, console
    assert 'starting Boot0001 "UEFI PXEv4' in console, console
    assert ("tftp", "snponly.efi", "done", size_told(console)) in transfers(said, "2")
    assert ("request", "ack", "boot service") in decisions(said, "2"), "nobody asked on port 4011"


def test_ipxe_that_uefi_has_loaded_is_sent_its_script_and_not_itself_again(said: dict[str, Any]) -> None:
    console, length = said["consoles"]["uefi-pxe"], said["length"]
    assert "address 10.77.0.12 mask 255.255.255.0 name slot2 on efi" in console, console
    assert console.count(f"Image : {length} bytes") == 2, console
    names = [name for _, name, outcome, _ in transfers(said, "2") if outcome == "done"]
    assert names == ["snponly.efi", "boot.ipxe", "Image", "Image"]


def test_uefi_http_boots_from_the_url_that_it_is_told(said: dict[str, Any]) -> None:
    console = said["consoles"]["uefi-http"]
    assert '"UEFI HTTPv4 (MAC:525400000003)"' in console, console
    assert "iPXE initialising devices...ok" in console, console
    assert f"Image : {said['length']} bytes" in console, console
    first = next(transfer for transfer in transfers(said, "3") if transfer[2] == "done")
    assert first == ("http", "snponly.efi", "done", size_told(said["consoles"]["uefi-pxe"]))


def test_u_boot_fetches_whole_with_its_own_and_with_a_wide_window(said: dict[str, Any]) -> None:
    console = said["consoles"]["u-boot"]
    assert "address 10.77.0.14 mask 255.255.255.0 name slot4 file Image" in console, console
    assert console.count(f"==> {said['crc']}") == 2, console
    assert transfers(said, "4") == [("tftp", "Image", "done", said["length"])] * 2


def size_told(console: str) -> int:
    """The size that the firmware learnt before it fetched: our tsize (RFC 2349)."""
    return int(console.partition("NBP filesize is ")[2].partition(" Bytes")[0])
