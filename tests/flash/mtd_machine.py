"""A small machine with Debian's full kernel, whose modules are MTD flash: nandsim, mtdram, block2mtd.

Knows how it is built (no boot image, no chassis: a kernel and a first root file system) and started. What
runs in it is mtd_guest.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import firmware_mgr
from firmware_mgr.imaging.build import packed
from firmware_mgr.imaging.cache import BuildCache, default_cache
from firmware_mgr.imaging.debs import fetch_debs, read_deb
from firmware_mgr.imaging.kernel import find_kernel
from firmware_mgr.imaging.modules import select_modules
from firmware_mgr.imaging.recipe import load_recipe
from firmware_mgr.imaging.rootfs import debian_userland
from firmware_mgr.imaging.tree import File, Folder, Tree
from firmware_mgr.model.ids import CpuArch, Digest
from firmware_mgr.model.software import canonical_json

KERNEL = "linux-image-amd64"
_SOURCE = Path(firmware_mgr.__file__).parent
_GUEST = Path(__file__).with_name("mtd_guest.py")
#: Of the kernel's package: the image, what is built in, and where these modules and what they need lie.
_KERNEL_PARTS = ("boot/", "modules.builtin", "/drivers/mtd/", "/kernel/lib/", "/drivers/block/brd")
#: Of the recipe's userland: what neither the store nor the kernel's interface needs.
_NOT_NEEDED = ("cryptography", "zstandard", "cffi", "e2fs", "legacy.so")
#: 64 MiB with pages of 2 KiB and blocks of 128 KiB (JEDEC id of an ST chip). Blocks 3 (ring), 20 (zone), 40
#: and 41 are bad from the factory. 5 (ring) fails to be erased after an erase, 17 (zone) and 45 at once; the
#: first page of 70 fails to be programmed; that of 33 loses its data after two reads. Reads flip bits.
NAND = (
    "id_bytes=0x20,0xa2,0x00,0x15 badblocks=3,20,40,41 weakblocks=5:1,17:0,45:0 weakpages=4480:0 "
    "gravepages=2112:2 bitflips=1"
)
#: In order, with their parameters.
MODULES = {
    "mtd": "",
    "brd": "rd_nr=1 rd_size=16384",
    "mtdram": "total_size=8192 erase_size=64",
    "block2mtd": "block2mtd=/dev/ram0,128KiB",
    "nandsim": NAND,
}
_INIT = """#!/usr/bin/busybox sh
/usr/bin/busybox mount -t proc proc /proc
/usr/bin/busybox mount -t sysfs sysfs /sys
/usr/bin/busybox mount -t devtmpfs devtmpfs /dev
while read -r module parameters; do
  /usr/bin/busybox insmod "$module" $parameters || echo "FAILED insmod $module"
done < /modules
/usr/bin/python3 /mtd_guest.py
/usr/bin/busybox poweroff -f
"""


def build_machine() -> Path:
    """A folder with `kernel` and `initramfs`; what was built of the same parts before is used again."""
    cache = default_cache()
    recipe = load_recipe()
    arch = "amd64"
    kernel_debs = fetch_debs([KERNEL], arch, cache, assumed=recipe.kernel.assumed)
    userland_debs = fetch_debs(recipe.userland.packages, arch, cache, assumed=recipe.userland.assumed)
    code: Tree = {}
    for room in ("model", "flash"):
        for path in sorted((_SOURCE / room).glob("*.py")):
            code[f"usr/lib/fwmgr/firmware_mgr/{room}/{path.name}"] = File(path.read_bytes())
    code["usr/lib/fwmgr/firmware_mgr/__init__.py"] = File(b"")
    code["mtd_guest.py"] = File(_GUEST.read_bytes())

    def build(folder: Path) -> None:
        tree: Tree = {}
        for deb in kernel_debs:
            tree.update(read_deb(deb.path, lambda path: any(part in path for part in _KERNEL_PARTS)))
        kernel = find_kernel(tree, CpuArch.X86_64, KERNEL)
        (folder / "kernel").write_bytes(kernel.image)
        keep = tuple(one for one in recipe.userland.keep if not any(word in one for word in _NOT_NEEDED))
        small = recipe.userland.model_copy(update={"keep": keep})
        base = debian_userland(
            (read_deb(deb.path) for deb in userland_debs),
            type(recipe)(small, recipe.busybox, recipe.kernel, recipe.agent, recipe.files, recipe.text),
        )
        lines = []
        for module in select_modules(kernel.tree, MODULES):
            base[module.path] = File(module.data)
            name = Path(module.path).stem.replace("-", "_")
            lines.append(f"/{module.path} {MODULES.get(name, '')}")
        base["modules"] = File("\n".join([*lines, ""]).encode())
        base["init"] = File(_INIT.encode(), 0o755)
        base |= {name: Folder() for name in ("proc", "sys", "dev", "tmp")}
        (folder / "base").write_bytes(packed(base))

    parts = {
        "debs": [deb.sha256 for deb in (*kernel_debs, *userland_debs)],
        "code": Digest.of(Path(__file__).read_bytes()).hex,
    }
    entry = BuildCache(cache).entry("mtd-machine", Digest.of(canonical_json(parts)), build)
    (entry / "initramfs").write_bytes((entry / "base").read_bytes() + packed(code))
    return entry


def run_machine(folder: Path, seconds: float) -> tuple[list[dict[str, object]], str]:
    """Start it and wait for its end: the results, and all that the console said."""
    command = [
        "nice",
        "-n",
        "10",
        "qemu-system-x86_64",
        "-machine",
        "pc,accel=tcg",
        "-cpu",
        "qemu64",
        "-m",
        "512",
    ]
    command += ["-display", "none", "-serial", "stdio", "-monitor", "none", "-nic", "none", "-no-reboot"]
    command += ["-kernel", str(folder / "kernel"), "-initrd", str(folder / "initramfs")]
    # Without no_timer_check a kernel whose busy host lets some ticks pass says that its timer does not work.
    command += ["-append", "console=ttyS0 panic=-1 loglevel=2 no_timer_check"]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=seconds, check=False, errors="replace"
    )
    lines = done.stdout.splitlines()
    results = [json.loads(line.removeprefix("RESULT ")) for line in lines if line.startswith("RESULT ")]
    return results, done.stdout + done.stderr
