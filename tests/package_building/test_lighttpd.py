"""The real package: Debian's lighttpd for three CPUs, whole enough to run with nothing but its own files.

Fetches about 9 MB from Debian's archive the first time, into the cache of this source tree.
"""

from __future__ import annotations

import platform
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from firmware_mgr.model.ids import CpuArch
from firmware_mgr.package.contents import Module, ModuleKind, select
from firmware_mgr.package.paths import MERGED
from firmware_mgr.package.reader import PackageFile
from firmware_mgr.packaging.assemble import build_real_package
from firmware_mgr.packaging.closure import TRIPLET, library_directories, missing_libraries
from firmware_mgr.packaging.keys import keyring_of

from .test_build import KEY

TOP = Path(__file__).resolve().parents[2]
CPUS = [CpuArch.AARCH64, CpuArch.ARMV7, CpuArch.X86_64]
#: Where the programs say that it is: in the root that is behind a link into usr.
LOADER = {
    CpuArch.AARCH64: "lib/ld-linux-aarch64.so.1",
    CpuArch.ARMV7: "lib/ld-linux-armhf.so.3",
    CpuArch.X86_64: "lib64/ld-linux-x86-64.so.2",
}


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PackageFile]:
    path = tmp_path_factory.mktemp("lighttpd") / "lighttpd.fwp"
    reference = build_real_package("lighttpd", path, [KEY], TOP / ".cache")
    with PackageFile.open(path, keyring_of([KEY])) as opened:
        opened.check_content()
        assert opened.reference() == reference
        yield opened


def lay_out(package: PackageFile, cpu: CpuArch, root: Path) -> None:
    """Write the files for a CPU as a card's root has them, with the root's own links."""
    for name, target in MERGED.items():
        (root / target).mkdir(parents=True)
        (root / name).symlink_to(target)
    for module in select(package.toc, cpu):
        place = root / module.path
        place.parent.mkdir(parents=True, exist_ok=True)
        if module.kind is ModuleKind.SYMLINK:
            place.symlink_to(module.link_target)
        else:
            place.write_bytes(package.module_bytes(module))
            place.chmod(module.mode)


def elf_modules(package: PackageFile, cpu: CpuArch) -> list[Module]:
    return [m for m in select(package.toc, cpu) if package.module_bytes(m).startswith(b"\x7fELF")]


@pytest.mark.parametrize("cpu", CPUS)
def test_no_library_is_missing(package: PackageFile, cpu: CpuArch) -> None:
    assert missing_libraries(package.toc, cpu) == {}


@pytest.mark.parametrize("cpu", CPUS)
def test_the_c_library_and_its_loader_are_in_usr(package: PackageFile, cpu: CpuArch) -> None:
    paths = {module.path for module in select(package.toc, cpu)}
    assert "usr/" + LOADER[cpu] in paths
    assert f"usr/lib/{TRIPLET[cpu]}/libc.so.6" in paths
    assert {path.partition("/")[0] for path in paths} <= {"etc", "srv", "usr", "var"}


@pytest.mark.parametrize("cpu", CPUS)
def test_library_use_is_what_readelf_says(package: PackageFile, cpu: CpuArch, tmp_path: Path) -> None:
    readelf = shutil.which("readelf")
    assert readelf, "binutils is missing: tools/prepare installs it"
    modules = elf_modules(package, cpu)
    assert len(modules) >= 7
    for module in modules:
        file = tmp_path / "file"
        file.write_bytes(package.module_bytes(module))
        command = [readelf, "--wide", "--dynamic", "--program-headers", str(file)]
        said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        wanted = set(re.findall(r"\(NEEDED\)\s+Shared library: \[(.+)]", said))
        wanted |= {Path(name).name for name in re.findall(r"program interpreter: (.+)]", said)}
        assert {name.removeprefix("so:") for name in module.consumes} == wanted, module.path
        sonames = re.findall(r"\(SONAME\)\s+Library soname: \[(.+)]", said)
        assert [name.removeprefix("so:") for name in module.provides] == sonames, module.path


@pytest.mark.parametrize("cpu", CPUS)
def test_every_library_is_found_by_its_name_where_the_loader_looks(
    package: PackageFile, cpu: CpuArch, tmp_path: Path
) -> None:
    lay_out(package, cpu, tmp_path)
    assert (tmp_path / LOADER[cpu]).is_file()
    folders = [tmp_path / folder for folder in library_directories(cpu)]
    for module in elf_modules(package, cpu):
        for name in (name.removeprefix("so:") for name in module.consumes):
            found = [folder / name for folder in folders if (folder / name).is_file()]
            assert found, f"{module.path} wants {name}"
            assert found[0].resolve().is_relative_to(tmp_path)


def test_its_process_is_unprivileged_and_serves_on_a_port_of_its_own(package: PackageFile) -> None:
    (process,) = package.toc.processes
    assert (process.name, str(process.user), str(process.readiness)) == ("lighttpd", "1000:1000", "tcp:8080")
    servers = {module.cpu for module in package.toc.modules if module.path == process.module}
    assert servers == set(CPUS)


def test_the_server_takes_its_configuration_with_its_own_libraries_alone(
    package: PackageFile, tmp_path: Path
) -> None:
    """Runs the server for this machine's CPU as far as `-tt`: configuration read, plug-ins loaded."""
    cpu = CpuArch(platform.machine())
    lay_out(package, cpu, tmp_path)
    configuration = tmp_path / "etc/lighttpd/lighttpd.conf"
    moved = configuration.read_text().replace('"/srv/www"', f'"{tmp_path}/srv/www"')
    configuration.write_text(moved)
    libraries = ":".join(f"{tmp_path}/{folder}" for folder in library_directories(cpu))
    loader = [str(tmp_path / LOADER[cpu]), "--inhibit-cache", "--library-path", libraries]
    server = [f"{tmp_path}/usr/sbin/lighttpd", "-tt", "-m", f"{tmp_path}/usr/lib/lighttpd"]
    command = [*loader, *server, "-f", str(configuration)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={})
    assert done.returncode == 0, done.stderr
