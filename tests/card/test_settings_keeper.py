"""Settings on a card: kept whole through every power cut, in effect at once in RAM, removed when removed."""

from __future__ import annotations

import asyncio
import stat
from pathlib import Path

import pytest

from firmware_mgr.card.settings_files import lay_out, variables
from firmware_mgr.card.settings_keeper import CURRENT, OF_SLOT, SettingsKeeper, read_kept, write_kept
from firmware_mgr.flash.device import MemoryDevice
from firmware_mgr.flash.store import Store
from firmware_mgr.link.service import CONTENT_PIECE, MAX_SETTINGS_BYTES, Settings, SettingsFile
from firmware_mgr.model.errors import DeviceError, UsageError
from firmware_mgr.model.ids import Digest, SlotId
from tests.flash.cuts import copied_from, every_cut

SIZE = 4 << 20
SLOT = SlotId(1)
KEY = SettingsFile("web/tls.key", 0o600, 0, 0, (b"k" * CONTENT_PIECE, b"\0\xffrest"), secret=True)
OLD = Settings(Digest.of(b"old"), "web-1", ("10.9.0.1/24",), (KEY,), {"LEVEL": "debug"})
NEW = Settings(Digest.of(b"new"), "", (), (SettingsFile("motd", 0o644, 0, 0, (b"hello",)),))
NONE = Settings(Digest.of(b"none"))


class Host:
    """Remembers how it was dressed; `refuses` makes it fail."""

    def __init__(self) -> None:
        self.dressed: list[tuple[str, tuple[str, ...]]] = []
        self.refuses = False

    async def dress(self, hostname: str, addresses: tuple[str, ...]) -> None:
        if self.refuses:
            raise DeviceError("address cannot be set", where="eth0")
        self.dressed.append((hostname, addresses))


def fresh(settings: Settings | None = None) -> MemoryDevice:
    device = MemoryDevice(SIZE)
    store = Store.format(device, store_id=bytes(16))
    store.commit({"identity/key": b"key"})
    if settings is not None:
        write_kept(store, settings, SLOT)
    return device


def test_a_cut_at_any_write_leaves_the_old_settings_or_the_new_ones_whole() -> None:
    contents = fresh(OLD).contents()
    seen = set()
    for device, case in every_cut(
        copied_from(contents), lambda device: write_kept(Store.open(device), NEW, SLOT), outcomes=2
    ):
        store = Store.open(device)
        kept = read_kept(store)
        assert kept in (OLD, NEW), case
        assert store.document("identity/key") == b"key", case
        seen.add(kept.digest if kept else None)
        write_kept(store, NEW, SLOT)
        assert read_kept(Store.open(device)) == NEW, case
    assert seen == {OLD.digest, NEW.digest}


def test_what_is_replaced_leaves_no_bytes_in_the_index() -> None:
    device = fresh(OLD)
    store = Store.open(device)
    write_kept(store, NEW, SLOT)
    assert len(list(store.blobs())) == 1


def test_settings_that_cannot_be_read_count_as_none_and_do_not_stop_the_card() -> None:
    store = Store.open(fresh(OLD))
    store.commit({CURRENT: Digest.of(b"gone").hex.encode()})
    assert read_kept(store) is None
    store.commit({CURRENT: b"nonsense"})
    assert read_kept(store) is None


async def test_a_card_starts_with_what_it_kept_and_says_which(tmp_path: Path) -> None:
    store = Store.open(fresh(OLD))
    host = Host()
    keeper = SettingsKeeper(host, lambda: store, asyncio.Lock(), lambda: SLOT)
    assert keeper.digest is None
    keeper.load()
    await keeper.dress_host()
    assert keeper.current == OLD and keeper.digest == OLD.digest
    assert host.dressed == [("web-1", ("10.9.0.1/24",))]


