"""A module that does the same as the wanted one stays in flash, and is right by two signed tables."""

from __future__ import annotations

import gzip
import json
import random
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from firmware_mgr.card.commit import commit_boot
from firmware_mgr.card.stand_ins import PREFIX, StandIn, read_stand_ins, stand_in_document, stand_in_name
from firmware_mgr.flash.boot_partition import BootImageLayout
from firmware_mgr.flash.device import Cut, MemoryDevice, PowerCut
from firmware_mgr.flash.store import Store
from firmware_mgr.link import messages as m
from firmware_mgr.model.ids import CpuArch, Digest
from firmware_mgr.model.software import BootImageRef, PackageRef, SoftwareSet
from firmware_mgr.package.contents import Group, ModuleKind
from firmware_mgr.package.substantive import substantive_signature
from firmware_mgr.packaging.build import ModuleSource, build_package
from firmware_mgr.packaging.keys import SigningKey
from tests.card.burning import BOARD, FROM_A, MIB, NETBOOTED, Master, burner, flash, image, looked, opened
from tests.package.elf_bytes import build_id, elf, text
from tests.package.format_1 import build_package_1
from tests.package.samples import HEAD, KEY, KEYRING, OTHER_KEY, SOURCES, head_of, read

LIBRARY = "usr/lib/libx.so.1.0"


def built(number: bytes, code: bytes = b"\xc3" * 40) -> bytes:
    """A build of a library, packed: so builds differ in length too."""
    return gzip.compress(elf(build_id(number), text(code)), mtime=1)


#: One library, built three times; and another one.
FIRST, SECOND, LONGER = built(b"1" * 20), built(b"2" * 20), built(bytes(range(20)))
OTHER = built(b"1" * 20, b"\x90" * 40)
CPU = CpuArch.AARCH64


def package(version: str, library: bytes, *more: ModuleSource, key: SigningKey = KEY) -> bytes:
    sources = [replace(s, data=library) if s.path == LIBRARY else s for s in SOURCES]
    head = replace(HEAD, version=version, groups=(Group("extra", wanted=False),) if more else ())
    return build_package(head, [*sources, *more], [key])


def order(master: Master, *packages: bytes, features: tuple[str, ...] | None = None) -> m.Burn:
    raw = image(1)[:5000]
    layout = BootImageLayout.of(raw)
    master.add(raw)
    refs = tuple(PackageRef(read(one).name, read(one).version, master.add(one), len(one)) for one in packages)
    software = SoftwareSet(BootImageRef(BOARD, "1", layout.digest, layout.length), refs, features)
    return m.Burn(software, m.BootPieces(MIB, layout.pieces), 2)


def commit(device: MemoryDevice, what: m.Burn) -> None:
    commit_boot(opened(device, FROM_A), what.wanted.digest, KEYRING, CPU)


def burn(device: MemoryDevice, master: Master, what: m.Burn, *, validated: bool = True) -> int:
    """Bytes that were written for packages."""
    words = FROM_A if looked(device).records.stored else NETBOOTED
    written = burner(device, master, words).burn(what).package_bytes_written
    if validated:
        commit(device, what)
    return written


def store_of(device: MemoryDevice) -> Store:
    store = opened(device).store
    assert store is not None
    return store


def stored(device: MemoryDevice, what: m.Burn) -> tuple[int, bytes]:
    """How many modules of the ordered package are bad; the bytes that its library has in flash."""
    found = looked(device, FROM_A).packages[what.wanted.packages[-1].digest]
    (library,) = [module for module in found.modules if module.path == LIBRARY]
    content = store_of(device).read(library.sha256) if store_of(device).has(library.sha256) else b""
    assert not content or len(content) == library.length
    return len(found.bad), content


@pytest.fixture
def master() -> Master:
    return Master()


@pytest.fixture
def device(master: Master) -> MemoryDevice:
    device = flash()
    burn(device, master, order(master, package("1", FIRST)))
    return device


def test_these_builds_are_substantively_equal_and_these_are_not() -> None:
    same = {substantive_signature(data, LIBRARY) for data in (FIRST, SECOND, LONGER)}
    assert len({FIRST, SECOND, LONGER}) == 3 and len(LONGER) > len(FIRST) and len(same) == 1
    assert substantive_signature(OTHER, LIBRARY) not in same


