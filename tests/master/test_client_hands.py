"""The master's hands over a chassis that is started anew."""

from __future__ import annotations

from pathlib import Path

import pytest

from firmware_mgr.app.master import ClientHands
from firmware_mgr.model.errors import DeviceError, PeerError
from firmware_mgr.rack.client import HandsClient
from firmware_mgr.rack.hands import HandsStatus, SlotRegister


class TwinClient(HandsClient):
    """A daemon in one network or another, or gone."""

    def __init__(self) -> None:
        super().__init__(Path("/nowhere"))
        self.network = "one"
        self.gone = False

    async def status(self) -> HandsStatus:
        if self.gone:
            raise PeerError("nothing answers here")
        return HandsStatus(
            "twin", 1, Path("/"), self.network, "10.77.0.1/24", ("ip", "netns", "exec", self.network)
        )

    async def slots(self) -> list[SlotRegister]:
        if self.gone:
            raise PeerError("nothing answers here")
        return []


async def gone_for_a_while(client: TwinClient, hands: ClientHands) -> None:
    assert await hands.slots() == []
    client.gone = True
    with pytest.raises(PeerError):
        await hands.slots()
    client.gone = False


async def test_a_daemon_that_comes_back_in_the_same_network_is_used_on() -> None:
    client = TwinClient()
    hands = ClientHands(client)
    await gone_for_a_while(client, hands)
    assert await hands.slots() == []
    assert not hands.moved.is_set()


async def test_a_daemon_in_another_network_ends_the_master() -> None:
    client = TwinClient()
    hands = ClientHands(client)
    await gone_for_a_while(client, hands)
    client.network = "two"
    with pytest.raises(DeviceError, match="started anew, in another network"):
        await hands.slots()
    assert hands.moved.is_set()