async def test_a_card_that_was_moved_does_not_use_the_settings_of_its_old_slot() -> None:
    """It has told its master that it lacks something, and keeps what it is sent: nothing, too."""
    store = Store.open(fresh(OLD))
    host = Host()
    keeper = SettingsKeeper(host, lambda: store, asyncio.Lock(), lambda: SlotId(2))
    keeper.load()
    await keeper.dress_host()
    assert keeper.current is None and host.dressed == [("", ())]
    assert keeper.digest not in (None, OLD.digest)
    keeper.current = NONE
    assert (await keeper.keep(NONE)).error == {}
    again = SettingsKeeper(host, lambda: store, asyncio.Lock(), lambda: SlotId(2))
    again.load()
    assert (again.current, again.digest) == (NONE, NONE.digest)


async def test_settings_that_an_older_agent_kept_are_used() -> None:
    store = Store.open(fresh(OLD))
    store.commit({OF_SLOT: None})
    keeper = SettingsKeeper(Host(), lambda: store, asyncio.Lock(), lambda: SlotId(2))
    keeper.load()
    assert keeper.current == OLD


async def test_settings_before_the_first_burn_are_kept_as_soon_as_there_is_flash() -> None:
    stores: list[Store | None] = [None]
    keeper = SettingsKeeper(Host(), lambda: stores[0], asyncio.Lock(), lambda: SLOT)
    keeper.current = OLD
    told = await keeper.keep(OLD)
    assert told.error["what"] == "there is no state area yet" and keeper.digest is None
    assert await keeper.catch_up() is None
    stores[0] = Store.open(fresh())
    later = await keeper.catch_up()
    assert later is not None and not later.error and keeper.digest == OLD.digest
    assert await keeper.catch_up() is None


async def test_of_two_settings_in_a_row_the_last_is_kept() -> None:
    store = Store.open(fresh(OLD))
    lock = asyncio.Lock()
    keeper = SettingsKeeper(Host(), lambda: store, lock, lambda: SLOT)
    keeper.load()
    await lock.acquire()  # a burn is under way
    works = []
    for settings in (NEW, NONE):
        keeper.current = settings
        works.append(asyncio.create_task(keeper.keep(settings)))
    lock.release()
    await asyncio.gather(*works)
    assert read_kept(store) == NONE and keeper.digest == NONE.digest


async def test_a_host_that_cannot_be_dressed_does_not_lose_the_settings() -> None:
    store = Store.open(fresh())
    host = Host()
    host.refuses = True
    keeper = SettingsKeeper(host, lambda: store, asyncio.Lock(), lambda: SLOT)
    keeper.current = NEW
    assert (await keeper.keep(NEW)).error == {}
    assert read_kept(store) == NEW


def test_files_have_their_modes_and_nothing_else_lies_there(tmp_path: Path) -> None:
    place = tmp_path / "settings"
    lay_out(OLD, place)
    key = place / "web" / "tls.key"
    assert key.read_bytes() == b"".join(KEY.content)
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert stat.S_IMODE((place / "web").stat().st_mode) == 0o755
    lay_out(NEW, place)
    assert [path.name for path in place.rglob("*")] == ["motd"]
    lay_out(None, place)
    assert list(place.iterdir()) == []


def test_variables_of_the_agent_cannot_be_given() -> None:
    given = Settings(Digest.of(b"x"), environment={"NOTIFY_SOCKET": "/tmp/x", "LEVEL": "1"})
    assert variables(given) == {"LEVEL": "1"} and variables(None) == {}


@pytest.mark.parametrize("path", ["/etc/passwd", "../up", "a//b", "a/./b", "", "a/", "a\0b"])
def test_a_path_that_leads_elsewhere_is_refused(path: str) -> None:
    with pytest.raises(UsageError, match="not a settings file's path"):
        SettingsFile(path, 0o600, 0, 0, ())


def test_settings_are_bounded_and_files_do_not_hide_one_another() -> None:
    piece = b"x" * CONTENT_PIECE
    many = (piece,) * (MAX_SETTINGS_BYTES // CONTENT_PIECE + 1)
    with pytest.raises(UsageError, match="too large"):
        Settings(Digest.of(b"x"), files=(SettingsFile("a", 0o600, 0, 0, many),))
    pair = (SettingsFile("a", 0o600, 0, 0, ()), SettingsFile("a/b", 0o600, 0, 0, ()))
    with pytest.raises(UsageError, match="hide one another"):
        Settings(Digest.of(b"x"), files=pair)