@pytest.mark.parametrize("library", [SECOND, LONGER])
def test_what_was_only_built_again_is_neither_fetched_nor_written(
    master: Master, device: MemoryDevice, library: bytes
) -> None:
    rebuilt = package("2", library)
    what = order(master, rebuilt)
    header, head = head_of(rebuilt)
    master.served.clear()
    assert burn(device, master, what) == len(head) == header.head_length
    assert master.served[Digest.of(rebuilt)] == len(head)
    assert stored(device, what) == (0, FIRST)
    # And so after a restart, with all that only the old set needed collected but the table that vouches.
    old = Digest.of(head_of(package("1", FIRST))[1])
    assert store_of(device).has(old) and not store_of(device).has(Digest.of(library))
    report = looked(device, FROM_A).report.packages
    assert {(one.version, one.bad_modules) for one in report if one.modules} == {("2", 0)}
    assert [one.version for one in report if (one.modules, one.bad_modules) == m.RECORD_ALONE] == ["1"]
    assert burn(device, master, what) == 0


def test_what_differs_in_substance_is_written(master: Master, device: MemoryDevice) -> None:
    what = order(master, package("2", OTHER))
    assert burn(device, master, what) == len(OTHER) + len(head_of(package("2", OTHER))[1])
    assert stored(device, what) == (0, OTHER)
    assert not [name for name in store_of(device).documents() if name.startswith(PREFIX)]


def test_what_stays_stays_over_many_builds_and_way_back_with_its_one_table(
    master: Master, device: MemoryDevice
) -> None:
    first = order(master, package("1", FIRST))
    for version, library in (("2", SECOND), ("3", LONGER), ("4", SECOND)):
        what = order(master, package(version, library))
        assert burn(device, master, what) == len(head_of(package(version, library))[1])
        assert stored(device, what) == (0, FIRST)
    tables = {
        one.table
        for one in read_stand_ins(store_of(device).documents(), Digest.of(package("4", SECOND))).values()
    }
    assert tables == {Digest.of(head_of(package("1", FIRST))[1])}
    heads = [
        digest
        for digest in store_of(device).blobs()
        if store_of(device).read(digest)[:4] == package("1", FIRST)[:4]
    ]
    assert len(heads) == 2  # that of version 4, and the one that vouches
    assert burn(device, master, first) == 0 and stored(device, first) == (0, FIRST)
    assert not read_stand_ins(store_of(device).documents(), first.wanted.packages[0].digest)


def test_content_that_stays_and_is_damaged_is_found_and_fetched_as_wanted(
    master: Master, device: MemoryDevice
) -> None:
    what = order(master, package("2", SECOND))
    burn(device, master, what)
    extent = store_of(device).blobs()[Digest.of(FIRST)]
    device.flip_bit(opened(device).window("store").offset + extent.offset, 0)
    assert stored(device, what)[0] == 1
    assert burn(device, master, what) == len(SECOND)
    assert stored(device, what) == (0, SECOND)
    assert not [name for name in store_of(device).documents() if name.startswith(PREFIX)]


def test_a_table_that_is_damaged_vouches_for_nothing(master: Master, device: MemoryDevice) -> None:
    what = order(master, package("2", SECOND))
    burn(device, master, what)
    extent = store_of(device).blobs()[Digest.of(head_of(package("1", FIRST))[1])]
    device.flip_bit(opened(device).window("store").offset + extent.offset + 40, 0)
    assert stored(device, what)[0] == 1
    assert burn(device, master, what) == len(SECOND) and stored(device, what) == (0, SECOND)


def test_a_table_by_a_key_that_is_not_trusted_vouches_for_nothing(
    master: Master, device: MemoryDevice
) -> None:
    """Whoever can write a record and a head into flash, and cannot sign, gets nothing run by it."""
    forged = package("0", OTHER, key=OTHER_KEY)
    what = order(master, package("2", OTHER))
    burn(device, master, what)
    store, head = store_of(device), head_of(forged)[1]
    store.forget([Digest.of(OTHER)])
    evil = elf(build_id(b"e" * 20), text(b"\xcc" * 40))
    for blob in (head, evil):
        store.put(Digest.of(blob), len(blob), [blob])
    lie = {Digest.of(OTHER): StandIn(Digest.of(evil), Digest.of(head))}
    name = stand_in_name(what.wanted.packages[0].digest)
    store.commit({name: stand_in_document(lie)})
    assert stored(device, what)[0] == 1
    assert burn(device, master, what) == len(OTHER) and stored(device, what) == (0, OTHER)


