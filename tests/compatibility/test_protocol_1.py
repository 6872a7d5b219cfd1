"""The code of an agent of protocol 1 against today's master, message by message (issue 3, "done when" 5)."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from firmware_mgr.link import messages as m
from firmware_mgr.link import service as sv
from firmware_mgr.link.frames import FrameReader, encode_frame
from firmware_mgr.link.session import Session
from firmware_mgr.master.link_server import Link
from firmware_mgr.model.errors import PeerError
from firmware_mgr.model.ids import Digest, SlotId
from tests.compatibility.golden import unpack_agent
from tests.link.test_messages import FROM_MASTER
from tests.master.rack_twin import NEW_IMAGE, NO_STREAM, SET, Rack, TwinCard, burned, pristine

#: What a boot image of that agent says of itself: today's words for it may be others.
OLD_FIELDS = ("table", "control", "boot_a", "boot_b", "store", "packages", "size", "free")


class OldCard:
    """A link to a rack's master whose card end is the old code."""

    def __init__(self, folder: Path) -> None:
        code = unpack_agent(folder).parent
        script = Path(__file__).with_name("old_peer.py")
        self._process = subprocess.Popen(
            [sys.executable, "-P", str(script)],
            env={"PYTHONPATH": str(code)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._frames = FrameReader()

    def close(self) -> None:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(10)
        self._process.stdout.close()

    def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        answer: dict[str, Any] = json.loads(self._process.stdout.readline())
        return answer

    def says(self, document: dict[str, Any]) -> m.FromCard:
        """What today's code understands of what the old code sends."""
        answer = self._ask({"say": document})
        assert "frame" in answer, answer
        self._frames.feed(bytes.fromhex(answer["frame"]))
        received = self._frames.next_document()
        assert received is not None
        return m.read_from_card(received)

    def hears(self, document: dict[str, Any]) -> dict[str, Any]:
        """What the old code understands of a document of the master."""
        answer = self._ask({"hear": encode_frame(document).hex()})
        assert "heard" in answer, answer
        (heard,) = answer["heard"]
        return dict(heard)


@pytest.fixture
def old(tmp_path: Path) -> Iterator[OldCard]:
    card = OldCard(tmp_path / "agent-1")
    yield card
    card.close()


class OldLink:
    """The old card in a slot of a rack."""

    def __init__(self, rack: Rack, old: OldCard) -> None:
        self.rack, self.old = rack, old
        self.twin = TwinCard(rack, 1)
        self.link = Link(
            self.twin.address, SlotId(1), self.twin.fingerprint, Session("slot 1"), _stream=NO_STREAM
        )
        self.twin.link = self.link

    async def hello(self, **changes: Any) -> list[str]:
        flash = m.to_document(m.Stored(SET.digest, 0, 0, "a", False, 0.0, pristine()), 1)["flash"]
        document: dict[str, Any] = {
            "type": "hello", "agent_version": "0.1", "slot": "1", "board": "qemu-aarch64", "cpu": "aarch64",
            "boot_source": "netboot", "boot_version": "1", "flash": flash, "believes": None, "sets": [],
            "running_set": None, "boot_seconds": 4.0, "boot_id": "old boot", "key_renewed": False, **changes,
        }  # fmt: skip
        message = self.old.says(document)
        assert isinstance(message, m.Hello) and message.protocol == 1
        self.link.session.card_said(message)
        await self.rack.master.conversation.greeted(self.link, message)
        return self.told()

    async def report(self, document: dict[str, Any]) -> list[str]:
        message = self.old.says(document)
        self.link.session.card_said(message)
        await self.rack.master.conversation.reported(self.link, message)
        await self.rack.settle()
        return self.told()

    def told(self) -> list[str]:
        """What the master said. The old code understood it whole: nothing is said that it does not know."""
        kinds = []
        for message in self.twin.told():
            document = m.to_document(message, self.link.session.version)
            assert self.old.hears(document) == document
            kinds.append(message.TYPE)
        return kinds


async def test_an_old_card_is_burned_restarted_and_run_by_todays_master(tmp_path: Path, old: OldCard) -> None:
    async with Rack(tmp_path, slots=1) as rack:
        await rack.master.burn_all(None, False)
        card = OldLink(rack, old)
        assert await card.hello() == ["welcome", "burn"]
        assert card.link.session.version == 1
        await card.report({"type": "progress", "step": "boot image", "done": 1, "total": 2, "written": 1})
        flash = m.to_document(m.Stored(SET.digest, 0, 0, "a", False, 0.0, burned(SET, "a")), 1)["flash"]
        assert set(flash) == set(OLD_FIELDS)
        stored = {
            "type": "stored", "set_digest": str(SET.digest), "boot_bytes_written": 10,
            "package_bytes_written": 20, "boot_partition": "a", "reboot_needed": True, "seconds": 1.0,
            "flash": flash,
        }  # fmt: skip
        assert await card.report(stored) == ["hold"]
        assert rack.state(1) == "booting"


async def test_an_old_card_in_service_is_brought_to_todays_image(tmp_path: Path) -> None:
    async with Rack(tmp_path, slots=1) as rack:
        flash = m.to_document(m.Stored(SET.digest, 0, 0, "a", False, 0.0, burned(SET, "a")), 1)["flash"]
        hello = {
            "boot_source": "a", "flash": flash, "believes": SET.document(), "sets": [SET.document()],
        }  # fmt: skip
        running = {
            "type": "running", "set_digest": str(SET.digest), "control": flash["control"],
            "processes": [{"name": "web", "pid": 7, "state": "ready", "detail": ""}],
        }  # fmt: skip
        first = OldCard(tmp_path / "first")
        await rack.master.want(SlotId(1), "1", ["web=1.0"])
        card = OldLink(rack, first)
        assert await card.hello(**hello) == ["welcome", "run"]
        await card.report(running)
        assert rack.state(1) == "in service"
        await rack.add(NEW_IMAGE)
        await rack.master.want(SlotId(1), "2", None)
        first.close()
        second = OldCard(tmp_path / "second")
        again = OldLink(rack, second)
        assert await again.hello(**hello, boot_seconds=5.0) == ["welcome", "burn"]
        second.close()


def test_every_message_of_version_1_is_understood_whole(tmp_path: Path) -> None:
    """Also those that no test of the service brings about, with every optional member filled."""
    old = OldCard(tmp_path)
    flash = m.to_document(m.Stored(SET.digest, 0, 0, "a", False, 0.0, pristine()), 1)["flash"]
    old.says({
        "type": "hello", "agent_version": "0", "slot": "1", "board": "b", "cpu": "aarch64", "flash": flash,
        "boot_source": "a", "boot_version": "1", "believes": None, "sets": [], "running_set": None,
        "boot_seconds": 1.0, "boot_id": "x",
    })  # fmt: skip
    known = [message for message in FROM_MASTER if m.SINCE[type(message)] == 1]
    order = sorted(
        known, key=lambda message: (not isinstance(message, m.Welcome), isinstance(message, m.Refused))
    )
    for message in order:
        said = replace(message, protocol=1) if isinstance(message, m.Welcome) else message
        document = m.to_document(said, 1)
        assert old.hears(document) == document
    old.close()


async def test_nothing_of_version_2_is_said_to_an_old_card(tmp_path: Path, old: OldCard) -> None:
    async with Rack(tmp_path, slots=1) as rack:
        await rack.master.burn_all(None, False)
        card = OldLink(rack, old)
        await card.hello()
        with pytest.raises(PeerError, match="newer version than was agreed"):
            card.link.send(sv.Settings(Digest.of(b"settings")))
        with pytest.raises(PeerError, match="newer version than was agreed"):
            card.link.session.card_said(sv.Kept(1))
