"""Which kernel modules are taken, and in which order."""

from __future__ import annotations

import gzip
import lzma

import pytest
import zstandard

from firmware_mgr.imaging.modules import select_modules
from firmware_mgr.imaging.tree import File, Tree
from firmware_mgr.model.errors import PeerError, UsageError

from .elf import kernel_module

ROOT = "usr/lib/modules/6.1"


def kernel(builtin: str = "", **modules: bytes) -> Tree:
    tree: Tree = {f"{ROOT}/modules.builtin": File(builtin.encode())}
    for name, data in modules.items():
        tree[f"{ROOT}/kernel/{name}.ko"] = File(data)
    return tree


def order(tree: Tree, *wanted: str) -> list[str]:
    return [module.path.rpartition("/")[2] for module in select_modules(tree, wanted)]


def test_what_a_module_needs_is_loaded_before_it() -> None:
    tree = kernel(
        net=kernel_module("license=GPL", "depends=ring,bus"),
        ring=kernel_module("depends=bus"),
        bus=kernel_module("depends="),
    )
    assert order(tree, "net") == ["bus.ko", "ring.ko", "net.ko"]


def test_the_boards_order_is_kept_and_nothing_comes_twice() -> None:
    tree = kernel(a=kernel_module("depends=c"), b=kernel_module("depends=c"), c=kernel_module())
    assert order(tree, "b", "a", "b") == ["c.ko", "b.ko", "a.ko"]


def test_what_is_built_in_is_left_out() -> None:
    tree = kernel("kernel/fs/ext4.ko\nkernel/lib/crc-x.ko\n", fs=kernel_module("depends=crc_x"))
    assert order(tree, "ext4", "fs") == ["fs.ko"]


def test_hyphen_and_underline_are_one() -> None:
    tree = {f"{ROOT}/kernel/virtio-rng.ko": File(kernel_module())}
    assert order(tree, "virtio_rng") == ["virtio-rng.ko"]


def test_a_soft_dependency_is_taken_when_it_is_there() -> None:
    tree = kernel(fs=kernel_module("softdep=pre: crc32c lz4 post: later"), crc32c_generic=kernel_module())
    assert order(tree, "fs") == ["crc32c_generic.ko", "fs.ko"]


def test_a_missing_module_is_named_with_who_needs_it() -> None:
    with pytest.raises(UsageError, match="fs: kernel module is missing: expected nowhere"):
        order(kernel(fs=kernel_module("depends=nowhere")), "fs")
    with pytest.raises(UsageError, match="board: kernel module is missing: expected tape"):
        order(kernel(), "tape")


def test_packed_modules_are_unpacked() -> None:
    plain = kernel_module("depends=")
    tree = {
        f"{ROOT}/kernel/a.ko.xz": File(lzma.compress(plain)),
        f"{ROOT}/kernel/b.ko.gz": File(gzip.compress(plain)),
        f"{ROOT}/kernel/c.ko.zst": File(zstandard.ZstdCompressor().compress(plain)),
    }
    modules = select_modules(tree, ["a", "b", "c"])
    assert [module.path.rpartition("/")[2] for module in modules] == ["a.ko", "b.ko", "c.ko"]
    assert {module.data for module in modules} == {plain}


def test_a_file_that_is_no_module_is_refused() -> None:
    with pytest.raises(PeerError, match=r"bad\.ko: not a kernel module"):
        order(kernel(bad=b"text"), "bad")
    with pytest.raises(PeerError, match=r"bad\.ko\.xz: kernel module cannot be unpacked"):
        order({f"{ROOT}/kernel/bad.ko.xz": File(b"text")}, "bad")