@settings(max_examples=30)
@given(st.data())
def test_a_record_that_lies_makes_no_module_right(data: st.DataObject) -> None:
    """Any pair of content and table that are really in the store, and garbage."""
    master, device = Master(), flash()
    burn(device, master, order(master, package("1", FIRST)))
    what = order(master, package("2", OTHER))
    burn(device, master, what)
    store = store_of(device)
    store.forget([Digest.of(OTHER)])
    blobs = [*sorted(store.blobs()), Digest.of(b"nobody's")]
    rows = {
        wanted.hex: [data.draw(st.sampled_from(blobs)).hex, data.draw(st.sampled_from(blobs)).hex]
        for wanted in (Digest.of(OTHER), *data.draw(st.lists(st.sampled_from(blobs), max_size=3)))
    }
    garbage = st.sampled_from([b"", b"null", b"[]", b'{"modules": 3}', b'{"modules": {"x": ["y"]}}', b"\xff"])
    raw = data.draw(st.one_of(st.just(json.dumps({"modules": rows}).encode()), garbage))
    store.commit({stand_in_name(what.wanted.packages[0].digest): raw})
    bad, content = stored(device, what)
    assert bad >= 1 and content == b""
    assert burn(device, master, what) == len(OTHER) and stored(device, what) == (0, OTHER)


def test_tables_of_the_first_format_neither_give_nor_take(master: Master) -> None:
    device = flash()
    sources = [replace(s, data=FIRST) if s.path == LIBRARY else s for s in SOURCES]
    old = build_package_1(replace(HEAD, version="0"), sources, [KEY])
    burn(device, master, order(master, old))
    what = order(master, package("2", SECOND))
    assert burn(device, master, what) == len(SECOND) + len(head_of(package("2", SECOND))[1])
    again = [replace(s, data=LONGER) if s.path == LIBRARY else s for s in SOURCES]
    back = order(master, build_package_1(replace(HEAD, version="0"), again, [KEY]))
    assert burn(device, master, back) > len(LONGER) and stored(device, back) == (0, LONGER)


def test_what_another_set_asks_for_keeps_what_stands_in_for_it(master: Master) -> None:
    """One package in two sets: the validated one asks for a feature, the next does not."""
    device = flash()
    extra = ModuleSource("usr/lib/extra.so", ModuleKind.SHARED_LIBRARY, FIRST, CPU, groups=("extra",))
    other = replace(extra, data=LONGER)
    burn(device, master, order(master, package("1", OTHER, extra), features=("extra",)))
    with_extra = order(master, package("2", OTHER, other), features=("extra",))
    without = order(master, package("2", OTHER, other), features=())
    assert burn(device, master, with_extra) == len(head_of(package("2", OTHER, other))[1])
    assert burn(device, master, without, validated=False) == 0
    found = looked(device, FROM_A)
    digest = with_extra.wanted.packages[0].digest
    for what, modules in ((without, 0), (with_extra, 1)):
        one = found.packages[digest].of_set(what.wanted, store_of(device), CPU)
        assert not one.bad and sum(module.path == extra.path for module in one.modules) == modules


def test_room_is_made_and_what_stays_stays(master: Master, device: MemoryDevice) -> None:
    """A store in which only what neither set needs makes room: content and table that stand in are needed."""
    large = ModuleSource("usr/share/large", ModuleKind.DATA, random.Random(1).randbytes(2 * MIB))
    burn(device, master, order(master, package("1", FIRST, large)))
    other = replace(large, data=random.Random(2).randbytes(MIB))
    what = order(master, package("2", SECOND, other))
    assert burn(device, master, what) == len(other.data) + len(head_of(package("2", SECOND, other))[1])
    third = replace(large, data=random.Random(3).randbytes(2 * MIB))
    again = order(master, package("3", LONGER, third))
    assert burn(device, master, again) == len(third.data) + len(head_of(package("3", LONGER, third))[1])
    assert stored(device, again) == (0, FIRST)


@pytest.mark.parametrize("cut", list(Cut))
def test_power_that_fails_anywhere_leaves_the_old_or_the_new_and_the_order_goes_on(
    master: Master, device: MemoryDevice, cut: Cut
) -> None:
    old, new = order(master, package("1", FIRST)), order(master, package("2", SECOND))
    contents = device.contents()
    for number in range(1, 10_000):
        cutting = flash()
        cutting.load(contents)
        cutting.cut_power(number, cut)
        try:
            burn(cutting, master, new)
        except PowerCut:
            pass
        else:
            assert number > 10
            return
        cutting.crash(random.Random(f"{number} {cut.value}"))
        found = looked(cutting, FROM_A)
        for software in found.records.kept_sets.values():
            assert software in (old.wanted, new.wanted)
            assert not any(found.packages[ref.digest].bad for ref in software.packages), number
        assert burn(cutting, master, new) <= len(head_of(package("2", SECOND))[1]), number
        assert stored(cutting, new) == (0, FIRST)
    raise AssertionError("the burn never ends")
