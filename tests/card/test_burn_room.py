"""A set for which the store has no room is refused before boot image or packages are written."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from firmware_mgr.card.commit import commit_boot
from firmware_mgr.card.records import read_records
from firmware_mgr.flash.device import MemoryDevice
from firmware_mgr.flash.store import Store
from firmware_mgr.link import messages as m
from firmware_mgr.model.errors import DeviceError
from firmware_mgr.model.ids import CpuArch, Digest
from firmware_mgr.model.software import PackageRef
from firmware_mgr.package.contents import ModuleKind
from firmware_mgr.packaging.build import ModuleSource, build_package
from tests.card.burning import FROM_A, Master, burner, flash, opened
from tests.package.samples import HEAD, KEY, KEYRING

KIB = 1024
EMPTY_HEAD = replace(
    HEAD, local_dependencies=(), remote_dependencies=(), upgrades=(), processes=(), groups=()
)


def package(name: str, *lengths: int) -> tuple[str, bytes]:
    rng = random.Random(name)
    sources = [
        ModuleSource(f"usr/share/{name}-{n}", ModuleKind.DATA, rng.randbytes(length))
        for n, length in enumerate(lengths)
    ]
    return name, build_package(replace(EMPTY_HEAD, name=name), sources, [KEY])


def ordered(master: Master, *packages: tuple[str, bytes], seed: int = 1) -> m.Burn:
    order = master.order(seed=seed)
    refs = tuple(PackageRef(name, HEAD.version, master.add(data), len(data)) for name, data in packages)
    return replace(order, wanted=replace(order.wanted, packages=refs))


def store_of(device: MemoryDevice) -> Store:
    store = opened(device).store
    assert store is not None
    return store


def validated(device: MemoryDevice, master: Master, order: m.Burn) -> None:
    burner(device, master, FROM_A if opened(device).partitions else opened(device).words).burn(order)
    commit_boot(opened(device, FROM_A), order.wanted.digest, KEYRING, CpuArch.AARCH64)


def refused(device: MemoryDevice, master: Master, order: m.Burn) -> DeviceError:
    """The error of an order, by which no byte was written and no image fetched."""
    one = burner(device, master)
    master.served.clear()
    with pytest.raises(DeviceError, match="does not fit in the store") as caught:
        one.burn(order)
    assert one.written == (0, 0)
    assert master.served[order.wanted.boot_image.digest] == 0
    assert caught.value.expected and caught.value.found and caught.value.hint
    return caught.value


def test_modules_that_the_index_cannot_name_are_refused_at_once() -> None:
    """4 MiB of store have an index of 52 KiB: 1066 blobs, however small."""
    master, device = Master(), flash()
    error = refused(device, master, ordered(master, package("many", *[30] * 1070)))
    assert "index of 1071 blobs" in str(error.found)
    assert device.operations == 0 and not any(device.contents())


@pytest.mark.parametrize("lengths", [(9000 * KIB,), (3000 * KIB, 900 * KIB, 900 * KIB), (30,) * 1066])
def test_a_pristine_flash_is_told_the_same_as_one_with_an_empty_store(lengths: tuple[int, ...]) -> None:
    """What is foreseen of a store that is not made yet is what the store says once it is."""
    master, pristine, made = Master(), flash(), flash()
    burner(made, master).burn(ordered(master))
    store = store_of(made)
    store.commit(dict.fromkeys(store.documents()), keep=[])
    order = ordered(master, package("p", *lengths))

    def outcome(device: MemoryDevice) -> str:
        try:
            burner(device, master).burn(order)
        except DeviceError as e:
            return str(e)
        return "burned"

    assert outcome(pristine) == outcome(made)


def test_room_in_pieces_that_are_too_short_is_refused_at_once() -> None:
    master, device = Master(), flash()
    names = [f"p{n}" for n in range(7)]
    validated(device, master, ordered(master, *(package(name, 430 * KIB) for name in names)))
    validated(device, master, ordered(master, *(package(name, 430 * KIB) for name in names[::2])))
    store = store_of(device)
    store.commit({"n": b"1"})
    space = store.space()
    length = 300 * KIB
    assert space.largest > length and space.free > 5 * length + 100 * KIB
    kept = [package(name, 430 * KIB) for name in names[::2]]
    refused(device, master, ordered(master, *kept, package("five", *[length] * 5), seed=2))


def test_what_an_order_left_that_was_never_finished_makes_room() -> None:
    """On a card with no set yet, nothing that is not ordered now is needed."""
    master, device = Master(), flash()
    burner(device, master).burn(ordered(master))
    store = store_of(device)
    store.commit(dict.fromkeys(store.documents()), keep=[])
    left = random.Random(1).randbytes(1500 * KIB)
    store.put(Digest.of(left), len(left), [left])
    store.checkpoint()
    order = ordered(master, package("second", 3000 * KIB))
    burner(device, master).burn(order)
    assert read_records(store_of(device).documents()).stored == order.wanted.digest
