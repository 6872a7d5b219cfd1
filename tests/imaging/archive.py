"""A small Debian archive in a folder, made by a test: packages, index, release file and apt sources."""

from __future__ import annotations

import hashlib
import subprocess
from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class Archive:
    """An unsigned archive at `root/debian`, named as trusted by the apt sources in `root/etc`."""

    root: Path
    arch: str = "arm64"
    packages: dict[str, str] = field(default_factory=dict)

    @property
    def etc(self) -> Path:
        return self.root / "etc"

    def add(self, name: str, version: str, depends: str = "", files: dict[str, str] | None = None) -> Path:
        """Build a package and list it instead of an older one of the same name."""
        tree = self.root / "build" / f"{name}_{version}"
        (tree / "DEBIAN").mkdir(parents=True)
        for path, text in (files or {f"usr/share/{name}/version": version}).items():
            (tree / path).parent.mkdir(parents=True, exist_ok=True)
            (tree / path).write_text(text)
        control = (
            f"Package: {name}\nVersion: {version}\nArchitecture: {self.arch}\nMaintainer: test <t@example>\n"
        )
        control += (f"Depends: {depends}\n" if depends else "") + "Description: test\n"
        (tree / "DEBIAN/control").write_text(control)
        file = self.root / "debian/pool" / f"{name}_{version}_{self.arch}.deb"
        file.parent.mkdir(parents=True, exist_ok=True)
        command = ["dpkg-deb", "--root-owner-group", "-Znone", "--build", str(tree), str(file)]
        subprocess.run(command, check=True, capture_output=True)
        digest = hashlib.sha256(file.read_bytes()).hexdigest()
        entry = f"Filename: pool/{file.name}\nSize: {file.stat().st_size}\nSHA256: {digest}\n"
        self.packages[name] = control + entry
        return file

    def publish(self) -> None:
        """Write the index, and the sources that lead to it."""
        index = self.root / "debian/dists/bookworm/main" / f"binary-{self.arch}" / "Packages"
        index.parent.mkdir(parents=True, exist_ok=True)
        index.write_text("\n".join(self.packages.values()))
        raw = index.read_bytes()
        release = f"Suite: bookworm\nCodename: bookworm\nArchitectures: {self.arch}\nComponents: main\n"
        release += (
            f"SHA256:\n {hashlib.sha256(raw).hexdigest()} {len(raw)} main/binary-{self.arch}/Packages\n"
        )
        (self.root / "debian/dists/bookworm/Release").write_text(release)
        sources = self.etc / "sources.list.d"
        sources.mkdir(parents=True, exist_ok=True)
        text = (
            f"Types: deb\nURIs: copy:{self.root}/debian\nSuites: bookworm\nComponents: main\nTrusted: yes\n"
        )
        (sources / "debian.sources").write_text(text)

    def announce_security(self, *, whole: bool) -> None:
        """Name a suite of security fixes in the sources; unless `whole`, its index is not as announced."""
        suite = self.root / "debian/dists/bookworm-security"
        index = suite / "main" / f"binary-{self.arch}" / "Packages"
        index.parent.mkdir(parents=True, exist_ok=True)
        index.write_bytes(b"\n" if whole else b"\n# newer\n")
        digest = hashlib.sha256(b"\n").hexdigest()
        release = f"Suite: bookworm-security\nCodename: bookworm-security\nArchitectures: {self.arch}\n"
        release += f"Components: main\nSHA256:\n {digest} 1 main/binary-{self.arch}/Packages\n"
        (suite / "Release").write_text(release)
        sources = self.etc / "sources.list.d/debian.sources"
        text = sources.read_text()
        sources.write_text(text.replace("Suites: bookworm\n", "Suites: bookworm bookworm-security\n"))
