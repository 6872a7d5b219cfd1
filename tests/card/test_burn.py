"""A burn compares before it writes, and no power cut leaves a card that cannot go on."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from uuid import UUID

import pytest

from firmware_mgr.card.commit import commit_boot, restore_tries_of_running
from firmware_mgr.card.records import pieces_in_doubt
from firmware_mgr.flash.control import decide_boot, read_control, write_control
from firmware_mgr.flash.control_layout import Target
from firmware_mgr.flash.device import Cut, MemoryDevice, PowerCut
from firmware_mgr.flash.gpt import Partition, write_table
from firmware_mgr.flash.letter import Letter
from firmware_mgr.link import messages as m
from firmware_mgr.master.verdict import Ruling, judge, lacking
from firmware_mgr.model.errors import DeviceError, PeerError, UsageError
from firmware_mgr.model.ids import CpuArch, Digest, SlotId
from firmware_mgr.package.contents import Group, ModuleKind
from firmware_mgr.package.errors import PackageRefused
from firmware_mgr.package.head import parse_header
from firmware_mgr.package.layout import HEADER_SIZE
from firmware_mgr.packaging.build import ModuleSource, build_package
from tests.card.burning import FROM_A, FROM_B, MIB, NETBOOTED, Master, burner, flash, image, looked, opened
from tests.package.format_1 import build_package_1
from tests.package.samples import HEAD, KEY, KEYRING, OTHER_KEY, SOURCES, sample


def hello(device: MemoryDevice, words: object = FROM_A) -> m.Hello:
    found = looked(device, words)  # type: ignore[arg-type]
    areas = opened(device, words)  # type: ignore[arg-type]
    return m.Hello(
        1,
        "0",
        SlotId(1),
        "qemu-aarch64",
        "aarch64",
        areas.words.source,
        "1",
        found.report,
        found.believes(areas),
        tuple(found.records.kept_sets.values()),
        None,
        1.0,
        "boot",
    )


def boots(device: MemoryDevice, order: m.Burn) -> Target:
    """Where the loader of this flash would end, going by what the partitions really hold."""
    areas = opened(device)
    if areas.partitions is None:
        return Target.NETBOOT
    found = looked(device)
    good = [
        letter
        for letter, report in ((Letter.A, found.report.boot_a), (Letter.B, found.report.boot_b))
        if report.state is m.AreaState.GOOD
    ]
    return decide_boot(read_control(areas.window("control")), good).target


def burned(order: m.Burn, master: Master) -> MemoryDevice:
    device = flash()
    burner(device, master).burn(order)
    commit_boot(opened(device, FROM_A), order.wanted.digest, KEYRING, CpuArch.AARCH64)
    return device


def test_a_pristine_card_holds_the_set_after_a_burn_and_is_found_runnable() -> None:
    master, device = Master(), flash()
    order = master.order()
    stored = burner(device, master).burn(order)
    assert stored.reboot_needed and stored.boot_partition is Letter.A
    assert stored.boot_bytes_written == order.wanted.boot_image.length
    assert lacking(hello(device), order.wanted) == ""
    assert judge(hello(device), order.wanted, None, frozenset()).ruling is Ruling.RUN


def test_a_new_boot_image_is_on_trial_until_the_card_is_validated() -> None:
    master, device = Master(), flash()
    order = master.order()
    burner(device, master).burn(order)
    record = read_control(opened(device).window("control")).effective
    assert (record.boot, record.trial, record.left_a) == (Target.NETBOOT, Target.A, 2)
    commit_boot(opened(device, FROM_A), order.wanted.digest, KEYRING, CpuArch.AARCH64)
    record = read_control(opened(device).window("control")).effective
    assert (record.boot, record.trial) == (Target.A, None)


def test_a_repeated_burn_writes_nothing_and_fetches_only_heads() -> None:
    master = Master()
    order = master.order()
    device = burned(order, master)
    master.served.clear()
    again = burner(device, master, FROM_A).burn(order)
    assert (again.boot_bytes_written, again.package_bytes_written, again.reboot_needed) == (0, 0, False)
    assert master.served[order.wanted.boot_image.digest] == 0


def test_a_new_image_goes_to_the_partition_that_is_not_in_use() -> None:
    master = Master()
    device = burned(master.order(), master)
    before = device.contents()
    area_a = opened(device).window("boot-a")
    second = burner(device, master, FROM_A).burn(master.order("2", seed=9))
    assert second.boot_partition is Letter.B and second.package_bytes_written == 0
    start, end = area_a.offset, area_a.offset + area_a.size
    assert device.contents()[start:end] == before[start:end]
    record = read_control(opened(device).window("control")).effective
    assert (record.boot, record.trial) == (Target.A, Target.B)


def test_damage_of_the_running_image_is_mended_from_itself_and_one_piece_travels() -> None:
    master = Master()
    order = master.order()
    device = burned(order, master)
    device.flip_bit(opened(device).window("boot-a").offset + MIB + 5, 3)
    assert "pieces are bad" in lacking(hello(device), order.wanted)
    master.served.clear()
    mended = burner(device, master, FROM_A).burn(order)
    assert mended.boot_partition is Letter.B and mended.reboot_needed
    assert master.served[order.wanted.boot_image.digest] == MIB
    assert lacking(hello(device, FROM_B), order.wanted) == ""


def test_a_master_that_dies_within_an_image_costs_no_piece_that_was_written() -> None:
    """Power did not fail, so what was synced is not in doubt: three runs, the master dies before the last."""
    master = Master()
    old = image(1)[: 2 * MIB + 1000]
    device = burned(master.order(raw=old), master)
    new = image(9)[:MIB] + old[MIB : 2 * MIB] + image(9)[:1000]  # the piece in the middle need not travel
    order = master.order("2", raw=new)
    fetch, left = master.fetch, 1

    def dying(digest: Digest, start: int, length: int) -> Iterator[bytes]:
        nonlocal left
        if digest == order.wanted.boot_image.digest:
            left -= 1
            if left < 0:
                raise PeerError("the master is gone")
        yield from fetch(digest, start, length)

    master.fetch = dying  # type: ignore[method-assign]
    with pytest.raises(PeerError, match="gone"):
        burner(device, master, FROM_A).burn(order)
    master.fetch = fetch  # type: ignore[method-assign]
    store = opened(device).store
    assert store is not None and pieces_in_doubt(store.documents(), Letter.B) == set()
    again = burner(device, master, FROM_A).burn(order)
    assert again.boot_bytes_written == 1000 and again.boot_partition is Letter.B


def test_after_netboot_only_the_bad_piece_is_written() -> None:
    master = Master()
    order = master.order()
    device = burned(order, master)
    device.flip_bit(opened(device).window("boot-a").offset + MIB + 5, 3)
    mended = burner(device, master, NETBOOTED).burn(order)
    assert (mended.boot_partition, mended.boot_bytes_written) == (Letter.A, MIB)
    assert mended.package_bytes_written == 0


def test_one_bad_module_is_written_again_and_nothing_else() -> None:
    master = Master()
    order = master.order()
    device = burned(order, master)
    areas = opened(device)
    assert areas.store is not None
    library = next(source for source in SOURCES if source.path.endswith("libx.so.1.0"))
    extent = next(e for d, e in areas.store.blobs().items() if areas.store.read(d) == library.data)
    device.flip_bit(areas.window("store").offset + extent.offset, 0)
    assert "1 modules are bad" in lacking(hello(device), order.wanted)
    mended = burner(device, master, FROM_A).burn(order)
    assert (mended.boot_bytes_written, mended.package_bytes_written) == (0, len(library.data))
    assert not mended.reboot_needed and lacking(hello(device), order.wanted) == ""


def test_a_committed_image_that_comes_up_gets_its_starts_back_and_a_trial_does_not() -> None:
    master, device = Master(), flash()
    order = master.order()
    burner(device, master).burn(order)
    window = opened(device).window("control")
    write_control(window, replace(read_control(window).effective, left_a=1))
    restore_tries_of_running(opened(device, FROM_A))
    assert read_control(window).effective.left_a == 1
    commit_boot(opened(device, FROM_A), order.wanted.digest, KEYRING, CpuArch.AARCH64)
    write_control(window, replace(read_control(window).effective, left_a=0))
    restore_tries_of_running(opened(device, FROM_A))
    assert read_control(window).effective.left_a == 3


def test_a_netbooted_burn_of_a_new_image_leaves_the_good_committed_one_alone() -> None:
    master = Master()
    device = burned(master.order(), master)
    new = image(1)[: 2 * MIB + 1000]
    stored = burner(device, master).burn(master.order("2", raw=new[:MIB] + image(9)[MIB : len(new)]))
    assert stored.boot_partition is Letter.B
    assert looked(device).report.boot_a.state is m.AreaState.GOOD
    assert read_control(opened(device).window("control")).effective.boot is Target.A


def foreign() -> MemoryDevice:
    device = flash()
    write_table(device, (Partition("rootfs", MIB, 4 * MIB, UUID(int=1)),))
    return device


def test_flash_of_another_system_is_reported_and_left_alone() -> None:
    device, master = foreign(), Master()
    before = device.contents()
    assert looked(device).report.table is m.AreaState.BAD
    with pytest.raises(DeviceError, match="another system") as caught:
        burner(device, master).burn(master.order())
    assert "--erase" in caught.value.hint and device.contents() == before


def test_flash_whose_blocks_the_loader_cannot_count_is_refused_before_any_write() -> None:
    device, master = MemoryDevice(16 * MIB, block_size=4096), Master()
    with pytest.raises(DeviceError, match="second copy of control") as caught:
        burner(device, master).burn(master.order())
    assert (caught.value.expected, caught.value.found) == ("blocks of 512 bytes", "blocks of 4096 bytes")
    assert device.operations == 0
    burner(device, master).burn(replace(master.order(), save_image=False))


def test_flash_of_another_system_is_laid_out_anew_when_the_user_says_so() -> None:
    device, master = foreign(), Master()
    order = replace(master.order(), erase=True)
    burner(device, master).burn(order)
    assert lacking(hello(device), order.wanted) == ""


def test_what_no_set_needs_leaves_the_store_when_the_next_set_is_validated() -> None:
    master = Master()
    device = burned(master.order(), master)
    old = opened(device).store
    assert old is not None
    only_old = next(s.data for s in SOURCES if s.path.endswith("libx.so.1.0"))
    sources = [s if s.data != only_old else replace(s, data=b"another " * 64) for s in SOURCES]
    order = master.order(package=build_package(HEAD, sources, [KEY]))
    burner(device, master, FROM_A).burn(order)
    assert Digest.of(only_old) in opened(device).store.blobs()  # type: ignore[union-attr]
    commit_boot(opened(device, FROM_A), order.wanted.digest, KEYRING, CpuArch.AARCH64)
    after = opened(device).store
    assert after is not None and Digest.of(only_old) not in after.blobs()
    assert lacking(hello(device), order.wanted) == ""


def test_both_control_copies_bad_are_written_anew() -> None:
    master = Master()
    order = master.order()
    device = burned(order, master)
    window = opened(device).window("control")
    for offset in (0, 512 * 1024):
        window.write(offset, b"\xff" * 512)
    window.sync()
    commit_boot(opened(device, FROM_A), order.wanted.digest, KEYRING, CpuArch.AARCH64)
    state = read_control(opened(device).window("control"))
    assert all(copy.record is not None for copy in state.copies)
    assert state.effective.boot is Target.A


@pytest.mark.parametrize("words", [FROM_A, NETBOOTED])
def test_a_store_that_is_gone_is_made_anew_and_the_boot_image_stays(words: object) -> None:
    master = Master()
    order = master.order()
    device = burned(order, master)
    window = opened(device).window("store")
    window.write(0, b"\xff" * 64 * 1024)
    window.sync()
    mended = burner(device, master, words).burn(order)  # type: ignore[arg-type]
    assert mended.boot_bytes_written == 0 and mended.package_bytes_written > 0
    assert lacking(hello(device), order.wanted) == ""


def untouched(device: MemoryDevice) -> bool:
    return device.operations == 0 and not any(device.contents())


def refused(package: bytes) -> PeerError:
    """The error of burning this package to a pristine card, of which nothing may be written."""
    master, device = Master(), flash()
    with pytest.raises(PeerError) as caught:
        burner(device, master).burn(master.order(package=package))
    assert untouched(device)
    return caught.value


def test_a_package_by_an_unknown_key_is_refused_and_nothing_is_written() -> None:
    error = refused(build_package(HEAD, SOURCES, [OTHER_KEY]))
    assert isinstance(error, PackageRefused) and "unknown key" in error.what
    assert error.expected and error.found and error.where


def test_an_altered_head_is_refused_and_nothing_is_written() -> None:
    altered = bytearray(sample())
    altered[400] ^= 1
    error = refused(bytes(altered))
    assert error.expected and error.found and error.where


def test_a_package_for_another_cpu_is_refused_and_nothing_is_written() -> None:
    foreign = [
        source for source in SOURCES if source.cpu is not CpuArch.AARCH64 and "helper" not in source.path
    ]
    head = HEAD.__class__("sample", "1.2-3", 1, processes=())
    error = refused(build_package(head, foreign, [KEY]))
    assert (error.expected, error.found) == ("aarch64", "x86_64")


def test_altered_content_is_refused_before_that_module_is_written() -> None:
    altered = bytearray(sample())
    altered[altered.index(b"server for arm")] ^= 1
    master, device = Master(), flash()
    with pytest.raises(PackageRefused, match="altered"):
        burner(device, master).burn(master.order(package=bytes(altered)))
    assert looked(device).records.stored is None


def test_an_image_for_another_board_is_refused_and_nothing_is_written() -> None:
    master, device = Master(), flash()
    one = burner(device, master)
    one.board = "qemu-armv7"
    with pytest.raises(PeerError) as caught:
        one.burn(master.order())
    assert (caught.value.expected, caught.value.found) == ("qemu-armv7", "qemu-aarch64")
    assert untouched(device)


def test_a_set_that_does_not_fit_is_refused_before_the_first_module() -> None:
    large = [
        *SOURCES,
        SOURCES[0].__class__("usr/share/large", SOURCES[0].kind, random.Random(1).randbytes(5 * MIB)),
    ]
    master, device = Master(), flash()
    with pytest.raises(DeviceError, match="does not fit in the store") as caught:
        burner(device, master).burn(master.order(package=build_package(HEAD, large, [KEY])))
    assert caught.value.expected and caught.value.found and caught.value.hint
    assert untouched(device)


def test_an_image_that_does_not_fit_is_refused_before_the_flash_is_laid_out() -> None:
    master, device = Master(), flash()
    with pytest.raises(UsageError, match="boot image does not fit its partition"):
        burner(device, master).burn(master.order(raw=image(1, 4 * MIB)))
    assert untouched(device)


def test_a_store_that_is_to_be_made_where_one_was_lost_is_measured_too() -> None:
    """The table is there, the store cannot be read: nothing of it is made anew for a set that has no room."""
    master, device = Master(), flash()
    burner(device, master).burn(master.order())
    areas = opened(device)
    window = areas.window("store")
    window.write(0, bytes(window.size))
    window.sync()
    assert opened(device).store is None
    before = device.contents()
    large = [*SOURCES, replace(SOURCES[0], path="usr/share/large", data=random.Random(1).randbytes(5 * MIB))]
    with pytest.raises(DeviceError, match="does not fit in the store"):
        burner(device, master).burn(master.order(package=build_package(HEAD, large, [KEY])))
    assert device.contents() == before


def cuts(make: MemoryDevice, order: m.Burn, master: Master, words: object, step: int) -> int:
    """Cut a burn at every step-th operation in every way; after each, the card must be able to go on."""
    contents, cases = make.contents(), 0
    for n in range(1, 100_000, step):
        for cut in Cut:
            device = flash()
            device.load(contents)
            device.cut_power(n, cut)
            try:
                burner(device, master, words).burn(order)  # type: ignore[arg-type]
            except PowerCut:
                pass
            else:
                return cases
            device.crash(random.Random(f"{n} {cut.value}"))
            cases += 1
            case = f"cut {cut.value} operation {n}"
            target = boots(device, order)
            resumed = burner(device, master, {Target.A: FROM_A, Target.B: FROM_B}.get(target, NETBOOTED))
            stored = resumed.burn(order)
            after = {Letter.A: FROM_A, Letter.B: FROM_B}[stored.boot_partition]
            assert lacking(hello(device, after), order.wanted) == "", case
    raise AssertionError("the burn never ends")


def test_a_pristine_burn_cut_anywhere_goes_on_and_ends_whole() -> None:
    master = Master()
    assert cuts(flash(), master.order(), master, NETBOOTED, 1) > 100


def test_an_update_cut_anywhere_leaves_a_card_that_boots_old_or_new() -> None:
    master = Master()
    device = burned(master.order(), master)
    order = master.order("2", seed=9)
    contents = device.contents()
    for n in range(1, 100_000):
        for cut in Cut:
            cutting = flash()
            cutting.load(contents)
            cutting.cut_power(n, cut)
            try:
                burner(cutting, master, FROM_A).burn(order)
            except PowerCut:
                pass
            else:
                return
            cutting.crash(random.Random(f"{n} {cut.value}"))
            case = f"cut {cut.value} operation {n}"
            target = boots(cutting, order)
            assert target in (Target.A, Target.B), case
            words = FROM_A if target is Target.A else FROM_B
            assert judge(hello(cutting, words), order.wanted, None, frozenset()).ruling is not Ruling.HOLD, (
                case
            )
    raise AssertionError("the burn never ends")


def test_a_burn_without_the_image_leaves_boot_partitions_alone_and_says_netboot() -> None:
    device, master = flash(), Master()
    old = master.order("1", 1)
    burner(device, master).burn(old)
    commit_boot(opened(device, FROM_A), old.wanted.digest, KEYRING, CpuArch.AARCH64)
    assert boots(device, old) is Target.A
    order = replace(master.order("2", 2), save_image=False)
    burned = burner(device, master).burn(order)
    assert burned.boot_partition is None and not burned.reboot_needed and burned.boot_bytes_written == 0
    assert boots(device, order) is Target.NETBOOT
    found = looked(device)
    assert found.report.boot_a.image == old.wanted.boot_image.digest
    assert order.wanted.digest in found.records.kept_sets


@pytest.mark.parametrize("cut", list(Cut))
def test_a_cut_in_a_burn_without_the_image_is_mended_by_the_same_order(cut: Cut) -> None:
    master = Master()
    order = replace(master.order(), save_image=False)
    for step in range(0, 60, 7):
        device = flash()
        device.cut_power(step, cut)
        with suppress(PowerCut):
            burner(device, master).burn(order)
        device.crash(random.Random(step))
        burner(device, master).burn(order)
        assert boots(device, order) is Target.NETBOOT
        assert order.wanted.digest in looked(device).records.kept_sets


def noisy(count: int, seed: int = 1) -> bytes:
    """Bytes that do not shrink."""
    return hashlib.shake_128(bytes([seed])).digest(count)


class Counting(Master):
    """Notes each range that was asked for."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[tuple[Digest, int, int]] = []

    def fetch(self, digest: Digest, start: int, length: int) -> Iterator[bytes]:
        self.asked.append((digest, start, length))
        return super().fetch(digest, start, length)


