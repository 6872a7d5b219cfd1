"""A file tree as Debian packages would give it: a server, its plug-in, its libraries, its loader."""

from __future__ import annotations

from firmware_mgr.imaging.tree import File, Folder, Link, Tree
from firmware_mgr.model.ids import CpuArch
from firmware_mgr.packaging.closure import TRIPLET

from .elf_programs import program

LOADER = {
    CpuArch.AARCH64: "ld-linux-aarch64.so.1",
    CpuArch.ARMV7: "ld-linux-armhf.so.3",
    CpuArch.X86_64: "ld-linux-x86-64.so.2",
}


#: Where programs say that the loader is: fixed by each CPU's ABI, and older than the merged /usr.
LOADER_FOLDER = {CpuArch.AARCH64: "lib", CpuArch.ARMV7: "lib", CpuArch.X86_64: "lib64"}


def server_tree(cpu: CpuArch = CpuArch.AARCH64, *, merged: bool = True) -> Tree:
    """The server needs libssl, which needs libcrypto; all need libc; nobody needs libunused.

    Not `merged`, the C library is in /lib and the loader in /lib64, as Debian packages have them.
    """
    usr = "usr/" if merged else ""
    lib, usr_lib, loader = f"{usr}lib/{TRIPLET[cpu]}", f"usr/lib/{TRIPLET[cpu]}", LOADER[cpu]
    interpreter = f"{LOADER_FOLDER[cpu]}/{loader}"
    return {
        "usr": Folder(),
        "usr/sbin/server": File(
            program("libssl.so.3", "libc.so.6", cpu=cpu, interpreter=f"/{interpreter}"), 0o755
        ),
        "usr/lib/server/mod_x.so": File(program("libextra.so.1", "libc.so.6", cpu=cpu, soname="mod_x.so")),
        f"{usr_lib}/libssl.so.3": Link("libssl.so.3.0.1"),
        f"{usr_lib}/libssl.so.3.0.1": File(
            program("libcrypto.so.3", "libc.so.6", cpu=cpu, soname="libssl.so.3")
        ),
        f"{usr_lib}/libcrypto.so.3": File(program("libc.so.6", cpu=cpu, soname="libcrypto.so.3")),
        f"{usr_lib}/libextra.so.1": File(program("libc.so.6", cpu=cpu, soname="libextra.so.1")),
        f"{usr_lib}/libunused.so.1": File(program("libc.so.6", cpu=cpu, soname="libunused.so.1")),
        f"{lib}/libc.so.6": File(program(loader, cpu=cpu, soname="libc.so.6"), 0o755),
        f"{lib}/{loader}": File(program(cpu=cpu, soname=loader), 0o755),
        f"{usr}{interpreter}": Link(f"/{lib}/{loader}"),
        "etc/server/mime.types": File(b"text/plain txt\n"),
        "usr/share/doc/server/copyright": File(b"free\n"),
    }
