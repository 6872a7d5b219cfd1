"""Settings at the master: sealed on disk, class then slot, sent to whom they belong and to nobody else."""

from __future__ import annotations

import logging
import stat
from pathlib import Path

import pytest

from firmware_mgr.link import messages as m
from firmware_mgr.link.service import MAX_SETTINGS_BYTES, Settings, SettingsKept
from firmware_mgr.master.configuration import Configuration
from firmware_mgr.master.sealed import KEY_NAME, SealedFiles
from firmware_mgr.master.settings_api import settings_document
from firmware_mgr.master.settings_desk import Change, NewFile, NewVariable
from firmware_mgr.model.errors import DeviceError, FwmgrError, UsageError
from firmware_mgr.model.ids import SlotId
from tests.master.rack_twin import SET, Rack, TwinCard

SECRET = b"correct horse battery staple"
KEY = NewFile("web/tls.key", 0o600, 33, 33, True, SECRET)
PASSWORD = NewVariable("PASSWORD", True, "hunter2hunter2")


def of_kind(messages: list[m.FromMaster]) -> list[str]:
    return [message.TYPE for message in messages]


def settings_in(messages: list[m.FromMaster]) -> Settings:
    (found,) = [message for message in messages if isinstance(message, Settings)]
    return found


async def test_settings_go_out_after_the_welcome_and_before_any_order(tmp_path: Path) -> None:
    async with Rack(tmp_path, slots=1) as rack:
        await rack.master.change_settings("slot/1", Change(hostname="web-1", files=(KEY,)))
        await rack.master.want(SlotId(1), "1", ["web=1.0"])
        card = TwinCard(rack, 1)
        told = await card.hello()
        assert of_kind(told) == ["welcome", "settings", "burn"]
        sent = settings_in(told)
        assert sent.hostname == "web-1" and b"".join(sent.files[0].content) == SECRET
        await card.report(SettingsKept(sent.digest))
        assert rack.master.slot_settings.state(rack.master.roster.get(SlotId(1)))["state"] == "kept"


async def test_a_card_that_has_them_is_not_sent_them_again(tmp_path: Path) -> None:
    async with Rack(tmp_path, slots=1) as rack:
        await rack.master.change_settings("slot/1", Change(files=(KEY,)))
        card = TwinCard(rack, 1)
        card.settings = settings_in(await card.hello()).digest
        assert "settings" not in of_kind(await card.hello())


async def test_a_change_is_told_to_a_running_card_at_once_and_a_removal_too(tmp_path: Path) -> None:
    async with Rack(tmp_path) as rack:
        card, other = TwinCard(rack, 1), TwinCard(rack, 2)
        assert "settings" not in of_kind(await card.hello())
        await other.hello()
        await rack.master.change_settings("slot/1", Change(variables=(NewVariable("LEVEL", False, "debug"),)))
        assert settings_in(card.told()).environment == {"LEVEL": "debug"}
        await rack.master.change_settings("slot/1", Change(without_variables=("LEVEL",)))
        assert settings_in(card.told()).environment == {}
        assert rack.master.slot_settings.records() == []
        assert other.told() == []


async def test_the_class_comes_first_and_the_slot_wins(tmp_path: Path) -> None:
    async with Rack(tmp_path, slots=1) as rack:
        await rack.master.roster.write(rack.master.roster.get(SlotId(1)), 1.0, card_class="edge")
        common = NewFile("motd", 0o644, 0, 0, False, b"class")
        of_class = Change(
            "edge",
            ("10.9.0.1/24",),
            (common, KEY),
            (NewVariable("A", False, "1"), NewVariable("B", False, "1")),
        )
        await rack.master.change_settings("class/edge", of_class)
        own = Change(
            files=(NewFile("motd", 0o644, 0, 0, False, b"slot"),), variables=(NewVariable("B", False, "2"),)
        )
        await rack.master.change_settings("slot/1", own)
        sent = settings_in(await TwinCard(rack, 1).hello())
        assert (sent.hostname, sent.addresses) == ("edge", ("10.9.0.1/24",))
        assert {file.path: file.content for file in sent.files} == {
            "motd": (b"slot",),
            "web/tls.key": (SECRET,),
        }
        assert sent.environment == {"A": "1", "B": "2"}


async def test_another_key_in_the_slot_gets_no_secret_before_it_is_let_in(tmp_path: Path) -> None:
    async with Rack(tmp_path, slots=1) as rack:
        await rack.master.change_settings("slot/1", Change(files=(KEY,)))
        card = TwinCard(rack, 1)
        await card.hello()
        await card.lose()
        stranger = TwinCard(rack, 1, "f" * 64)
        assert of_kind(await stranger.hello()) == ["refused"]
        await rack.master.change_settings("slot/1", Change(hostname="web-1"))
        assert stranger.told() == []
        await rack.master.approve(SlotId(1))
        assert of_kind(await stranger.hello())[:2] == ["welcome", "settings"]


