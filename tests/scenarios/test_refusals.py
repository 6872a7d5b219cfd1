"""Issue 2, done when 5: who and what is refused, with which words, and that nothing is written."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import pytest

from firmware_mgr.link.messages import LINK_PORT
from firmware_mgr.model.ids import SlotId
from firmware_mgr.rack.hands import PowerAction
from tests.scenarios import strangers
from tests.scenarios.provisioned import Provisioned
from tests.scenarios.regions import digests, digests_of
from tests.scenarios.rig import Rig
from tests.scenarios.software import ask, fwmgr
from tests.scenarios.stage import Stage
from tests.scenarios.waiting import wait_until
from tests.scenarios.words import Words

REFUSED = 60.0


def _unwritten(flash: Path) -> dict[str, str]:
    """What must not change; the loader counts starts in control, as it does at every start."""
    return {name: digest for name, digest in digests(flash).items() if name != "control"}


def _files(rig: Rig) -> set[Path]:
    return {path for path in rig.master.blobs.rglob("*") if path.is_file()}


REFUSED_CODE, WRONG_USAGE_CODE = 1, 2


def _assert_refused(rig: Rig, command: tuple[str | Path, ...], *words: str, code: int = REFUSED_CODE) -> None:
    """A command ends with that code, says these words, and leaves the master as it was."""
    before = _files(rig), rig.client.get("/v1/images"), rig.client.get("/v1/packages")
    said = ask(*command, "--dir", rig.master.directory)
    text = " ".join(said.error.split())
    assert said.code == code, f"{command}: {said}"
    for word in words:
        assert word in text, f"no “{word}” in: {text}"
    assert (_files(rig), rig.client.get("/v1/images"), rig.client.get("/v1/packages")) == before


@pytest.mark.qemu
def test_packages_that_are_unsigned_altered_or_a_strangers_are_not_taken(
    provisioned: Provisioned, burned: Rig, tmp_path: Path
) -> None:
    burned.start_master()
    site = provisioned.site
    key = strangers.stranger_key(tmp_path / "keys")
    package = strangers.strangers_package(tmp_path, key)
    _assert_refused(burned, ("package", "add", package), "strangers.fwp", "expected", "found", "key")

    unsigned = strangers.unsigned_package(site, tmp_path / "unsigned.fwp")
    _assert_refused(burned, ("package", "add", unsigned), "unsigned.fwp", "signature")
    for name, at in (("table.fwp", 0.02), ("middle.fwp", 0.5), ("end.fwp", 0.999)):
        altered = strangers.altered_package(site, tmp_path / name, at)
        _assert_refused(burned, ("package", "add", altered), name, "expected", "found")


@pytest.mark.qemu
def test_image_for_another_cpu_or_board_is_not_taken(
    provisioned: Provisioned, burned: Rig, tmp_path: Path
) -> None:
    burned.start_master()
    slot = burned.slots[0]
    foreign = strangers.image_for_another_cpu(provisioned.site, tmp_path / "x86")
    _assert_refused(burned, ("image", "add", foreign), "x86", "expected", "aarch64", "found", "x86_64")

    other = strangers.image_for_another_board(provisioned.site, tmp_path / "other")
    _assert_refused(burned, ("image", "add", other), "expected qemu-aarch64", "found other-card")

    wanted = burned.card(slot)["record"]["wanted"]
    command = ("card", "want", str(slot), "--image", "other")
    words = ("no such boot image", "board qemu-aarch64", "expected", "found other")
    _assert_refused(burned, command, *words, code=WRONG_USAGE_CODE)
    assert burned.card(slot)["record"]["wanted"] == wanted


@pytest.mark.qemu
def test_a_package_whose_key_came_after_the_image_is_refused_before_a_card_is_touched(
    provisioned: Provisioned, burned: Rig, tmp_path: Path
) -> None:
    """Cards trust whom their boot images' root of trust lists, and the master knows who that is.

    What a card that it hears would follow is another matter: this one has no power.
    """
    slot = burned.slots[0]
    key = strangers.stranger_key(tmp_path / "keys")
    package = strangers.strangers_package(tmp_path, key)
    burned.start_master()
    directory = burned.master.directory
    desk = replace(provisioned.site.desk, master=burned.master)
    desk.change(2, ("add-key", key, "--role", "release"))
    fwmgr("package", "add", package, "--dir", directory)
    before, wanted = _unwritten(burned.paths(slot).flash), burned.card(slot)["record"]["wanted"]
    command = ("card", "want", str(slot), "--package", "lighttpd")
    words = ("the card would refuse a package", "may not sign packages", "expected", "found", "next")
    _assert_refused(burned, command, *words, code=WRONG_USAGE_CODE)
    assert burned.card(slot)["record"]["wanted"] == wanted
    assert _unwritten(burned.paths(slot).flash) == before


def _wait_refusal(rig: Words, slot: SlotId) -> dict[str, str]:
    refusal: dict[str, str] = rig.wait_until(
        f"the card in slot {slot} is refused",
        lambda: rig.card(slot)["refusal"],
        REFUSED,
        describe=rig.situation,
    )
    return refusal


def _unwritten_on(stage: Stage, slot: SlotId) -> dict[str, str]:
    with stage.flash(slot) as device:
        return {name: digest for name, digest in digests_of(device).items() if name != "control"}


def test_card_in_a_slot_that_has_another_key_pinned_waits_for_approval(stage: Stage) -> None:
    """Two cards of one board change places."""
    rig = stage.burned()
    one, two = stage.two_of_one_board()
    stage.put_back_flash(one, of=two)
    stage.put_back_flash(two, of=one)
    before = {slot: _unwritten_on(stage, slot) for slot in (one, two)}
    rig.start_master()
    keys = {slot: rig.card(slot)["record"]["key_fingerprint"] for slot in (one, two)}
    for slot in (one, two):
        rig.power(slot, PowerAction.ON)
    for slot, other in ((one, two), (two, one)):
        refusal = _wait_refusal(rig, slot)
        assert refusal["what"] == "card shows another key than the one pinned for its slot"
        assert refusal["where"] == f"slot {slot}"
        assert refusal["expected"] == f"key {keys[slot][:16]}"
        assert refusal["found"] == f"key {keys[other][:16]}"
        assert not rig.card(slot)["in_service"]
        assert f"slot {slot}: refused" in rig.listed()
        assert f"fwmgr card approve {slot}" in " ".join(rig.show(slot).split())
    rig.all_off()
    assert {slot: _unwritten_on(stage, slot) for slot in (one, two)} == before

    for slot in (one, two):
        rig.take_out(slot)
        rig.power(slot, PowerAction.ON)
    assert rig.says("card", "approve", str(one)).code == 0
    rig.wait_in_service(one)
    assert not rig.card(two)["in_service"]


@pytest.mark.qemu
def test_card_of_another_site_is_refused_and_keeps_what_it_has(
    provisioned: Provisioned, burned: Rig, tmp_path: Path
) -> None:
    """Its boot image trusts another authority, which also signed its certificate."""
    slot = burned.slots[0]
    elsewhere, authority = strangers.another_site(tmp_path / "elsewhere")
    elsewhere.build_image(tmp_path / "image", version="elsewhere")
    flash = burned.paths(slot).flash
    strangers.give_image(flash, tmp_path / "image", "a")
    strangers.give_identity(flash, authority, slot)
    before = _unwritten(flash)
    burned.start_master()
    since = burned.console_number(slot)
    burned.power(slot, PowerAction.ON)
    burned.wait_for_line(slot, "certificate verify failed", after=since, within=REFUSED)
    refusal = _wait_refusal(burned, slot)
    assert refusal["where"] == "link from 10.77.0.11"
    assert {"what", "expected", "found"} <= refusal.keys()
    burned.power(slot, PowerAction.OFF)
    assert _unwritten(flash) == before


@pytest.mark.qemu
def test_client_with_a_foreign_certificate_is_refused(burned: Rig, tmp_path: Path) -> None:
    """Whoever it is: it takes this master for its own, and shows a certificate of another authority."""
    _, authority = strangers.another_site(tmp_path / "elsewhere")
    file = strangers.client_files(tmp_path, authority, burned.slots[0])
    burned.start_master()
    burned.enter(sys.executable, "-c", strangers.KNOCK, "10.77.0.1", str(LINK_PORT), str(file))
    refusal = wait_until("the refusal is told", burned.refusals, REFUSED)[-1]
    assert refusal["what"] == "card certificate refused"
    assert refusal["where"].startswith("link from ")
    assert refusal["expected"] == "a certificate of this site's authority"
    assert refusal["found"]
    assert not any(card["linked"] for card in burned.cards().values())
