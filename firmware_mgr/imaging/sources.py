"""Which Debian archives this machine trusts, taken from its apt sources.

Reads both forms of apt's source files and keeps only Debian's own archives, since a card's software must not
come from whatever else a desk has added. Refuses to know what is downloaded from them.
"""

from __future__ import annotations

import re
from pathlib import Path

from firmware_mgr.model.errors import UsageError

#: A Debian archive by the path of its address: …/debian, …/debian-security, a dated snapshot, a mirror list.
_DEBIAN = re.compile(r"/debian(?:-security)?(?:\.list)?(?:/|$)")
_ONE_LINE = re.compile(
    r"^deb\s+(?:\[(?P<options>[^]]*)\]\s+)?(?P<uri>\S+)\s+(?P<suite>\S+)\s+(?P<components>[^#\n]+)"
)
_SIGNED_BY = re.compile(r"signed-by=(\S+)")
_KEPT_FIELDS = ("uris", "suites", "components", "signed-by", "trusted")


def debian_sources(etc: Path = Path("/etc/apt")) -> str:
    """Debian's archives among the sources in `etc`, as text in apt's deb822 form, for any CPU.

    Raises UsageError when there is none.
    """
    stanzas: list[str] = []
    for path in (etc / "sources.list", *sorted((etc / "sources.list.d").glob("*"))):
        if not path.is_file():
            continue
        text = path.read_text(encoding="utf-8", errors="replace")
        if path.suffix == ".list":
            stanzas += _from_lines(text)
        elif path.suffix == ".sources":
            stanzas += _from_stanzas(text)
    if not stanzas:
        raise UsageError(
            "no Debian archive among the apt sources",
            where=str(etc),
            expected="a source whose address ends in /debian",
            hint="add: deb http://deb.debian.org/debian bookworm main",
        )
    return "\n".join(stanzas)


def _from_lines(text: str) -> list[str]:
    found = []
    for line in text.splitlines():
        match = _ONE_LINE.match(line.strip())
        if match is None or not _DEBIAN.search(match["uri"]):
            continue
        stanza = f"Types: deb\nURIs: {match['uri']}\nSuites: {match['suite']}\n"
        stanza += f"Components: {match['components'].strip()}\n"
        signed = _SIGNED_BY.search(match["options"] or "")
        found.append(stanza + (f"Signed-By: {signed[1]}\n" if signed else ""))
    return found


def _from_stanzas(text: str) -> list[str]:
    found = []
    for block in re.split(r"\n\s*\n", text):
        fields: dict[str, str] = {}
        name = ""
        for line in block.splitlines():
            if line.startswith("#") or not line.strip():
                continue
            if line[0].isspace():
                fields[name] = fields.get(name, "") + "\n" + line
            else:
                name, _, value = line.partition(":")
                name = name.strip().lower()
                fields[name] = value.strip()
        usable = "deb" in fields.get("types", "").split() and fields.get("enabled", "yes").lower() != "no"
        if usable and _DEBIAN.search(fields.get("uris", "")):
            kept = [f"{key.title()}: {fields[key]}" for key in _KEPT_FIELDS if key in fields]
            found.append("\n".join(["Types: deb", *kept]).replace("Uris:", "URIs:") + "\n")
    return found
