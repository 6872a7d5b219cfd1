"""TFTP clients over block size, window and file size; curl over HTTP. Run by test_file_clients.py."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path
from typing import Any

from .rack import blob_of
from .wires import SERVER, STRAIGHT, Wires, print_result, run

HOST = str(SERVER.address)
SIZES = {"none": 0, "one": 1, "block": 512, "exact": 2936, "large": 100_000}
#: Over 65,536 blocks of 8 bytes: the block number wraps.
WRAPS = {"wraps": 8 * 65_540 + 3}
TFTPY = """
import json, sys, tftpy
host, folder, cases = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
for number, (name, options) in enumerate(cases):
    tftpy.TftpClient(host, 69, options=options).download(name, f"{folder}/tftpy{number}", timeout=20)
"""


def content(size: int) -> bytes:
    return bytes((i * 37 + i // 251) % 256 for i in range(size))


def commands(name: str, *, wraps: bool = False) -> dict[str, tuple[str, ...]]:
    """Case → command; `@` stands for where the file is to go."""
    found: dict[str, tuple[str, ...]] = {}
    if not wraps:
        found["tftp-hpa"] = ("tftp", "-m", "octet", HOST, "-c", "get", name, "@")
    for size in () if wraps else ("", "512", "1468", "65464"):
        option = ("-b", size) if size else ()
        found[f"busybox blksize={size}"] = ("busybox", "tftp", *option, "-g", "-r", name, "-l", "@", HOST)
    # curl 7.88 takes an OACK with tsize=0, which RFC 2349 §3 has for an empty file, for an error.
    for size in ("8",) if wraps else ("none",) if name == "none" else ("none", "512", "1428", "9000"):
        option = ("--tftp-no-options",) if size == "none" else ("--tftp-blksize", size)
        found[f"curl blksize={size}"] = ("curl", "-sSf", *option, "-o", "@", f"tftp://{HOST}/{name}")
    for size in ("8",) if wraps else ("", "512", "1024", "1468", "65464"):
        for window in ("16",) if wraps else ("", "1", "4", "64"):
            options = [f"blksize {size}"] * bool(size) + [f"windowsize {window}"] * bool(window)
            options += ["tsize 0"] * (window != "1")
            words = [word for option in options for word in ("--option", option)]
            found[f"atftp blksize={size} windowsize={window}"] = (
                "atftp", *words, "--get", "--remote-file", name, "--local-file", "@", HOST
            )  # fmt: skip
    return found


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


async def tftp(wires: Wires, said: dict[str, Any]) -> None:
    for name, size in (SIZES | WRAPS).items():
        for case, command in commands(name, wraps=name in WRAPS).items():
            since, path = len(wires.events), wires.folder / "fetched"
            path.unlink(missing_ok=True)
            await run(*wires.card.inside(*(str(path) if word == "@" else word for word in command)))
            await wires.wait_until(lambda since=since: bool(wires.ended(since)))  # type: ignore[misc]
            got = digest(path) if path.exists() else hashlib.sha256(b"").hexdigest()
            right = got == hashlib.sha256(content(size)).hexdigest()
            said[f"{case} {name}"] = [right, *(event.outcome.value for event in wires.ended(since))]


async def by_tftpy(wires: Wires, said: dict[str, Any]) -> None:
    import json

    cases = [
        (name, options) for name in SIZES for options in ({}, {"blksize": 1024}, {"blksize": 8, "tsize": 0})
    ]
    since = len(wires.events)
    script = (sys.executable, "-c", TFTPY, HOST, str(wires.folder), json.dumps(cases))
    await run(*wires.card.inside(*script))
    await wires.wait_until(lambda: len(wires.ended(since)) >= len(cases))
    outcomes = [event.outcome.value for event in wires.ended(since)]
    for number, (name, options) in enumerate(cases):
        right = (wires.folder / f"tftpy{number}").read_bytes() == content(SIZES[name])
        said[f"tftpy {options} {name}"] = [right, outcomes[number]]


async def http(wires: Wires) -> dict[str, Any]:
    base, path = f"http://{HOST}", wires.folder / "page"
    whole = content(SIZES["large"])
    said: dict[str, Any] = {}

    async def curl(*words: str, allow: tuple[int, ...] = (0,)) -> str:
        return await run(*wires.card.inside("curl", "-sS", *words), allow=allow)

    said["head"] = await curl("-I", f"{base}/large")
    for given, expected in (("5-9", whole[5:10]), ("-7", whole[-7:]), ("99990-", whole[99_990:])):
        await curl("-f", "-r", given, "-o", str(path), f"{base}/large")
        said[f"range {given}"] = path.read_bytes() == expected
    path.write_bytes(whole[:40_000])
    await curl("-f", "-C", "-", "-o", str(path), f"{base}/large")
    said["resumed"] = path.read_bytes() == whole
    said["past the end"] = await curl(
        "-o", "/dev/null", "-w", "%{http_code}", "-r", "100000-", f"{base}/large"
    )
    said["absent"] = await curl("-o", "/dev/null", "-w", "%{http_code}", f"{base}/nothing")
    said["climbing"] = await curl(
        "--path-as-is", "-o", "/dev/null", "-w", "%{http_code}", f"{base}/../etc/passwd"
    )
    said["kept"] = await curl("-v", "-o", str(path), f"{base}/large", "-o", "/dev/null", f"{base}/one")
    said["slowly"] = await curl("-f", "--limit-rate", "200k", "-o", str(path), f"{base}/large")
    said["slowly"] = path.read_bytes() == whole
    said["posted"] = await curl("-o", "/dev/null", "-w", "%{http_code}", "-d", "x=1", f"{base}/large")
    said["proto 1.0"] = await curl("-0", "-f", "-o", str(path), "-w", "%{http_code}", f"{base}/large")
    said["parallel"] = await curl(
        "-Z", "-f", *(w for n in range(8) for w in ("-o", f"{path}{n}", f"{base}/large"))
    )
    said["parallel"] = all(Path(f"{path}{n}").read_bytes() == whole for n in range(8))
    return said


async def main(folder: Path) -> dict[str, Any]:
    files = {name: blob_of(folder / f"blob-{name}", content(size)) for name, size in (SIZES | WRAPS).items()}
    said: dict[str, Any] = {"tftp": {}}
    async with Wires(folder, files) as wires:
        await wires.card.ip("addr", "add", "10.77.0.13/24", "dev", "card0")
        await tftp(wires, said["tftp"])
        await by_tftpy(wires, said["tftp"])
        said["http"] = await http(wires)
        said["mac"] = str(STRAIGHT)
    return said


if __name__ == "__main__":
    print_result(main)
