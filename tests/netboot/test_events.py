from __future__ import annotations

import json
from ipaddress import IPv4Address

from firmware_mgr.model.ids import MacAddress, SlotId
from firmware_mgr.netboot.events import DhcpDecided, NetProtocol, Outcome, TransferEnded


def test_events_become_json() -> None:
    mac, slot = MacAddress("52:54:00:12:34:56"), SlotId(3, shelf=2)
    address = IPv4Address("10.0.0.3")
    decided = DhcpDecided(
        mac, slot, "discover", "offer", "the card's address", address, client="UEFI PXE", architectures=(7, 9)
    )
    ended = TransferEnded(None, NetProtocol.TFTP, "x", "10.0.0.3:5", 0, Outcome.REFUSED, "absent", 0.5)
    assert json.loads(json.dumps(decided.document())) == {
        "event": "DhcpDecided",
        "mac": "52:54:00:12:34:56",
        "slot": "2/3",
        "message": "discover",
        "decision": "offer",
        "reason": "the card's address",
        "address": "10.0.0.3",
        "misfit": None,
        "client": "UEFI PXE",
        "vendor_class": "",
        "architectures": [7, 9],
        "uuid": "",
        "relay": None,
        "port": "",
    }
    assert json.loads(json.dumps(ended.document()))["slot"] is None
    assert ended.document()["outcome"] == "refused"
