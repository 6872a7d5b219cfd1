"""The backplane network: a namespace of its own, a bridge in it, a tap for each slot that needs one.

Knows links and namespaces. Refuses to know machines. What it makes is in a NetworkRecord before it is made.
"""

from __future__ import annotations

import ipaddress
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pyroute2 import IPRoute, NetNS, netns
from pyroute2.netlink.exceptions import NetlinkError

from firmware_mgr.lab.plan import ChassisPlan, label
from firmware_mgr.lab.record import NetworkRecord
from firmware_mgr.model.errors import DeviceError, UsageError

#: Where named network namespaces are mounted (ip-netns(8)).
NAMESPACES = Path("/var/run/netns")
#: The backplane's bridge.
BRIDGE = "br0"
_OUR_NAME = re.compile(r"fwmgr-[0-9a-f]{8}")
_TUN = Path("/dev/net/tun")
#: What makes a user and network namespace without root; it becomes the daemon itself, with the same pid.
UNSHARE = ("unshare", "--user", "--map-root-user", "--net", "--")


def plan_network(plan: ChassisPlan) -> NetworkRecord:
    """What the backplane will be called."""
    name = None if plan.rootless else f"fwmgr-{secrets.token_hex(4)}"
    # In-process cards are on the bridge itself.
    taps = () if plan.sim else tuple(f"slot{label(slot)}" for slot in plan.slots)
    return NetworkRecord(name, BRIDGE, taps, plan.address)


def make_network(record: NetworkRecord) -> None:
    """Make it, and move this process into it: machines started from now on are on the backplane.

    To be called before there are other threads. Raises DeviceError.
    """
    if record.taps:
        _check_tun()
    with _network_faults(record):
        if record.name is not None:
            netns.create(record.name)
            netns.setns(record.name, flags=0)
        with IPRoute() as links:
            links.link("set", index=_index(links, "lo"), state="up")
            # A port held in its learning delay keeps a card off the backplane for 15 s.
            links.link("add", ifname=record.bridge, kind="bridge", br_forward_delay=0, br_stp_state=0)
            bridge = _index(links, record.bridge)
            interface = ipaddress.IPv4Interface(record.address)
            links.addr("add", index=bridge, address=str(interface.ip), prefixlen=interface.network.prefixlen)
            links.link("set", index=bridge, state="up")
            for tap in record.taps:
                links.link("add", ifname=tap, kind="tuntap", mode="tap")
                links.link("set", index=_index(links, tap), master=bridge, state="up")


def remove_network(record: NetworkRecord) -> None:
    """Remove its links and its name; what is not there any more is left alone. Raises DeviceError.

    The network of a user namespace went with its last process, so there is nothing to do for it.
    """
    if record.name is None:
        return
    if not _OUR_NAME.fullmatch(record.name):
        raise UsageError("not a network of ours", expected=_OUR_NAME.pattern, found=record.name)
    if not (NAMESPACES / record.name).exists():
        return
    with _network_faults(record):
        if _is_mounted(NAMESPACES / record.name):
            with NetNS(record.name, flags=0) as links:
                for name in (*record.taps, record.bridge):
                    for index in links.link_lookup(ifname=name):
                        links.link("del", index=index)
        netns.remove(record.name)


def enter_command(record: NetworkRecord, pid: int) -> tuple[str, ...]:
    """The beginning of a command line that runs the rest in the namespace of the daemon `pid`."""
    user = () if record.name is not None else ("-U", "--preserve-credentials")
    return ("nsenter", "-t", str(pid), *user, "-n", "--")


def _check_tun() -> None:
    if not os.access(_TUN, os.R_OK | os.W_OK):
        raise DeviceError(
            "cannot make a tap",
            where=str(_TUN),
            expected="a device that this user may open",
            found="closed to this user" if _TUN.exists() else "no such device",
            hint="run as root, or as root once: chmod 666 /dev/net/tun",
        )


def _index(links: IPRoute, name: str) -> int:
    found = links.link_lookup(ifname=name)
    if not found:
        raise DeviceError("the link is not there", where=name)
    return int(found[0])


def _is_mounted(path: Path) -> bool:
    """Whether a namespace is mounted here; making one and dying midway leaves a mere file."""
    return path.stat().st_dev != path.parent.stat().st_dev


@contextmanager
def _network_faults(record: NetworkRecord) -> Iterator[None]:
    where = record.name or "the chassis' user namespace"
    try:
        yield
    except NetlinkError as e:
        raise DeviceError("the backplane network failed", where=where, found=str(e)) from e
    except OSError as e:
        hint = "run as root, or with --rootless" if os.geteuid() != 0 else ""
        found = e.strerror or str(e)
        raise DeviceError("the backplane network failed", where=where, found=found, hint=hint) from e
