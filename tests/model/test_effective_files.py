"""Which files a card gets (R-2.4, R-2.6, R-4.7; SOFTWARE-SETS F1 to F4), also by the card's own merge."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from firmware_mgr.card.tree import InstalledPackage, merge
from firmware_mgr.model.effective_files import FileChange, FileMap, compare_files, effective_files
from firmware_mgr.model.errors import PeerError, UsageError
from firmware_mgr.model.file_selection import ModuleSelection, Selection
from firmware_mgr.model.ids import CpuArch
from firmware_mgr.model.package_facts import DIRECTORY, PackageFacts
from firmware_mgr.model.software import PackageRef
from firmware_mgr.package.contents import NOTHING, Module, ModuleKind, TableOfContents
from tests.model.software import (
    FEATURES,
    FUNCTIONS,
    KINDS,
    module,
    module_lists,
    modules,
    package,
    packages,
    unhurried,
)

ARM = CpuArch.AARCH64
EVERYTHING = ModuleSelection(ARM)


def some_of(values: tuple[str, ...]) -> st.SearchStrategy[frozenset[str] | None]:
    return st.one_of(st.none(), st.frozensets(st.sampled_from(values)))


SELECTIONS = st.builds(
    ModuleSelection, st.sampled_from(CpuArch), some_of(KINDS), some_of(FUNCTIONS), some_of(FEATURES)
)
LISTS = st.lists(packages(), max_size=4, unique_by=lambda one: one.name)


def shown(files: FileMap) -> dict[str, str]:
    return {path: placed.package.name for path, placed in files.files.items()}


@unhurried
@given(LISTS, SELECTIONS)
def test_the_first_package_with_a_chosen_module_wins_a_path(
    some: list[PackageFacts], selection: ModuleSelection
) -> None:
    """R-2.6 [95]: only the file from the first package in the list is selected."""
    files = effective_files(some, selection)
    clashed = {(clash.path, clash.behind) for clash in files.clashes}
    expected = {}
    for one in reversed(some):  # what is written last stays
        for file in one.modules:
            if selection.chooses(file) and (file.path, one) not in clashed:
                expected[file.path] = (one, file)
    assert {path: (placed.package, placed.module) for path, placed in files.files.items()} == expected


@unhurried
@given(LISTS)
def test_a_map_is_what_the_card_makes_of_it_and_clashes_are_what_the_card_refuses(
    some: list[PackageFacts],
) -> None:
    files = effective_files(some, EVERYTHING)
    try:
        won = merge([installed(one, place) for place, one in enumerate(some)])
    except PeerError:
        assert files.clashes
        return
    assert files.clashes == ()
    assert list(won) == list(files.files)
    assert all(some[won[path].mtime] == placed.package for path, placed in files.files.items())


def installed(one: PackageFacts, place: int) -> InstalledPackage:
    """As the card has it, without content. Its date is its place in the list."""
    ref = PackageRef(one.name, one.version, one.digest, 1)
    toc = TableOfContents(one.name, one.version, place, (), (), (), (), ())
    chosen = tuple(
        Module(
            path=file.path,
            kind=ModuleKind.DIRECTORY if file.kind == DIRECTORY else ModuleKind.DATA,
            cpu=None,
            mode=0o755,
            length=0,
            offset=0,
            pieces=(),
            sha256=NOTHING,
            substantive=NOTHING,
        )
        for file in EVERYTHING.of(one)
    )
    return InstalledPackage(ref, toc, chosen, ())


@unhurried
@given(modules(), SELECTIONS)
def test_a_module_is_chosen_by_cpu_and_kind_and_function_and_feature(
    one: object, asked: ModuleSelection
) -> None:
    """R-2.4 [97, 117, 119, 130]."""
    reasons_against = [
        one.cpu is not None and one.cpu is not asked.cpu,
        asked.kinds is not None and one.kind not in {*asked.kinds, "symlink", "directory"},
        asked.functions is not None and one.function not in {*asked.functions, ""},
        asked.features is not None and bool(one.features) and not one.features & asked.features,
    ]
    assert asked.chooses(one) == (not any(reasons_against))


def test_two_cards_of_one_board_with_different_roles_get_different_software() -> None:
    """R-2.4 [117]: nodes of the same type may have different feature requirements."""
    suite = package(
        "router 1",
        modules=[
            module("usr/bin/bgp", "bgp", features=["edge"]),
            module("usr/bin/mpls", "mpls", features=["core"]),
            module("usr/bin/routed", "routed"),
            module("usr/lib/fwd.so", "arm", cpu=ARM, features=["core", "edge"]),
            module("usr/lib/fwd.so", "x86", cpu=CpuArch.X86_64, features=["core", "edge"]),
        ],
    )
    paths = {
        feature: set(effective_files([suite], ModuleSelection(ARM, features=frozenset({feature}))).files)
        for feature in ("edge", "core", "none")
    }
    assert paths == {
        "edge": {"usr/bin/bgp", "usr/bin/routed", "usr/lib/fwd.so"},
        "core": {"usr/bin/mpls", "usr/bin/routed", "usr/lib/fwd.so"},
        "none": {"usr/bin/routed"},
    }
    assert len(effective_files([suite], EVERYTHING).files) == 4


def test_an_upgrade_of_some_modules_never_hides_the_rest() -> None:
    """R-2.6 [95]: an update of one part of a set of modules does not override the entire set."""
    whole = package(
        "ssl 1", modules=[module("usr/lib/libcrypto.so.3", "1"), module("usr/lib/libssl.so.3", "1")]
    )
    fix = package("ssl-fix 1", upgrades=["ssl"], modules=[module("usr/lib/libcrypto.so.3", "2")])
    files = effective_files([fix, whole], EVERYTHING)
    assert shown(files) == {"usr/lib/libcrypto.so.3": "ssl-fix", "usr/lib/libssl.so.3": "ssl"}


def test_a_module_that_is_not_chosen_hides_nothing() -> None:
    other = package("other 1", modules=[module("etc/x", "1", cpu=CpuArch.ARMV7)])
    assert shown(effective_files([other, package("base 1", modules=[module("etc/x", "2")])], EVERYTHING)) == {
        "etc/x": "base"
    }


@pytest.mark.parametrize("turned", [False, True])
def test_a_file_where_another_package_has_a_directory_clashes(turned: bool) -> None:
    file = package("file 1", modules=[module("etc/x", "1")])
    tree = package("tree 1", modules=[module("etc/x/y", "1")])
    files = effective_files([tree, file] if turned else [file, tree], EVERYTHING)
    clash = files.clashes[0]
    expected = ("etc/x", file, "etc/x/y", tree) if turned else ("etc/x/y", tree, "etc/x", file)
    assert (clash.path, clash.behind, clash.at, clash.front) == expected and len(files.files) == 1


@unhurried
@given(module_lists(), module_lists())
def test_maps_are_compared_by_what_can_change_behaviour(old: tuple, new: tuple) -> None:  # type: ignore[type-arg]
    """R-4.7 [34, 145, 149]: only modules whose signature differs are replaced."""
    before, after = (effective_files([package("p 1", modules=some)], EVERYTHING) for some in (old, new))
    changes = compare_files(before, after)
    assert list(changes) == sorted(changes)
    for path in before.files.keys() | after.files.keys():
        one, two = before.files.get(path), after.files.get(path)
        if one is None or two is None:
            assert changes[path] is (FileChange.ADDED if one is None else FileChange.REMOVED)
            continue
        facts = [(each.module.kind, each.module.mode, each.module.substantive) for each in (one, two)]
        hashes = {each.module.exact for each in (one, two)}
        if facts[0] == facts[1]:
            assert changes.get(path) == (FileChange.REBUILT if len(hashes) == 2 else None)
        else:
            assert changes[path] is FileChange.REPLACED
    assert compare_files(after, after) == {}


def test_a_rebuilt_file_may_stay() -> None:
    old = effective_files([package("p 1", modules=[module("a", "built in May", substance="s")])], EVERYTHING)
    new = effective_files([package("p 2", modules=[module("a", "built in June", substance="s")])], EVERYTHING)
    assert compare_files(old, new) == {"a": FileChange.REBUILT}


def test_a_card_loads_its_whole_suite_or_named_packages() -> None:
    """R-2.4 [98]."""
    some = (package("a 1"), package("b 1"), package("c 1"))
    assert Selection(EVERYTHING).loaded(some) == some
    assert Selection(EVERYTHING, frozenset("ca")).loaded(some) == (some[0], some[2])
    with pytest.raises(UsageError) as refused:
        Selection(EVERYTHING, frozenset("ax")).loaded(some)
    assert refused.value.expected == "one of a, b, c" and refused.value.found == "x"


def test_a_package_fits_a_cpu_when_it_has_something_for_it_or_goes_by_no_cpu() -> None:
    arm = package("arm 1", modules=[module("a", cpu=ARM), module("b")])
    assert arm.fits(ARM) and not arm.fits(CpuArch.X86_64)
    assert package("all 1", modules=[module("b")]).fits(CpuArch.X86_64) and package("none 1").fits(ARM)
