"""What we write is what Linux mounts and what erofs-utils reads."""

from __future__ import annotations

import hashlib
import json
import random
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from firmware_mgr.card import erofs_layout as ondisk
from firmware_mgr.card.erofs import Directory, Entry, File, Place, Symlink, Whiteout, write
from firmware_mgr.model.errors import UsageError
from tests.card.mounted import listing

BLOCK = ondisk.BLOCK
DEVICE = random.Random(1).randbytes(1600 * BLOCK)
DEVICE_BLOCKS = [len(DEVICE) // BLOCK]
SIZES = (0, 1, 4095, 4096, 4097, 8191, 100_000, 5_000_001)


def names(count: int, prefix: str = "file") -> dict[bytes, Entry]:
    return {f"{prefix}-{n:05}".encode(): File(n + 1, Place(1, n % 7), mtime=n) for n in range(count)}


def everything() -> Directory:
    """All that the format is used for, except holes."""
    files: dict[bytes, Entry] = {f"size-{size}".encode(): File(size, Place(1, 5)) for size in SIZES}
    files[b"program"] = File(77, Place(1, 1599), mode=0o755, mtime=1_700_000_000)
    files[b"secret"] = File(77, Place(1, 0), mode=0o600, mtime=2**33)
    files["naïve ☃".encode()] = File(1, Place(1, 3))
    files[b"n" * 255] = Directory({b"x" * 255: Symlink(b"y" * 255)})
    files[b"link"] = Symlink(b"size-1", mtime=5)
    files[b"long link"] = Symlink(b"a" * 1024)
    files[b"empty"] = Directory({}, 0o700, 9)
    for count in (1, 60, 150, 200, 3000):
        files[f"folder-{count}".encode()] = Directory(names(count))
    deep: Entry = Directory({b"leaf": File(10, Place(1, 9))})
    for level in range(300):
        deep = Directory({f"{level}".encode(): deep})
    files[b"deep"] = deep
    return Directory(files, 0o755, 1234)


def expected(root: Directory) -> dict[str, list[object]]:
    """As `listing` would show it."""
    found: dict[str, list[object]] = {}

    def add(path: str, entry: Entry) -> None:
        if isinstance(entry, File):
            start = entry.place.block * BLOCK if entry.place else 0
            data = DEVICE[start : start + entry.size] if entry.place else bytes(entry.size)
            digest = hashlib.sha256(data).hexdigest()
            found[path] = [stat.S_IFREG, entry.mode, entry.mtime, entry.size, digest]
        elif isinstance(entry, Symlink):
            found[path] = [stat.S_IFLNK, 0o777, entry.mtime, entry.target.decode()]
        elif isinstance(entry, Whiteout):
            found[path] = [stat.S_IFCHR, 0, 0]
        else:
            children = sum(isinstance(child, Directory) for child in entry.entries.values())
            found[path] = [stat.S_IFDIR, entry.mode, entry.mtime, children]
            for name, child in entry.entries.items():
                add(f"{path}/{name.decode()}".removeprefix("./"), child)

    add(".", root)
    return found


def mounted(image: bytes, directory: Path) -> dict[str, list[object]]:
    (directory / "image").write_bytes(image)
    (directory / "device").write_bytes(DEVICE)
    command = [
        sys.executable,
        "-m",
        "tests.card.mounted",
        str(directory / "image"),
        str(directory / "device"),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found: dict[str, list[object]] = json.loads(done.stdout)
    return {path: entry for path, entry in found.items() if not path.endswith("/.")}


def extracted(image: bytes, directory: Path) -> dict[str, list[object]]:
    (directory / "image").write_bytes(image)
    (directory / "device").write_bytes(DEVICE)
    out = directory / "out"
    command = ["fsck.erofs", f"--device={directory}/device", f"--extract={out}", str(directory / "image")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return {path: entry for path, entry in listing(out).items() if not path.endswith("/.")}


def without_times_of_links(found: dict[str, list[object]]) -> dict[str, list[object]]:
    """fsck.erofs 1.5 does not set them."""
    return {path: [*e[:2], 0, *e[3:]] if e[0] == stat.S_IFLNK else e for path, e in found.items()}


def test_linux_mounts_what_we_write(tmp_path: Path) -> None:
    root = everything()
    holes = {b"hole": File(300_000), b"whiteout": Whiteout()}
    root = Directory({**root.entries, **holes}, root.mode, root.mtime)
    found = mounted(write(root, DEVICE_BLOCKS), tmp_path)
    assert found == expected(root)


def test_erofs_utils_extract_what_we_write(tmp_path: Path) -> None:
    root = everything()
    found = extracted(write(root, DEVICE_BLOCKS), tmp_path)
    assert without_times_of_links(found) == without_times_of_links(expected(root))


_NAMES = st.text("abcé-.", min_size=1, max_size=40).filter(lambda name: name not in (".", ".."))
_LEAVES = st.one_of(
    st.builds(
        File,
        st.integers(0, 20 * BLOCK),
        st.builds(Place, st.just(1), st.integers(0, 1500)),
        st.integers(0o400, 0o777),
        st.integers(0, 2**31),
        st.lists(st.tuples(st.binary(max_size=40), st.binary(max_size=90)), max_size=2).map(tuple),
    ),
    st.builds(Symlink, st.text("x/.", min_size=1, max_size=300).map(str.encode)),
)


def _directories(children: st.SearchStrategy[Entry]) -> st.SearchStrategy[Directory]:
    entries = st.dictionaries(_NAMES.map(str.encode), children, max_size=30)
    return st.builds(Directory, entries, st.integers(0o700, 0o777))


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(_directories(st.recursive(_LEAVES, _directories, max_leaves=40)))
def test_any_tree_comes_back_from_its_image(root: Directory) -> None:
    with tempfile.TemporaryDirectory() as name:
        found = extracted(write(root, DEVICE_BLOCKS), Path(name))
    for path, entry in expected(root).items():
        kind = entry[0]
        same = slice(0, 2) if kind == stat.S_IFDIR else slice(None)
        if kind == stat.S_IFLNK:
            assert found[path][3] == entry[3]
        else:
            assert found[path][same] == entry[same], path
    assert found.keys() == expected(root).keys()


def test_equal_trees_give_equal_bytes() -> None:
    assert write(everything(), DEVICE_BLOCKS) == write(everything(), DEVICE_BLOCKS)
    backwards = Directory(dict(reversed(names(300).items())))
    assert len(write(backwards, DEVICE_BLOCKS)) == len(write(Directory(names(300)), DEVICE_BLOCKS))


def test_image_without_devices_has_no_device_table(tmp_path: Path) -> None:
    (tmp_path / "image").write_bytes(write(Directory({b"a": Symlink(b"b"), b"w": Whiteout()})))
    subprocess.run(["fsck.erofs", tmp_path / "image"], check=True, capture_output=True)


def test_file_over_one_gibibyte_has_several_chunks() -> None:
    gib = 1 << 30
    image = write(Directory({b"big": File(3 * gib + 1, Place(1, 7))}), [1 << 20])
    step = gib // BLOCK
    table = b"".join(ondisk.CHUNK_INDEX.pack(0, 1, 7 + n * step) for n in range(4))
    assert table in image


def test_inode_and_its_tail_never_cross_a_block() -> None:
    links: dict[bytes, Entry] = {f"{n:03}".encode(): Symlink(b"t" * (n * 5 + 1)) for n in range(200)}
    image = write(Directory(links))
    for n in range(200):
        at = image.index(b"t" * (n * 5 + 1) + bytes(1)) if n else 0
        assert not n or at // BLOCK == (at + n * 5) // BLOCK


@pytest.mark.parametrize(
    "root",
    [
        Directory({b"a/b": Whiteout()}),
        Directory({b"": Whiteout()}),
        Directory({b"n" * 256: Whiteout()}),
        Directory({b"a\0": Whiteout()}),
        Directory({b"l": Symlink(b"")}),
        Directory({b"l": Symlink(b"x" * 4096)}),
        Directory({b"f": File(1, Place(2, 0))}),
        Directory({b"f": File(1, Place(1, 0xFFFF_FFFF))}),
    ],
)
def test_tree_that_cannot_be_written_is_refused(root: Directory) -> None:
    with pytest.raises(UsageError):
        write(root, [100])


def test_attributes_follow_the_inode() -> None:
    """overlayfs's own use of them is tested by running sets; here by the bytes."""
    image = write(Directory({b"f": File(5, None, trusted=((b"overlay.metacopy", b""),))}))
    entry = ondisk.XATTR_ENTRY.pack(16, ondisk.XATTR_INDEX_TRUSTED, 0) + b"overlay.metacopy"
    assert ondisk.XATTR_IBODY_HEADER.pack(0, 0, b"") + entry in image