async def test_a_card_of_a_wrong_type_gets_no_secret_though_its_key_is_let_in(tmp_path: Path) -> None:
    async with Rack(tmp_path, slots=1) as rack:
        await rack.master.change_settings("slot/1", Change(files=(KEY,)))
        card = TwinCard(rack, 1)
        card.board, card.cpu = "qemu-armv7", "armv7"
        assert of_kind(await card.hello()) == ["welcome", "hold"]
        await rack.master.change_settings("slot/1", Change(variables=(PASSWORD,)))
        assert card.told() == []
        state = rack.master.slot_settings.state(rack.master.roster.get(SlotId(1)))
        assert state["state"] == "withheld" and "card of a wrong type" in state["note"]


async def test_a_card_of_the_right_type_gets_its_settings_also_before_there_is_an_image_for_it(
    tmp_path: Path,
) -> None:
    async with Rack(tmp_path, slots=1) as rack:
        rack.hands.boards[1] = "qemu-armv7"
        await rack.wait(lambda: rack.master.roster.get(SlotId(1)).record.board == "qemu-armv7")
        await rack.master.change_classes(
            lambda: rack.master.wishes.create("edge", Configuration(None, {"qemu-armv7": "9"}))
        )
        await rack.master.change_settings("slot/1", Change(files=(KEY,)))
        card = TwinCard(rack, 1)
        card.board, card.cpu = "qemu-armv7", "armv7"
        assert of_kind(await card.hello()) == ["welcome", "settings", "hold"]


async def test_an_old_agent_is_not_sent_settings_and_the_user_is_told(tmp_path: Path) -> None:
    async with Rack(tmp_path, slots=1) as rack:
        await rack.master.change_settings("slot/1", Change(files=(KEY,)))
        card = TwinCard(rack, 1)
        card.protocol = 1
        assert "settings" not in of_kind(await card.hello())
        state = rack.master.slot_settings.state(rack.master.roster.get(SlotId(1)))
        assert state["state"] == "agent too old" and "burn" in state["note"]


async def test_a_card_that_cannot_keep_them_is_reported_with_its_reason(tmp_path: Path) -> None:
    async with Rack(tmp_path, slots=1) as rack:
        await rack.master.change_settings("slot/1", Change(files=(KEY,)))
        card = TwinCard(rack, 1)
        sent = settings_in(await card.hello())
        await card.report(SettingsKept(sent.digest, {"what": "no room", "where": "state"}))
        state = rack.master.slot_settings.state(rack.master.roster.get(SlotId(1)))
        assert state == {"state": "due", "note": "state: no room"}


async def test_settings_survive_the_master(tmp_path: Path) -> None:
    async with Rack(tmp_path, slots=1) as rack:
        await rack.master.change_settings("slot/1", Change(files=(KEY,), variables=(PASSWORD,)))
        before = settings_in(await TwinCard(rack, 1).hello())
        await rack.restart()
        assert settings_in(await TwinCard(rack, 1).hello()) == before


