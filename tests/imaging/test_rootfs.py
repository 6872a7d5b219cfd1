"""The card's root file system: what is kept, what is added, what is refused; and its scripts."""

from __future__ import annotations

import json
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from firmware_mgr.imaging.board import load_board
from firmware_mgr.imaging.modules import Module
from firmware_mgr.imaging.recipe import SHIPPED_BOOTIMAGES, Recipe, load_recipe
from firmware_mgr.imaging.rootfs import (
    SiteInputs,
    base_tree,
    check_own_userland,
    debian_userland,
    merged,
    python_minor,
    site_tree,
)
from firmware_mgr.imaging.tree import File, Link, Tree
from firmware_mgr.model.errors import UsageError

BOARD = load_board("qemu-aarch64")
SCRIPTS = SHIPPED_BOOTIMAGES / "debian-card"
LIBRARY = "usr/lib/x86_64-linux-gnu/libx.so.1"


@pytest.fixture
def recipe() -> Recipe:
    return load_recipe()


def keeping(recipe: Recipe, keep: list[str], drop: tuple[str, ...] = ()) -> Recipe:
    return replace(recipe, userland=recipe.userland.model_copy(update={"keep": tuple(keep), "drop": drop}))


@pytest.fixture
def site(tmp_path: Path) -> SiteInputs:
    source, trust = tmp_path / "firmware_mgr", tmp_path / "trust"
    for name in (
        "__init__.py",
        "card/__init__.py",
        "app/__init__.py",
        "app/agent.py",
        "app/fwmgr.py",
        "master/x.py",
    ):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_text("x = 1\n")
    trust.mkdir()
    (trust / "authority.pem").write_text("-----BEGIN CERTIFICATE-----\n")
    (trust / "keys.json").write_text("{}")
    return SiteInputs(source, trust, "1.0", 1_700_000_000, 11)


def test_old_top_folders_move_into_usr() -> None:
    tree: Tree = {
        "lib/x/a": File(b"1"),
        "bin/sh": Link("busybox"),
        "usr/lib/b": File(b"2"),
        "etc/c": File(b"3"),
    }
    assert merged(tree) == {
        "usr/lib/x/a": File(b"1"),
        "usr/bin/sh": Link("busybox"),
        "usr/lib/b": File(b"2"),
        "etc/c": File(b"3"),
        "bin": Link("usr/bin"),
        "lib": Link("usr/lib"),
    }


def test_only_what_the_recipe_keeps_comes_and_links_bring_their_targets(recipe: Recipe) -> None:
    package: Tree = {
        "usr/bin/tool": Link("/usr/lib/tool-1/run"),
        "usr/lib/tool-1/run": File(b"#!x"),
        "usr/share/doc/tool": File(b"long"),
        "usr/lib/keep/a.py": File(b"x = 1\n"),
        "usr/lib/keep/test_a.py": File(b"x = = 1\n"),
    }
    tree = debian_userland([package], keeping(recipe, ["usr/bin/tool", "usr/lib/keep/*"], ("*/test_*",)))
    files = {path for path in tree if not isinstance(tree[path], Link)}
    assert files == {"usr/lib/tool-1/run", "usr/lib/keep/a.pyc"}
    assert tree["bin"] == Link("usr/bin")
    assert tree["usr/bin/sh"] == Link("busybox")


def test_programs_bring_the_libraries_they_ask_for(recipe: Recipe) -> None:
    program = Path("/bin/true").read_bytes()
    with pytest.raises(
        UsageError, match=r"usr/bin/true: shared library is in no package: expected .*ld-linux"
    ):
        debian_userland([{"bin/true": File(program)}], keeping(recipe, ["usr/bin/true"]))


def test_a_pattern_that_keeps_nothing_is_named(recipe: Recipe) -> None:
    with pytest.raises(
        UsageError, match=r"userland\.keep: recipe keeps what no package holds: found usr/bin/gone"
    ):
        debian_userland([{}], keeping(recipe, ["usr/bin/gone"]))


def test_modules_are_listed_in_their_order_for_init(recipe: Recipe) -> None:
    userland: Tree = {"usr/lib/python3.11/os.pyc": File(b"")}
    modules = (Module("usr/lib/modules/6/z.ko", b"z"), Module("usr/lib/modules/6/a.ko", b"a"))
    tree = base_tree(userland, modules, recipe)
    assert tree["etc/fwmgr/modules"] == File(b"/usr/lib/modules/6/z.ko\n/usr/lib/modules/6/a.ko\n")
    assert tree["usr/lib/modules/6/a.ko"] == File(b"a")
    assert "usr/lib/fwmgr/__main__.pyc" in tree


