"""One file fills an empty master, and every card gets what it says, in process: docs/COMPOSITES.md."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from firmware_mgr.app.sim_system import SimSystem
from firmware_mgr.lab.sim.software import BUILD_DATE, web_package
from firmware_mgr.link.messages import PackageReport
from firmware_mgr.master.service import Master
from firmware_mgr.master.site import write_trust
from firmware_mgr.model.errors import DeviceError, FwmgrError, UsageError
from firmware_mgr.model.ids import CpuArch, SlotId
from firmware_mgr.package.bundle import WHOM_IT_FITS, Targets
from firmware_mgr.package.card_information import CardEntry, CardInformation, CardWish
from firmware_mgr.package.contents import Group, ModuleKind
from firmware_mgr.package.keyring import Keyring
from firmware_mgr.package.layout import EnvelopeKind
from firmware_mgr.package.trust import Role
from firmware_mgr.packaging.build import ModuleSource, PackageHead, build_package
from firmware_mgr.packaging.compose import (
    BundleHead,
    MemberSource,
    build_bundle,
    image_member,
    information_member,
    package_member,
)
from firmware_mgr.packaging.keys import SigningKey
from firmware_mgr.rack.hands import PowerAction

A, X = "sim-aarch64", "sim-x86-64"
BOARDS = (A, X, A, A)

#: Slots 1 and 3 are routers by name, all x86 cards switches, slot 4 is in no class; 2/7 is not there yet.
INFORMATION = CardInformation(
    classes={
        "router": CardWish({A: "1.0"}, ("tools=3", "web"), ("routing",)),
        "switch": CardWish(packages=("tools", "web=1.0"), features=("switching",)),
    },
    cards=(
        CardEntry(SlotId(1), None, CardWish(), "router", "rack 5, left"),
        CardEntry(SlotId(3), None, CardWish(features=("routing", "switching")), "router"),
        CardEntry(SlotId(7), None, CardWish(packages=("web",)), "switch", "rack 5, empty"),
        CardEntry(None, X, CardWish(), "switch", "the other rack"),
    ),
    preferred_packages={"web": "1.0"},
)


def tools(key: SigningKey, version: str = "3", *, build_date: int = BUILD_DATE, data: bytes = b"") -> bytes:
    def module(path: str, *groups: str) -> ModuleSource:
        return ModuleSource(path, ModuleKind.DATA, path.encode() * 50 + data, groups=groups)

    groups = (Group("routing", wanted=False), Group("switching", wanted=False))
    modules = [
        module("usr/share/tools/common"),
        module("usr/share/tools/route", "routing"),
        module("usr/share/tools/switch", "switching"),
        module("usr/share/tools/vlan", "switching"),
    ]
    return build_package(PackageHead("tools", version, build_date, groups=groups), modules, [key])


def members(system: SimSystem, *packages: bytes, boards: tuple[str, ...] = (A, X)) -> list[MemberSource]:
    images = system.directory / "images"
    for board in boards:
        if not (images / f"{board}-1.0").exists():
            system.build_image(board, "1.0")
    made = [image_member(images / f"{board}-1.0") for board in boards]
    for number, data in enumerate(packages):
        path = system.directory / f"member-{number}.fwp"
        path.write_bytes(data)
        made.append(package_member(path))
    return made


def composite(
    system: SimSystem,
    sources: list[MemberSource],
    information: CardInformation | None = INFORMATION,
    *,
    key: SigningKey | None = None,
    targets: Targets = WHOM_IT_FITS,
    version: str = "7",
) -> dict[str, str]:
    """Made and named as the API wants it."""
    parts = sources if information is None else [*sources, information_member(information)]
    head = BundleHead(EnvelopeKind.COMPOSITE, "site", version, BUILD_DATE, targets)
    path = system.directory / f"site-{version}.fwc"
    path.write_bytes(build_bundle(head, parts, [key or system.key]))
    return {"path": str(path)}


@pytest.fixture
def system() -> Iterator[SimSystem]:
    system = SimSystem(4, boards=BOARDS)
    system.make_site()
    system.start_master()
    yield system
    system.close()


def everything(system: SimSystem) -> list[MemberSource]:
    old, new = (web_package(system.key, version) for version in ("1.0", "1.1"))
    return members(system, tools(system.key), new, old)


def rows(system: SimSystem) -> dict[str, dict[str, Any]]:
    return {card["slot"]: card for card in system.get("/v1/cards")}


def burn(system: SimSystem, **body: Any) -> dict[str, Any]:
    identifier = system.post("/v1/burn-all", body)["id"]
    found: dict[str, Any] = system.wait_until(
        "burn-all is over",
        lambda: seen if (seen := system.get(f"/v1/operations/{identifier}"))["finished"] else None,
        900.0,
    )
    return found


def stored_modules(system: SimSystem, slot: str, name: str) -> int:
    packages = system.get("/v1/card", slot=slot)["record"]["actual"]["packages"]
    (found,) = [PackageReport(**package) for package in packages if package["name"] == name]
    assert found.bad_modules == 0
    return found.modules


def contents(system: SimSystem) -> dict[str, Any]:
    """All that an attempt may not change."""
    said = {name: system.get(f"/v1/{name}") for name in ("images", "packages", "classes", "boards")}
    wanted = {slot: system.get("/v1/card", slot=slot)["record"] for slot in rows(system)}
    for record in wanted.values():
        record["updated_at"] = 0
    return {**said, "cards": wanted, "preferred": system.get("/v1/preferred")}


def test_one_file_fills_an_empty_master_and_burn_all_brings_every_card_what_it_says(
    system: SimSystem,
) -> None:
    answer = system.post("/v1/composites", composite(system, everything(system)))
    assert {member["news"] for member in answer["members"]} == {"added"} and len(answer["members"]) == 5
    assert (answer["classes"], answer["boards"]) == (["router", "switch"], [X])
    assert (answer["slots"], answer["preferred"]) == (["1", "2", "3", "7"], {"web": "1.0"})
    before = rows(system)
    assert [before[slot]["class"] for slot in "12347"] == ["router", "switch", "router", None, "switch"]
    assert before["1"]["location"] == "rack 5, left" and before["2"]["location"] == "the other rack"
    assert before["1"]["packages"] == ["tools 3", "web 1.0"] and before["1"]["features"] == ["routing"]

    assert burn(system, cards=["composite:site"])["state"] == "done"
    after = rows(system)
    assert all(after[slot]["in_service"] for slot in "1234") and not after["7"]["present"]
    assert after["4"]["packages"] == ["tools 3", "web 1.0"] and after["4"]["features"] is None
    assert {slot: stored_modules(system, slot, "tools") for slot in "1234"} == {
        "1": 2,  # what is common, and routing
        "2": 3,
        "3": 4,
        "4": 1,  # neither group is wanted without being asked for
    }
    assert all("in service" in system.page(SlotId(number)) for number in (1, 2, 3, 4))


def test_the_sets_say_what_each_class_and_slot_will_run(system: SimSystem) -> None:
    system.post("/v1/composites", composite(system, everything(system)))
    found = {
        (row["card_class"], row["board"], tuple(row["slots"])): row["software"]
        for row in system.get("/v1/sets")
    }
    assert set(found) == {
        ("router", A, ("1",)),
        ("router", A, ("3",)),
        ("switch", X, ("2",)),
        ("switch", None, ("7",)),
        ("switch", A, ()),  # what such a card would run
        (None, A, ("4",)),
    }
    thought = found["switch", A, ()]
    assert [package["version"] for package in thought["packages"]] == ["3", "1.0"]
    assert thought["features"] == ["switching"] and found["switch", None, ("7",)] is None


def test_features_that_change_are_burned_by_the_module_at_the_next_boot(system: SimSystem) -> None:
    system.post("/v1/composites", composite(system, everything(system)))
    assert burn(system)["state"] == "done"
    system.post("/v1/card/set", {"cards": ["1"], "features": ["switching"]})
    system.run(system.chassis.power(SlotId(1), PowerAction.CYCLE))
    system.wait_until("it runs the other set", lambda: rows(system)["1"]["in_service"], 300.0)
    assert stored_modules(system, "1", "tools") == 3
    record = [burned["burned"] for burned in _record(system) if burned["burned"]["slot"] == "1"]
    assert record[-1]["boot_bytes_written"] == 0
    assert 0 < record[-1]["package_bytes_written"] < 10_000, "two small modules"
    assert record[-1]["software"]["features"] == ["switching"]


def _record(system: SimSystem) -> list[dict[str, Any]]:
    records: list[dict[str, Any]] = json.loads(system.get("/v1/record")["document"])["records"]
    return records


def test_a_restarted_master_knows_all_of_it(system: SimSystem) -> None:
    system.post("/v1/composites", composite(system, everything(system)))
    before = contents(system)
    system.kill_master()
    system.start_master()
    assert contents(system) == before
    (known,) = system.get("/v1/composites")
    assert (known["name"], known["version"], known["role"]) == ("site", "7", "release")
    again = system.post("/v1/composites", composite(system, everything(system)))
    assert again["known"] and {member["news"] for member in again["members"]} == {"there already"}
    assert (again["classes"], again["boards"], again["preferred"]) == ([], [], {})
    assert len(system.get("/v1/composites")) == 1


@pytest.mark.parametrize(
    ("information", "complaint"),
    [
        (CardInformation({"edge": CardWish(packages=("tools=9",))}), "class edge: no such package"),
        (CardInformation({"edge": CardWish(packages=("mail",))}), "no such package.*found mail"),
        (CardInformation({"edge": CardWish({A: "2.0"})}), f"no such boot image.*found {A} 2.0"),
        (CardInformation({"7th": CardWish()}), "not a class name"),
        (CardInformation(cards=(CardEntry(SlotId(1), None, CardWish(), "edge"),)), "slot 1: no such class"),
        (CardInformation(preferred_packages={"web": "3"}), "preferred: no such package"),
        (CardInformation(cards=(CardEntry(SlotId(1, 9), None, CardWish()),)), "slot 9/1"),
        (CardInformation(cards=(CardEntry(SlotId(1), None, CardWish({X: "1.0"})),)), "card of a wrong type"),
    ],
)
def test_what_does_not_hold_refuses_the_whole_file(
    system: SimSystem, information: CardInformation, complaint: str
) -> None:
    before = contents(system)
    with pytest.raises(UsageError, match=complaint):
        system.post("/v1/composites", composite(system, everything(system), information))
    assert contents(system) == before and system.get("/v1/composites") == []


def test_who_is_not_trusted_brings_nothing(system: SimSystem) -> None:
    stranger = SigningKey(Ed25519PrivateKey.generate())
    before = contents(system)
    sources = everything(system)
    with pytest.raises(FwmgrError, match=r"unknown key|not trust"):
        system.post("/v1/composites", composite(system, sources, key=stranger))
    strange = members(system, web_package(system.key), tools(stranger))
    with pytest.raises(FwmgrError, match=r"unknown key|not trust"):
        system.post("/v1/composites", composite(system, strange))
    damaged = composite(system, sources)
    data = bytearray(Path(damaged["path"]).read_bytes())
    data[-1] ^= 1
    Path(damaged["path"]).write_bytes(data)
    with pytest.raises(FwmgrError):
        system.post("/v1/composites", damaged)
    assert contents(system) == before and not list((system.paths.directory / "unpack").iterdir())


def test_a_file_of_another_kind_is_refused_with_the_command_for_it(system: SimSystem) -> None:
    with pytest.raises(UsageError, match="fwmgr package add"):
        system.post("/v1/composites", {"path": str(system.build_package())})
    with pytest.raises(UsageError, match="fwmgr image add"):
        system.post("/v1/packages", composite(system, everything(system)))


def test_a_card_in_an_operation_refuses_what_would_change_under_it(system: SimSystem) -> None:
    system.post("/v1/composites", composite(system, everything(system), None))
    operation = system.post("/v1/burn-all")["id"]
    with pytest.raises(UsageError, match="card is in an operation"):
        system.post("/v1/composites", composite(system, everything(system), version="8"))
    assert system.get("/v1/classes") == []
    system.wait_until(
        "burn-all is over", lambda: system.get(f"/v1/operations/{operation}")["finished"] or None, 900.0
    )


def test_a_package_built_again_stays_what_it_was_and_a_new_label_is_said(system: SimSystem) -> None:
    system.post("/v1/composites", composite(system, everything(system), None))
    digests = {package["version"]: package["digest"] for package in system.get("/v1/packages")}

    def add(data: bytes) -> dict[str, Any]:
        path = system.directory / "again.fwp"
        path.write_bytes(data)
        answer: dict[str, Any] = system.post("/v1/packages", {"path": str(path)})
        return answer

    again = add(tools(system.key, build_date=BUILD_DATE + 3600))
    assert (again["news"], again["digest"]) == ("built again", digests["3"])
    assert len(system.get("/v1/packages")) == len(digests)
    signed_anew = add(tools(another_key(system), build_date=BUILD_DATE + 3600))
    assert (signed_anew["news"], len(system.get("/v1/packages"))) == ("added", len(digests) + 1)
    label = add(tools(another_key(system), "4", build_date=BUILD_DATE + 3600))
    assert (label["news"], label["same_as"]) == ("same files", "3")
    other = add(tools(system.key, "4.1", data=b"!"))
    assert other["news"] == "added"
    assert add(tools(system.key, "4.1", data=b"!"))["news"] == "there already"


def another_key(system: SimSystem) -> SigningKey:
    """One that the master trusts, too; always the same."""
    private = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
    pem = private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    (system.paths.keys / "another.pem").write_bytes(pem)
    write_trust(system.paths)
    return SigningKey(private)


def test_what_is_preferred_or_said_of_a_board_is_not_removed(system: SimSystem) -> None:
    system.post("/v1/composites", composite(system, everything(system)))
    with pytest.raises(UsageError, match="preferred version"):
        system.post("/v1/packages/remove", {"name": "web", "version": "1.0"})
    assert system.post("/v1/packages/remove", {"name": "web", "version": "1.1"})["version"] == "1.1"
    armv7 = "sim-armv7"  # no card is of that board
    system.post("/v1/images", {"path": str(system.build_image(armv7, "1.0").folder)})
    system.post(f"/v1/boards/{armv7}", {"images": ["1.0"]})
    with pytest.raises(UsageError, match=f"board {armv7} names it"):
        system.post("/v1/images/remove", {"board": armv7, "version": "1.0"})
    system.post(f"/v1/boards/{armv7}/clear")
    assert system.post("/v1/images/remove", {"board": armv7, "version": "1.0"})["version"] == "1.0"


def test_a_class_that_a_board_gives_is_removed_by_what_the_errors_say(system: SimSystem) -> None:
    system.post("/v1/composites", composite(system, everything(system)))
    system.post("/v1/assign", {"class": None, "cards": ["7"]})
    with pytest.raises(UsageError, match=f"fwmgr board set {X} --class"):
        system.post("/v1/classes/switch/remove")
    system.post(f"/v1/boards/{X}", {"class": ""})
    assert rows(system)["2"]["class"] is None
    system.post("/v1/classes/switch/remove")


def test_a_later_file_brings_the_cards_of_what_it_names_to_what_is_newest(system: SimSystem) -> None:
    said = CardInformation({"switch": CardWish(packages=("tools",))}, INFORMATION.cards[3:])
    first = members(system, tools(system.key, "3"))
    system.post("/v1/composites", composite(system, first, said))
    assert rows(system)["2"]["packages"] == ["tools 3"]
    later = members(system, tools(system.key, "4", data=b"!"), tools(system.key, "10", data=b"?"))
    system.post("/v1/composites", composite(system, later, said, version="8"))
    assert rows(system)["2"]["packages"] == ["tools 10"], "the higher version of one file, not the later text"
    again = system.post("/v1/composites", composite(system, first, said))
    assert again["known"] and rows(system)["2"]["packages"] == ["tools 10"]
    assert [one["version"] for one in system.get("/v1/composites")][-1] == "7", "what came last"


def test_an_old_version_built_again_stays_old(system: SimSystem) -> None:
    both = members(system, tools(system.key, "3"), tools(system.key, "4", data=b"!"))
    system.post("/v1/composites", composite(system, both, None))
    later = BUILD_DATE + 3600
    rebuilt = members(
        system,
        tools(system.key, "3", build_date=later),
        tools(system.key, "4", build_date=later, data=b"!"),
    )
    answer = system.post("/v1/composites", composite(system, rebuilt, None, version="8"))
    news = {one["version"]: one["news"] for one in answer["members"] if one["kind"] == "package"}
    assert news == {"3": "built again", "4": "built again"} and len(system.get("/v1/packages")) == 2


def test_a_preferred_version_without_files_for_a_cpu_leaves_the_others_to_it(system: SimSystem) -> None:
    only_arm = web_package(system.key, "2.0", cpus=(CpuArch.AARCH64,))
    said = CardInformation(preferred_packages={"web": "2.0"})
    parts = members(system, web_package(system.key, "1.0"), only_arm)
    system.post("/v1/composites", composite(system, parts, said))
    assert burn(system)["state"] == "done"
    after = rows(system)
    assert (after["1"]["packages"], after["2"]["packages"]) == (["web 2.0"], ["web 1.0"])


def test_what_is_removed_while_a_file_is_read_is_not_taken_for_there(system: SimSystem) -> None:
    wanted = composite(system, members(system, tools(system.key)), None)
    system.post("/v1/composites", wanted)
    assert system.master is not None
    master = next(part for part in system.master._parts if isinstance(part, Master))
    enter = master.enter_composite

    async def removed_meanwhile(taken: Any, note: Any = None) -> Any:
        await master.remove_package("tools", "3")
        return await enter(taken, note)

    master.enter_composite = removed_meanwhile  # type: ignore[method-assign]
    with pytest.raises(UsageError, match="removed while it was being added"):
        system.post("/v1/composites", wanted)
    master.enter_composite = enter  # type: ignore[method-assign]
    assert system.get("/v1/packages") == []
    assert system.post("/v1/composites", wanted)["known"]
    assert [one["name"] for one in system.get("/v1/packages")] == ["tools"]


def test_a_disk_that_is_full_is_said_before_anything_is_unpacked(
    system: SimSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = composite(system, everything(system))
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(9, 8, 1))  # type: ignore[attr-defined]
    with pytest.raises(DeviceError, match=r"not enough room.*fwmgr package collect"):
        system.post("/v1/composites", wanted)
    monkeypatch.undo()
    monkeypatch.setattr(tempfile, "mkdtemp", _full)
    with pytest.raises(DeviceError, match="cannot unpack"):
        system.post("/v1/composites", wanted)
    assert system.get("/v1/images") == []


def _full(*_: Any, **__: Any) -> str:
    raise OSError(28, "No space left on device")


def test_a_member_that_is_refused_is_named_by_the_file_and_its_place_in_it(system: SimSystem) -> None:
    strange = members(system, tools(SigningKey(Ed25519PrivateKey.generate())))
    with pytest.raises(FwmgrError, match=r"site-7\.fwc: package tools 3"):
        system.post("/v1/composites", composite(system, strange))


def test_what_is_signed_for_tests_alone_brings_no_boot_image_for_all_cards(
    system: SimSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = composite(system, everything(system), None)
    monkeypatch.setattr(Keyring, "check_package", lambda *_: Role.TEST)
    with pytest.raises(FwmgrError, match="boot image for all cards in what is signed for tests"):
        system.post("/v1/composites", wanted)
    assert system.get("/v1/images") == []


def test_a_pipe_is_not_waited_for(system: SimSystem) -> None:
    pipe = system.directory / "pipe.fwc"
    os.mkfifo(pipe)
    for kind in ("composites", "packages"):
        with pytest.raises(UsageError, match="not a file"):
            system.post(f"/v1/{kind}", {"path": str(pipe)})


def test_features_that_no_package_has_are_said(system: SimSystem) -> None:
    system.post("/v1/composites", composite(system, everything(system), None))
    (answer,) = system.post("/v1/card/set", {"cards": ["1"], "packages": ["tools"], "features": ["routin"]})
    assert any("no package has the features routin" in line for line in answer["warnings"])


def test_a_new_card_is_netbooted_into_the_preferred_image(system: SimSystem) -> None:
    system.post("/v1/composites", composite(system, everything(system), None))
    system.post("/v1/images", {"path": str(system.build_image(A, "2.0").folder)})
    system.post("/v1/preferred", {"images": [f"{A}=1.0"]})
    system.run(system.chassis.power(SlotId(1), PowerAction.CYCLE))
    said = system.wait_until("it said hello", lambda: rows(system)["1"]["boot_version"], 300.0)
    assert said == "1.0"


def test_slots_that_are_only_configured_are_free_to_be_bound() -> None:
    system = SimSystem(1, backplane=False)
    try:
        system.make_site()
        system.start_master()
        said = CardInformation(cards=(CardEntry(SlotId(1), None, CardWish(), None, "rack 5"),))
        system.post(
            "/v1/composites", composite(system, members(system, tools(system.key), boards=(A,)), said)
        )
        card = system.chassis.bays[SlotId(1)].card
        assert card is not None
        system.post("/v1/card/bind", {"slot": "1", "mac": str(card.hardware.mac), "board": A})
        (row,) = rows(system).values()
        assert (row["bound"], row["board"], row["location"]) == (True, A, "rack 5")
    finally:
        system.close()


def test_targets_are_whom_the_selector_means(system: SimSystem) -> None:
    some = composite(system, everything(system), targets=Targets(slots=("4",), classes=("switch",)))
    system.post("/v1/composites", some)
    operation = burn(system, cards=["composite:site=7"])
    assert sorted(operation["cards"]) == ["2", "4"]
    with pytest.raises(UsageError, match="selects no card"):
        system.post("/v1/burn-all", {"cards": ["composite:site=8"]})


MANY = CardInformation(
    {"router": CardWish({A: "1.0"}, ("tools=3", "web"), ("routing",))},
    tuple(
        CardEntry(SlotId(number), None, CardWish(features=("routing",)), "router", f"place {number}")
        for number in range(1, 161)
    ),
)


def test_a_master_killed_at_any_commit_of_a_large_file_has_all_of_it_or_nothing(system: SimSystem) -> None:
    wanted = composite(system, everything(system), MANY)
    outcomes = []
    for commit in range(1, 30):
        assert system.master is not None
        before = contents(system)
        system.master.commits = 0
        system.kill_after_commit = commit
        try:
            system.post("/v1/composites", wanted)
        except (FwmgrError, OSError):
            pass
        else:
            system.kill_after_commit = None
            outcomes.append("done")
            break
        system.kill_after_commit = None
        system.start_master()
        after = contents(system)
        outcomes.append("nothing" if after == before else "all")
        if after != before:
            assert len(after["cards"]) == 160 and len(after["packages"]) == 3 and len(after["images"]) == 2
            assert [one["name"] for one in after["classes"]] == ["router"]
            assert len(system.get("/v1/composites")) == 1
            assert all(card["card_class"] == "router" for card in after["cards"].values())
            break
    assert outcomes[0] == "nothing" and outcomes[-1] == "all" and len(outcomes) > 2, outcomes


def test_a_board_that_nobody_knows_is_refused(system: SimSystem) -> None:
    with pytest.raises(UsageError, match="no such board"):
        system.post("/v1/boards/toaster", {"class": ""})
    said = CardInformation(cards=(CardEntry(None, "toaster", CardWish()),))
    with pytest.raises(UsageError, match=r"card information: no such board.*found toaster"):
        system.post("/v1/composites", composite(system, everything(system), said))
