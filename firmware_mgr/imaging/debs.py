"""Debian packages for any CPU: resolved, downloaded, kept by hash, and read; no root, no installation.

Knows apt in a directory of its own, and lock files that pin name, version and hash. Refuses to know what
a package is wanted for. Nothing of the host's apt state is read but its sources, keys and download settings;
nothing foreign is executed.
"""

from __future__ import annotations

import fcntl
import hashlib
import logging
import os
import re
import shutil
import subprocess
import tempfile
import tomllib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

from firmware_mgr.imaging.sources import debian_sources
from firmware_mgr.imaging.tree import Tree, read_tar
from firmware_mgr.model.errors import PeerError, UsageError
from firmware_mgr.model.ids import CpuArch, Digest

#: Debian's names of the CPUs.
DEBIAN_ARCH = {CpuArch.AARCH64: "arm64", CpuArch.ARMV7: "armhf", CpuArch.X86_64: "amd64"}

log = logging.getLogger(__name__)

LOCK_FORMAT = 1
#: A line of `apt-get --print-uris` with Acquire::ForceHash: 'URI' FILE SIZE SHA256:HEX
URI_LINE = re.compile(r"'(?P<uri>[^']+)' (?P<file>\S+)\.deb (?P<size>\d+) SHA256:(?P<sha256>[0-9a-f]{64})")
#: An ar archive: magic, then headers with the name in 16 bytes and the time, in decimal, in the next 12.
_AR_MAGIC = b"!<arch>\n"
_AR_TIME = slice(16, 28)
#: An index of a suite beside the release's own: its security fixes, updates, backports.
_BESIDE_RELEASE = re.compile(r"/dists/([a-z]+-[a-z-]+)/")
_APT_HELPER = Path("/usr/lib/apt/apt-helper")


@dataclass(frozen=True, slots=True, order=True)
class DebFile:
    """A Debian package file in the cache. `arch` is Debian's name, or `all`."""

    name: str
    version: str
    arch: str
    sha256: str
    path: Path


@dataclass(frozen=True, slots=True, order=True)
class Pin:
    """A line of a lock file: exactly which package file is meant, and where it was seen."""

    name: str
    version: str
    arch: str
    sha256: str
    uri: str


def fetch_debs(
    names: Sequence[str],
    arch: str,
    cache: Path,
    lock: Path | None = None,
    *,
    assumed: Sequence[str] = (),
    refresh: bool = False,
    apt_etc: Path = Path("/etc/apt"),
) -> tuple[DebFile, ...]:
    """The packages `names` for Debian's `arch` and all that they depend on, in order of name.

    `assumed` packages count as present (at a version above any), and so neither they nor what only they need
    is fetched. With a `lock` file exactly its versions are fetched; it is written when it is missing or
    `refresh` is set. Without one, what was resolved last time with this cache is used until `refresh`, or
    until the archive no longer has it. `apt_etc` holds the apt sources whose Debian archives are asked.
    Raises UsageError (unknown package, no apt, lock does not fit) or PeerError (the archive).
    """
    arguments = [arch, *sorted(names), "/", *sorted(assumed)]
    key = hashlib.sha256("\n".join(arguments).encode()).hexdigest()[:16]
    remembered = cache / "debs" / f"resolved-{key}.toml"
    file = lock or remembered
    with _locked(cache / "debs.lock"):
        stale = refresh or not file.exists()
        if not stale:
            try:
                return _download(read_lock(file, names, arch), cache, file)
            except PeerError:
                if lock is not None:
                    raise
        _write_lock(file, _resolve(names, arch, debian_sources(apt_etc), assumed), names, arch)
        return _download(read_lock(file, names, arch), cache, file)


def fetch_pins(pins: Sequence[Pin], cache: Path, file: Path) -> tuple[DebFile, ...]:
    """Exactly these package files, of any CPUs; `file` is the lock file that has them, for what is said.

    Raises PeerError when the archive no longer has one of them.
    """
    with _locked(cache / "debs.lock"):
        return _download(pins, cache, file)