def test_an_own_root_file_system_keeps_its_own_init_and_etc(recipe: Recipe) -> None:
    userland: Tree = {
        "usr/lib/python3.12/os.py": File(b""),
        "init": File(b"mine", 0o755),
        "etc/passwd": File(b"mine"),
        "etc/fwmgr/udhcpc.sh": File(b"old"),
    }
    tree = base_tree(userland, (), recipe)
    assert tree["init"] == File(b"mine", 0o755)
    assert tree["etc/passwd"] == File(b"mine")
    assert tree["etc/fwmgr/udhcpc.sh"] != File(b"old")
    assert "usr/lib/fwmgr/__main__.py" in tree


def test_what_an_own_root_file_system_lacks_is_listed_at_once() -> None:
    tree: Tree = {
        "usr/lib/python3.9/os.py": File(b""),
        "usr/lib/python3/dist-packages/crcmod/__init__.py": File(b""),
    }
    with pytest.raises(UsageError) as caught:
        check_own_userland(tree, "own.tar")
    lacking = "bin/busybox, bin/python3, Python 3.11 or later, Python's construct, Python's cryptography"
    assert caught.value.expected == f"{lacking}, Python's zstandard"


def test_the_cards_python_is_found_wherever_it_lies() -> None:
    assert python_minor({"usr/local/lib/python3.13/os.py": File(b"")}) == 13
    with pytest.raises(UsageError, match="no Python"):
        python_minor({"usr/lib/perl": File(b"")})


def test_the_agent_comes_without_the_rooms_of_the_master(recipe: Recipe, site: SiteInputs) -> None:
    tree = site_tree(BOARD, recipe, site)
    code = sorted(path.removeprefix("usr/lib/fwmgr/firmware_mgr/") for path in tree if path.startswith("usr"))
    assert code == ["__init__.pyc", "app/__init__.pyc", "app/agent.pyc", "card/__init__.pyc"]


def test_another_python_gets_sources(recipe: Recipe, site: SiteInputs) -> None:
    tree = site_tree(BOARD, recipe, replace(site, python_minor=12))
    assert "usr/lib/fwmgr/firmware_mgr/app/agent.py" in tree


def test_the_agents_settings_come_from_the_board(recipe: Recipe, site: SiteInputs) -> None:
    node = site_tree(BOARD, recipe, site)["etc/fwmgr/agent.json"]
    assert isinstance(node, File)
    settings = json.loads(node.data)
    assert settings["board"] == "qemu-aarch64"
    assert settings["build_date"] == 1_700_000_000
    assert settings["flash"] == {
        "device": "/dev/vda",
        "control": 1 << 20,
        "boot": 128 << 20,
        "store": 0,
        "state": 16 << 20,
        "data": 64 << 20,
    }


def test_the_root_of_trust_goes_along_where_the_site_has_one(recipe: Recipe, site: SiteInputs) -> None:
    place = "etc/fwmgr/trust/root.json"
    assert place not in site_tree(BOARD, recipe, site)
    (site.trust / "root.json").write_bytes(b"root")
    assert site_tree(BOARD, recipe, site)[place] == File(b"root")


def test_that_test_packages_are_taken_stands_in_the_settings_only_where_it_was_said(
    recipe: Recipe, site: SiteInputs
) -> None:
    for takes in (False, True):
        node = site_tree(BOARD, recipe, replace(site, takes_test=takes))["etc/fwmgr/agent.json"]
        assert isinstance(node, File)
        assert json.loads(node.data).get("takes_test", False) is takes


def test_a_missing_agent_and_a_missing_key_are_named(recipe: Recipe, site: SiteInputs) -> None:
    (site.trust / "keys.json").unlink()
    with pytest.raises(UsageError, match=r"trust/keys\.json: the site's trust is incomplete"):
        site_tree(BOARD, recipe, site)
    (site.source / "app/agent.py").unlink()
    with pytest.raises(UsageError, match=r"agent's program is missing.*app/agent\.py"):
        site_tree(BOARD, recipe, site)


def test_a_private_key_never_goes_into_an_image(recipe: Recipe, site: SiteInputs) -> None:
    with (site.trust / "authority.pem").open("a") as stream:
        stream.write("-----BEGIN PRIVATE KEY-----\n")
    with pytest.raises(UsageError, match=r"authority\.pem: a private key must not go into a boot image"):
        site_tree(BOARD, recipe, site)


@pytest.mark.parametrize("script", ["init", "files/etc/fwmgr/udhcpc.sh"])
def test_the_cards_scripts_are_shell(script: str) -> None:
    subprocess.run(["busybox", "sh", "-n", SCRIPTS / script], check=True)


def test_a_wrong_key_of_a_recipe_is_named(tmp_path: Path) -> None:
    (tmp_path / "init").write_text("")
    (tmp_path / "recipe.toml").write_text((SCRIPTS / "recipe.toml").read_text() + "colour = 1\n")
    with pytest.raises(
        UsageError, match=r"recipe\.toml: a wrong key: agent\.colour: expected no such key, found 1"
    ):
        load_recipe(tmp_path)