async def test_secrets_are_nowhere_in_plain_text(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with Rack(tmp_path, slots=1) as rack:
        await rack.master.change_settings("slot/1", Change(files=(KEY,), variables=(PASSWORD,)))
        card = TwinCard(rack, 1)
        await rack.master.burn_all(None, False)
        await rack.settle()
        await card.hello()
        await card.burn(SET)
        shown = str(settings_document(rack.master.slot_settings.record("slot/1")))
        listing = str((await rack.catalogue.list("settings/")).documents)
        export = (await rack.master.burn_log.export()).document.decode()
        for text in (shown, listing, export, caplog.text):
            for secret in (SECRET.decode(), PASSWORD.value):
                assert secret not in text
        assert str(len(SECRET)) in shown
        with pytest.raises(UsageError, match="a secret is not shown"):
            record = rack.master.slot_settings.record("slot/1")
            rack.master.slot_settings.content(record, record.files[0])
    for path in tmp_path.rglob("*"):
        if path.is_file():
            assert SECRET not in path.read_bytes() and PASSWORD.value.encode() not in path.read_bytes()
            if path.parent.name == "settings" or path.name == KEY_NAME:
                assert stat.S_IMODE(path.stat().st_mode) == 0o600


async def test_what_is_replaced_or_taken_away_leaves_no_sealed_file(tmp_path: Path) -> None:
    async with Rack(tmp_path, slots=1) as rack:
        await rack.master.change_settings("slot/1", Change(files=(KEY,), variables=(PASSWORD,)))
        await rack.master.change_settings("slot/1", Change(files=(KEY,)))
        assert len(list((tmp_path / "settings").iterdir())) == 2
        await rack.master.change_settings("slot/1", Change(without_all=True))
        assert list((tmp_path / "settings").iterdir()) == []


@pytest.mark.parametrize(
    "change",
    [
        Change(hostname="Not A Name"),
        Change(addresses=("10.1.2.3",)),
        Change(addresses=("10.1.2.300/24",)),
        Change(files=(NewFile("/etc/shadow", 0o600, 0, 0, True, SECRET),)),
        Change(files=(NewFile("a", 0o4755, 0, 0, True, SECRET),)),
        Change(files=(NewFile("web", 0o600, 0, 0, True, SECRET),)),
        Change(files=(NewFile("big", 0o600, 0, 0, True, SECRET * (MAX_SETTINGS_BYTES // 20)),)),
        Change(variables=(NewVariable("1X", False, ""),)),
        Change(variables=(NewVariable("X", True, "x" * 5000),)),
        Change(without_files=("no such",)),
        Change(files=(NewFile("x" * 256, 0o600, 0, 0, True, SECRET),)),
        Change(files=(NewFile("/".join(["x" * 200] * 6), 0o600, 0, 0, True, SECRET),)),
        # Bytes of the command line that are not UTF-8 come as halves of surrogate pairs.
        Change(files=(NewFile("a\udcff", 0o600, 0, 0, True, SECRET),)),
        Change(variables=(NewVariable("X", False, "\udcff"),)),
        Change(variables=(NewVariable("X", True, "\udcff"),)),
        Change(variables=(NewVariable("X\udcff", True, "x"),)),
    ],
    ids=lambda change: ascii(change)[:60],
)
async def test_what_cannot_be_is_refused_and_nothing_changes(tmp_path: Path, change: Change) -> None:
    async with Rack(tmp_path, slots=1) as rack:
        await rack.master.change_settings("slot/1", Change(files=(KEY,)))
        before = rack.master.slot_settings.records()
        with pytest.raises(UsageError) as caught:
            await rack.master.change_settings("slot/1", change)
        assert SECRET.decode() not in str(caught.value)
        assert rack.master.slot_settings.records() == before


@pytest.mark.parametrize("owner", ["slot/x", "class/", "shelf/1", "3", "slot/1/2/3"])
async def test_settings_belong_to_a_slot_or_a_class(tmp_path: Path, owner: str) -> None:
    async with Rack(tmp_path, slots=1) as rack:
        with pytest.raises(UsageError):
            await rack.master.change_settings(owner, Change(hostname="x"))


# Sealed files by themselves.


def boxes(folder: Path) -> SealedFiles:
    return SealedFiles(folder / "settings", folder / "authority")


def test_a_sealed_file_opens_for_its_purpose_only_and_not_when_altered(tmp_path: Path) -> None:
    box = boxes(tmp_path)
    name = box.seal(SECRET, "file slot/1 a")
    other = box.seal(SECRET, "file slot/2 a")
    assert boxes(tmp_path).open(name, "file slot/1 a") == SECRET
    path, swapped = tmp_path / "settings" / name, tmp_path / "settings" / other
    with pytest.raises(DeviceError, match="cannot be opened"):
        box.open(name, "file slot/2 a")
    whole = path.read_bytes()
    for changed in (whole[:-1], whole[:3], b"", bytes([whole[0] ^ 1]) + whole[1:], swapped.read_bytes()):
        path.write_bytes(changed)
        with pytest.raises(FwmgrError):
            box.open(name, "file slot/1 a")


def test_a_key_that_others_can_read_is_refused(tmp_path: Path) -> None:
    boxes(tmp_path)
    (tmp_path / "authority" / KEY_NAME).chmod(0o640)
    with pytest.raises(UsageError, match="others can read"):
        boxes(tmp_path)


def test_marks_tell_contents_apart_and_differ_from_site_to_site(tmp_path: Path) -> None:
    one, two = boxes(tmp_path / "one"), boxes(tmp_path / "two")
    assert one.mark(b"a") == one.mark(b"a") != one.mark(b"b")
    assert one.mark(b"a") != two.mark(b"a")


def test_only_what_nobody_needs_is_collected(tmp_path: Path) -> None:
    box = boxes(tmp_path)
    kept, gone = box.seal(b"1", "x"), box.seal(b"2", "x")
    (tmp_path / "settings" / "notes.txt").write_text("not ours")
    assert box.collect([kept]) == 1
    assert box.open(kept, "x") == b"1"
    assert {path.name for path in (tmp_path / "settings").iterdir()} == {kept, "notes.txt"} != {gone}


async def test_an_erasing_burn_all_says_that_what_processes_keep_is_wiped(tmp_path: Path) -> None:
    async with Rack(tmp_path, slots=1) as rack:
        assert "wiped" in (await rack.master.burn_all(None, False, erase=True)).events[0]