def test_modules_that_lie_together_are_one_request() -> None:
    master = Counting()
    order = master.order()
    burner(flash(), master).burn(order)
    (package,) = order.wanted.packages
    header = parse_header(master.blobs[package.digest][:HEADER_SIZE])
    content = [start for digest, start, _ in master.asked if digest == package.digest]
    assert len([start for start in content if start >= header.content_offset]) == 1


def test_a_package_of_format_1_is_burned_as_ever() -> None:
    device, master = flash(), Master()
    order = master.order(package=build_package_1(HEAD, SOURCES, [KEY]))
    burner(device, master).burn(order)
    assert lacking(hello(device), order.wanted) == ""


@pytest.mark.parametrize("build", [build_package, build_package_1])
def test_bytes_that_are_not_the_signed_ones_never_reach_flash(build: Callable[..., bytes]) -> None:
    device, master = flash(), Master()
    good = noisy(MIB + 5000)
    order = master.order(package=build(HEAD, [*SOURCES, ModuleSource("big", ModuleKind.DATA, good)], [KEY]))
    (ref,) = order.wanted.packages
    altered = bytearray(master.blobs[ref.digest])
    at = altered.rindex(good[-4000:-3900])  # in the last piece
    altered[at : at + 64] = b"not what was signed, and to be seen in flash if it ever got there"[:64]
    master.blobs[ref.digest] = bytes(altered)
    with pytest.raises(PackageRefused, match="content was altered"):
        burner(device, master).burn(order)
    assert b"not what was signed" not in device.read(0, device.size)
    # The same order with the right bytes goes on, and fetches no more than what was missing.
    altered[at : at + 64] = good[-4000:-3936]
    master.blobs[ref.digest] = bytes(altered)
    burner(device, master).burn(order)
    assert lacking(hello(device), order.wanted) == ""


def test_a_card_gets_the_groups_that_are_wanted_and_their_processes() -> None:
    device, master = flash(), Master()
    extra = ModuleSource("usr/share/doc", ModuleKind.DATA, b"manual" * 9, groups=("docs",))
    server = replace(SOURCES[5], groups=("docs",))
    head = replace(HEAD, groups=(Group("docs", wanted=False),))
    sources = [*SOURCES[:5], server, *SOURCES[6:], extra]
    order = master.order(package=build_package(head, sources, [KEY]))
    burner(device, master).burn(order)
    (stored,) = looked(device).packages.values()
    assert {module.path for module in stored.toc.modules} - {module.path for module in stored.modules} == {
        "usr/share/doc",
        "usr/sbin/server",
    }
    assert [process.name for process in stored.processes] == ["helper"]
    assert Digest.of(extra.data) not in opened(device).store.blobs()  # type: ignore[union-attr]