def read_deb(path: Path, wanted: Callable[[str], bool] = lambda _: True) -> Tree:
    """The wanted files of a package. Raises PeerError when it is damaged."""
    command = ["dpkg-deb", "--fsys-tarfile", str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stderr is not None
        tree = read_tar(process.stdout, str(path), wanted)
        process.stdout.read()
        complaint = process.stderr.read().decode(errors="replace").strip()
    if process.returncode:
        raise PeerError("not a Debian package", where=str(path), found=complaint)
    return tree


def built_at(path: Path) -> int:
    """When a package was built, in seconds since 1970: the time of its first member (deb(5)).

    Raises PeerError when it is no package.
    """
    with path.open("rb") as stream:
        head = stream.read(len(_AR_MAGIC) + _AR_TIME.stop)
    time = head[len(_AR_MAGIC) :][_AR_TIME].strip()
    if not head.startswith(_AR_MAGIC) or not time.isdigit():
        raise PeerError("not a Debian package", where=str(path), found=head[:8].hex())
    return int(time)


def read_lock(file: Path, names: Sequence[str], arch: str) -> tuple[Pin, ...]:
    """The pins of a lock file, checked to be for these packages. Raises UsageError."""
    hint = "write it anew with: fwmgr image build --refresh"
    try:
        document = tomllib.loads(file.read_text(encoding="utf-8"))
        if document["format"] != LOCK_FORMAT:
            raise UsageError("lock file of another format", where=str(file), expected=LOCK_FORMAT, hint=hint)
        pins = tuple(
            sorted(Pin(**{key: str(text) for key, text in item.items()}) for item in document["package"])
        )
        found = (document["arch"], tuple(document["names"]))
        for pin in pins:
            Digest(pin.sha256)
    except (OSError, tomllib.TOMLDecodeError, KeyError, TypeError) as e:
        raise UsageError(
            "not a lock file of Debian packages", where=str(file), found=repr(e), hint=hint
        ) from e
    if found != (arch, tuple(sorted(names))):
        wanted = f"{arch}: {' '.join(sorted(names))}"
        text = f"{found[0]}: {' '.join(found[1])}"
        raise UsageError(
            "lock file is for other packages", where=str(file), expected=wanted, found=text, hint=hint
        )
    return pins


def _write_lock(file: Path, pins: Sequence[Pin], names: Sequence[str], arch: str) -> None:
    lines = [f"format = {LOCK_FORMAT}", f'arch = "{arch}"']
    lines.append("names = [" + ", ".join(f'"{name}"' for name in sorted(names)) + "]")
    for pin in sorted(pins):
        lines += ["", "[[package]]", f'name = "{pin.name}"', f'version = "{pin.version}"']
        lines += [f'arch = "{pin.arch}"', f'sha256 = "{pin.sha256}"', f'uri = "{pin.uri}"']
    file.parent.mkdir(parents=True, exist_ok=True)
    draft = file.with_name(f".{file.name}.{os.getpid()}")
    draft.write_text("\n".join(lines) + "\n", encoding="utf-8")
    draft.replace(file)


def _resolve(names: Sequence[str], arch: str, sources: str, assumed: Sequence[str]) -> tuple[Pin, ...]:
    """Ask apt, in a directory of its own, what the packages need."""
    with tempfile.TemporaryDirectory(prefix="fwmgr-apt-") as scratch:
        home = private_apt(Path(scratch), arch, sources, assumed)
        update_index(home)
        install = ["apt-get", "install", "-q", "--yes", "--print-uris", "--", *sorted(names)]
        answer = run_apt(home, install, "packages cannot be resolved", UsageError)
    pins = []
    for line in answer.splitlines():
        if not line.startswith("'"):
            continue
        match = URI_LINE.match(line)
        if match is None:
            raise PeerError("apt said something else than an address with SHA-256", where=arch, found=line)
        name, version, of = (unquote(part) for part in match["file"].rsplit("/")[-1].split("_"))
        pins.append(Pin(name, version, of, match["sha256"], match["uri"]))
    return tuple(pins)


def update_index(configuration: Path) -> None:
    """Fetch the indexes. One beside the release's own may be missing: it holds newer versions, no others.

    Mirrors that are being refreshed hand out an index that does not fit its signed list for hours.
    """
    command = ["apt-get", "update", "-q"]
    done = _run_apt(configuration, command)
    failed = _failed_fetches(done)
    left_out = [line for line in failed if _BESIDE_RELEASE.search(line)]
    if (done.returncode or failed) and (not failed or len(left_out) < len(failed)):
        raise _complaint("the archive's index cannot be read", command, done, PeerError)
    for suite in sorted({_BESIDE_RELEASE.findall(line)[0] for line in left_out}):
        log.warning(
            "the index of %s cannot be read now: older versions than its may be taken; "
            "ask again later with --refresh. %s",
            suite,
            left_out[0].strip(),
        )


def private_apt(home: Path, arch: str, sources: str, assumed: Sequence[str]) -> Path:
    """Lay out apt's directories below `home`; return its configuration file."""
    for folder in ("lists/partial", "archives/partial", "etc/sources.list.d", "etc/empty.d"):
        (home / folder).mkdir(parents=True, exist_ok=True)
    (home / "etc/sources.list.d/debian.sources").write_text(sources)
    status = "".join(
        f"Package: {name}\nStatus: install ok installed\nArchitecture: {arch}\nMulti-Arch: foreign\n"
        "Version: 999999:0\nMaintainer: none\nDescription: counts as present\n\n"
        for name in assumed
    )
    (home / "status").write_text(status)
    configuration = home / "apt.conf"
    settings = {
        "Dir::Etc": f"{home}/etc",
        "Dir::Etc::parts": "empty.d",
        "Dir::Etc::preferencesparts": "empty.d",
        "Dir::Etc::trusted": "/etc/apt/trusted.gpg",
        "Dir::Etc::trustedparts": "/etc/apt/trusted.gpg.d",
        "Dir::State": str(home),
        "Dir::State::status": f"{home}/status",
        "Dir::Cache": str(home),
        "Dir::Cache::archives": f"{home}/archives",
        "APT::Architecture": arch,
        "APT::Install-Recommends": "false",
        "APT::Sandbox::User": "",
        "Acquire::Languages": "none",
        "Acquire::Retries": "3",
        "Acquire::ForceHash": "SHA256",
    }
    lines = [_download_settings(), f'APT::Architectures {{ "{arch}"; }};']
    lines += [f'{key} "{value}";' for key, value in settings.items()]
    configuration.write_text("\n".join(lines) + "\n")
    return configuration


def _download_settings() -> str:
    """The host's proxies, timeouts and certificates; not its hooks."""
    try:
        done = subprocess.run(["apt-config", "dump", "Acquire"], capture_output=True, text=True, check=False)
    except FileNotFoundError as e:
        raise UsageError(
            "apt is missing", expected="apt-get, as on Debian 12", hint="apt-get is part of apt"
        ) from e
    return done.stdout


def run_apt(
    configuration: Path,
    command: Sequence[str],
    what: str,
    fault: type[PeerError] | type[UsageError] = PeerError,
) -> str:
    """What a command of apt says. Raises `fault` when it fails."""
    done = _run_apt(configuration, command)
    if done.returncode or _failed_fetches(done):
        raise _complaint(what, command, done, fault)
    return done.stdout


def _run_apt(configuration: Path, command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "APT_CONFIG": str(configuration), "LC_ALL": "C.UTF-8"}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def _failed_fetches(done: subprocess.CompletedProcess[str]) -> list[str]:
    return [line for line in done.stderr.splitlines() if "Failed to fetch" in line]


def _complaint(
    what: str,
    command: Sequence[str],
    done: subprocess.CompletedProcess[str],
    fault: type[PeerError] | type[UsageError],
) -> PeerError | UsageError:
    """apt's own words, as the error to raise."""
    said = [line.strip() for line in done.stderr.splitlines() if line.startswith(("E:", "W: Failed"))]
    unmet = [line.strip() for line in re.findall(r"^ \S+ : .*$", done.stdout, re.MULTILINE)]
    found = " ".join((*unmet, *said)) or done.stderr.strip()
    return fault(what, where=" ".join(command[:2]), found=found)


def _download(pins: Sequence[Pin], cache: Path, file: Path) -> tuple[DebFile, ...]:
    """Fetch what the cache does not hold yet; each file is kept under its SHA-256."""
    folder = cache / "debs" / "sha256"
    folder.mkdir(parents=True, exist_ok=True)
    missing = [pin for pin in pins if not _holds(folder / f"{pin.sha256}.deb", pin)]
    if missing:
        with tempfile.TemporaryDirectory(prefix=".fetch-", dir=folder) as scratch:
            configuration = private_apt(Path(scratch) / "apt", pins[0].arch, "", ())
            command = [str(_APT_HELPER), "download-file"]
            for pin in missing:
                command += [pin.uri, f"{scratch}/{pin.sha256}.deb", f"SHA256:{pin.sha256}"]
            try:
                run_apt(configuration, command, "a package cannot be fetched")
            except PeerError as e:
                gone = [pin for pin in missing if not _kept(Path(scratch), folder, pin)]
                raise PeerError(
                    "the archive has moved on: it no longer has a locked package as it was",
                    where=str(file),
                    expected=", ".join(f"{pin.name} {pin.version} {pin.arch}" for pin in gone) or None,
                    found=e.found,
                    hint="resolve afresh with: fwmgr image build --refresh",
                ) from e
            for pin in missing:
                _keep(Path(scratch) / f"{pin.sha256}.deb", folder / f"{pin.sha256}.deb", pin)
    return tuple(
        DebFile(p.name, p.version, p.arch, p.sha256, folder / f"{p.sha256}.deb") for p in sorted(pins)
    )


def _holds(place: Path, pin: Pin) -> bool:
    """Whether the cache has the package whole: a power cut may have left less."""
    try:
        with place.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest() == pin.sha256
    except FileNotFoundError:
        return False


def _kept(scratch: Path, folder: Path, pin: Pin) -> bool:
    """Keep what has arrived although others have not; whether this one has."""
    fetched = scratch / f"{pin.sha256}.deb"
    if not _holds(fetched, pin):
        return False
    _keep(fetched, folder / fetched.name, pin)
    return True


def _keep(fetched: Path, place: Path, pin: Pin) -> None:
    with fetched.open("rb") as stream:
        found = hashlib.file_digest(stream, "sha256").hexdigest()
    if found != pin.sha256:
        raise PeerError("package differs from its hash", where=pin.uri, expected=pin.sha256, found=found)
    shutil.move(fetched, place)


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """One process at a time; others wait. The lock goes with the process that holds it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield
