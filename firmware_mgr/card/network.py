"""The card's address and its master's, from DHCP. Runs busybox's udhcpc; knows nothing of the protocol.

A card that nobody answers takes the address that it had last in its slot: what it may run without a master
would otherwise be reached by nobody. RFC 2131 §3.2 allows it; a slot's address is nobody else's.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Network
from pathlib import Path

from firmware_mgr.model.errors import DeviceError
from firmware_mgr.model.ids import SlotId

#: Written by the lease script in the boot image.
LEASE_FILE = Path("/run/fwmgr/lease.env")
LEASE_SCRIPT = Path("/etc/fwmgr/udhcpc.sh")


#: The document in the state area that holds the last lease.
LAST_LEASE = "settings/lease"
NOWHERE = "0.0.0.0"
#: Option 60 of the agent's own DHCP: the master lends an address also to an agent that it does not know yet.
AGENT_CLASS = "fwmgr-agent"
#: Seconds without an answer. udhcpc asks four times in the first four.
ANSWER_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class NetworkLease:
    """`master` is DHCP's next server (siaddr, RFC 2131 §2): who answers for netboot answers for the link.

    `text` is the lease as the script wrote it, `mac` the address of the interface that it is for.
    """

    address: str
    master: str
    hostname: str
    text: str
    mac: str = ""

    def document(self, slot: SlotId) -> bytes:
        """To be kept: the lease and the slot it was for."""
        return f"slot={slot}\n{self.text}".encode()


def read_lease(text: str) -> NetworkLease:
    """Raises DeviceError when the lease names no address or no master."""
    values = _fields(text)
    address = values.get("ip", "")
    next_server = values.get("siaddr", "")
    master = values.get("serverid", "") if next_server in ("", NOWHERE) else next_server
    if not address or not master or master == NOWHERE:
        raise DeviceError(
            "DHCP lease is not usable", where=str(LEASE_FILE), expected="ip and siaddr", found=text
        )
    return NetworkLease(address, master, values.get("hostname", ""), text)


def _fields(text: str) -> dict[str, str]:
    pairs = (line.split("=", 1) for line in text.splitlines() if "=" in line)
    return {key.strip(): value.strip().strip("'\"") for key, value in pairs}


def lease_hostname() -> str:
    """The host name that the lease gave; empty when there is none."""
    try:
        return _fields(LEASE_FILE.read_text()).get("hostname", "")
    except OSError:
        return ""


def kept_lease(document: bytes | None, slot: SlotId) -> str | None:
    """The text of the lease that `document` keeps; None when there is none, or it was another slot's."""
    try:
        text = (document or b"").decode()
        read_lease(text)
        script_words(text)
    except (UnicodeDecodeError, DeviceError):
        return None
    return text if _fields(text).get("slot") == str(slot) else None


def script_words(text: str) -> dict[str, str]:
    """A kept lease in the words in which udhcpc hands one to its script. Raises DeviceError."""
    values = _fields(text)
    try:
        prefix = IPv4Network(f"0.0.0.0/{values['subnet']}").prefixlen
    except (KeyError, ValueError) as e:
        raise DeviceError("kept lease has no netmask", where=LAST_LEASE, found=text) from e
    names = ("interface", "ip", "subnet", "router", "siaddr", "serverid", "lease", "hostname")
    return {name: values.get(name, "") for name in names} | {"mask": str(prefix)}


async def bring_up(interface: str) -> None:
    """Set the interface up and have udhcpc get a lease and renew it from then on. Raises DeviceError."""
    LEASE_FILE.parent.mkdir(parents=True, exist_ok=True)
    LEASE_FILE.unlink(missing_ok=True)
    await _run("ip", "link", "set", interface, "up")
    # It retries for ever, and goes to the background of its own once it holds a lease.
    await _run(
        "udhcpc",
        "-i",
        interface,
        "-V",
        AGENT_CLASS,
        "-t",
        "4",
        "-T",
        "1",
        "-A",
        "2",
        "-s",
        str(LEASE_SCRIPT),
        "-S",
        "-b",
    )


async def wait_lease(last: str | None) -> NetworkLease:
    """The lease as it stands now, or as soon as there is one; when nobody answers, the `last` one.

    Raises DeviceError when it is not usable, or nobody answers and there is no last one.
    """
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            while not LEASE_FILE.exists():
                await asyncio.sleep(0.1)
    except TimeoutError as e:
        if last is None:
            raise DeviceError(
                "no answer to DHCP", where="network", expected=f"one within {ANSWER_SECONDS:g} s"
            ) from e
        # udhcpc goes on asking: a lease that comes after all takes this one's place.
        await _run(str(LEASE_SCRIPT), "bound", program=(), words=script_words(last))
    return read_lease(LEASE_FILE.read_text())


async def _run(
    *command: str, program: tuple[str, ...] = ("busybox",), words: Mapping[str, str] | None = None
) -> None:
    process = await asyncio.create_subprocess_exec(
        *program, *command, stdin=asyncio.subprocess.DEVNULL, env={**os.environ, **(words or {})}
    )
    if await process.wait() != 0:
        raise DeviceError(
            "network set-up failed", where=" ".join(command), expected="exit 0", found=process.returncode
        )
