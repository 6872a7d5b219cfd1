"""The card's address and its master's, from DHCP. Runs busybox's udhcpc; knows nothing of the protocol."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path

from firmware_mgr.model.errors import DeviceError

#: Written by the lease script in the boot image.
LEASE_FILE = Path("/run/fwmgr/lease.env")
LEASE_SCRIPT = Path("/etc/fwmgr/udhcpc.sh")


@dataclass(frozen=True, slots=True)
class NetworkLease:
    """`master` is DHCP's next server (siaddr, RFC 2131 §2): who answers for netboot answers for the link."""

    address: str
    master: str
    hostname: str


def read_lease(text: str) -> NetworkLease:
    """Raises DeviceError when the lease names no address or no master."""
    fields = dict(line.split("=", 1) for line in text.splitlines() if "=" in line)
    values = {key.strip(): value.strip().strip("'\"") for key, value in fields.items()}
    address = values.get("ip", "")
    master = values.get("siaddr") or values.get("serverid", "")
    if not address or not master or master == "0.0.0.0":
        raise DeviceError(
            "DHCP lease is not usable", where=str(LEASE_FILE), expected="ip and siaddr", found=text
        )
    return NetworkLease(address, master, values.get("hostname", ""))


async def bring_up(interface: str) -> None:
    """Set the interface up and have udhcpc get a lease and renew it from then on. Raises DeviceError."""
    LEASE_FILE.parent.mkdir(parents=True, exist_ok=True)
    LEASE_FILE.unlink(missing_ok=True)
    await _run("ip", "link", "set", interface, "up")
    # It retries for ever, and goes to the background of its own once it holds a lease.
    await _run(
        "udhcpc", "-i", interface, "-t", "4", "-T", "1", "-A", "2", "-s", str(LEASE_SCRIPT), "-S", "-b"
    )


async def wait_lease() -> NetworkLease:
    """The lease as it stands now, or as soon as there is one. Raises DeviceError when it is not usable."""
    while not LEASE_FILE.exists():
        await asyncio.sleep(0.1)
    return read_lease(LEASE_FILE.read_text())


async def _run(*command: str) -> None:
    process = await asyncio.create_subprocess_exec("busybox", *command, stdin=asyncio.subprocess.DEVNULL)
    if await process.wait() != 0:
        raise DeviceError(
            "network set-up failed", where=" ".join(command), expected="exit 0", found=process.returncode
        )
