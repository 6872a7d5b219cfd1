"""Kernels: the one in a tree is found, and any doubt is said."""

from __future__ import annotations

import gzip
import subprocess
from pathlib import Path

import pytest

from firmware_mgr.imaging.kernel import find_kernel, load_tree
from firmware_mgr.imaging.tree import File, Tree
from firmware_mgr.model.errors import UsageError
from firmware_mgr.model.ids import CpuArch

IMAGE = bytes(0x38) + b"ARM\x64" + b"code"


def tree(**more: bytes) -> Tree:
    files: Tree = {"boot/vmlinuz-6.1": File(IMAGE), "lib/modules/6.1/modules.builtin": File(b"")}
    return files | {path.replace("__", "/"): File(data) for path, data in more.items()}


def test_image_and_release_are_found() -> None:
    kernel = find_kernel(tree(), CpuArch.AARCH64, "x")
    assert (kernel.image, kernel.release) == (IMAGE, "6.1")
    assert "usr/lib/modules/6.1/modules.builtin" in kernel.tree


def test_a_gzipped_image_is_the_same_kernel() -> None:
    packed = tree() | {"boot/vmlinuz-6.1": File(gzip.compress(IMAGE))}
    assert (
        find_kernel(packed, CpuArch.AARCH64, "x").packed == find_kernel(tree(), CpuArch.AARCH64, "x").packed
    )


def test_another_cpus_kernel_is_refused() -> None:
    with pytest.raises(UsageError, match=r"boot/vmlinuz-6\.1: not a kernel image for armv7"):
        find_kernel(tree(), CpuArch.ARMV7, "x")


def test_two_kernels_are_one_too_many() -> None:
    with pytest.raises(UsageError, match=r"not exactly one kernel.*boot/vmlinuz, boot/vmlinuz-6\.1"):
        find_kernel(tree(boot__vmlinuz=IMAGE), CpuArch.AARCH64, "x")
    with pytest.raises(UsageError, match=r"not exactly one kernel.*found none"):
        find_kernel({}, CpuArch.AARCH64, "x")


def test_a_kernel_that_cannot_unpack_the_image_is_refused() -> None:
    path = {"boot/config-6.1": File(b"CONFIG_RD_GZIP=y\n# CONFIG_RD_ZSTD is not set\n")}
    with pytest.raises(UsageError, match=r"config-6\.1.*expected CONFIG_RD_ZSTD=y"):
        find_kernel(tree() | path, CpuArch.AARCH64, "x")


def test_folder_and_tar_give_the_same_tree(tmp_path: Path) -> None:
    folder = tmp_path / "k"
    (folder / "boot").mkdir(parents=True)
    (folder / "boot/vmlinuz-6.1").write_bytes(IMAGE)
    subprocess.run(["tar", "-C", folder, "-cJf", tmp_path / "k.tar.xz", "boot"], check=True)
    (folder / "boot/vmlinuz-6.1").chmod(0o644)
    from_tar = load_tree(tmp_path / "k.tar.xz")
    assert from_tar["boot/vmlinuz-6.1"] == load_tree(folder)["boot/vmlinuz-6.1"]


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"nowhere\.tar"):
        load_tree(tmp_path / "nowhere.tar")
