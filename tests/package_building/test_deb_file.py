"""A .deb may come from anywhere: sound ones are read whole, all others are refused with what is wrong."""

from __future__ import annotations

import lzma
import random
import tracemalloc
import zlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from firmware_mgr.model.errors import PeerError, UsageError
from firmware_mgr.packaging import deb_layout
from firmware_mgr.packaging.deb_file import ContentPool, DebPackage, read_deb_file
from firmware_mgr.packaging.tar_stream import EntryType, TarEntry, read_entries

from .deb_maker import (
    BLOCK_DEVICE,
    BUILT,
    COMPRESS,
    DIRECTORY,
    HARD_LINK,
    LONG_LINK,
    LONG_NAME,
    PAX,
    PAX_GLOBAL,
    SYMLINK,
    ar,
    control,
    deb_bytes,
    entry,
    pax,
    tar,
)

PLAIN = tar(entry("./", kind=DIRECTORY, mode=0o755), entry("./usr/x", b"content"))


def read(raw: bytes, folder: Path) -> DebPackage:
    path = folder / "x.deb"
    path.write_bytes(raw)
    return read_deb_file(path, ContentPool())


def entries_of(data: bytes, limit: int = 1 << 20) -> list[TarEntry]:
    return list(read_entries(iter([data]), "x.deb: data.tar", limit))


@pytest.mark.parametrize("suffix", COMPRESS)
@pytest.mark.parametrize("control_suffix", COMPRESS)
def test_each_compression_of_control_and_data_is_read(
    suffix: str, control_suffix: str, tmp_path: Path
) -> None:
    big = random.Random(1).randbytes(700_000) + bytes(700_000)
    data = tar(entry("./usr/x", b"content"), entry("./usr/big", big))
    deb = read(deb_bytes(data, suffix=suffix, control_suffix=control_suffix), tmp_path)
    assert {one.path: one.data for one in deb.entries} == {"usr/x": b"content", "usr/big": big}
    assert (deb.label, deb.control.version.text, deb.newest) == ("tool:arm64", "1.0-1", BUILT)


@pytest.mark.parametrize("suffix", [".gz", ".xz", ".zst"])
def test_data_in_several_compressed_streams_is_read_to_the_end(suffix: str, tmp_path: Path) -> None:
    compress = COMPRESS[suffix]
    raw = ar(
        ("debian-binary", b"2.0\n"),
        ("control.tar", tar(entry("./control", control()))),
        (f"data.tar{suffix}", compress(PLAIN[:700]) + compress(PLAIN[700:])),
    )
    assert read(raw, tmp_path).entries[-1].data == b"content"


def test_every_truncation_is_refused(tmp_path: Path) -> None:
    raw = deb_bytes(PLAIN)
    for length in range(len(raw)):
        with pytest.raises(PeerError, match=r"x\.deb"):
            read(raw[:length], tmp_path)


def test_a_byte_more_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PeerError, match=r"something behind data\.tar"):
        read(deb_bytes(PLAIN) + b"\n", tmp_path)


@given(st.integers(0, 10_000), st.binary(min_size=1, max_size=12))
@settings(deadline=None)
def test_damage_gives_a_package_or_the_declared_error(at: int, piece: bytes) -> None:
    data = tar(entry("./usr/", kind=DIRECTORY), pax(path="usr/y"), entry("./usr/x", b"content"))
    at %= len(data)
    try:
        entries_of(data[:at] + piece + data[at + len(piece) :])
    except PeerError as e:
        assert e.where == "x.deb: data.tar"


def test_a_missing_file_is_the_callers_fault(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        read_deb_file(tmp_path / "absent.deb", ContentPool())


GOOD = ("debian-binary", b"2.0\n"), ("control.tar", tar(entry("./control", control()))), ("data.tar", PLAIN)


@pytest.mark.parametrize(
    ("members", "says"),
    [
        ((GOOD[1], GOOD[2]), "debian-binary 2.0 first"),
        ((("debian-binary", b"3.0\n"), *GOOD[1:]), "not a Debian package"),
        ((("debian-binary", b"2.0\n" * 100), *GOOD[1:]), "not a Debian package"),
        ((GOOD[0], GOOD[2], GOOD[1]), r"another part than expected: expected control\.tar"),
        ((GOOD[0], GOOD[1], ("data.tar.bz2", PLAIN)), r"data\.tar\.xz.*found data\.tar\.bz2"),
        ((GOOD[0], GOOD[1], ("data.tar.xz", b"nonsense")), "cannot be unpacked"),
        ((GOOD[0], GOOD[1], ("data.tar.gz", b"nonsense")), "cannot be unpacked"),
        ((GOOD[0], GOOD[1], ("data.tar.zst", b"nonsense")), "cannot be unpacked"),
        ((GOOD[0], GOOD[1], ("data.tar.xz", COMPRESS[".xz"](PLAIN)[:-20])), "cannot be unpacked"),
        ((GOOD[0], GOOD[1], ("data.tar.zst", COMPRESS[".zst"](PLAIN)[:-5])), "cannot be unpacked"),
        ((GOOD[0], GOOD[1], ("data.tar", b"")), "ends too early"),
        ((GOOD[0], GOOD[1], GOOD[2], ("data.tar", PLAIN)), "something behind"),
        ((GOOD[0], ("control.tar", tar(entry("./md5sums", b""))), GOOD[2]), "no control file"),
        ((GOOD[0], ("control.tar", tar(entry("./control", b"Package: x\n"))), GOOD[2]), "lacks a field"),
        ((GOOD[0], ("control.tar", tar(entry("./control", control("Bad Name")))), GOOD[2]), "not a name"),
        ((GOOD[0], ("control.tar", tar(entry("./control", control(version="1 2")))), GOOD[2]), "a version"),
        ((GOOD[0], ("control.tar", tar(entry("./control", control(Depends="a (~ 1)")))), GOOD[2]), "relat"),
    ],
)  # fmt: skip
def test_other_archives_are_refused(
    members: tuple[tuple[str, bytes], ...], says: str, tmp_path: Path
) -> None:
    with pytest.raises(PeerError, match=says):
        read(ar(*members), tmp_path)


def header_with_wrong_sum() -> bytes:
    raw = bytearray(entry("./x", b"y"))
    raw[100] ^= 1
    return bytes(raw)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (tar(entry("./../etc/passwd", b"x")), "leaves its place"),
        (tar(entry("./usr/../../x", b"x")), "leaves its place"),
        (tar(entry("..", kind=DIRECTORY)), "leaves its place"),
        (tar(entry("/etc/passwd", b"x")), "leaves its place"),
        (tar(pax(path="../x"), entry("./x", b"x")), "leaves its place"),
        (tar(entry("./@LongLink", b"../" * 60 + b"x\0", LONG_NAME), entry("./x", b"x")), "leaves its place"),
        (tar(entry("", b"x")), "without a proper name"),
        (tar(entry("./", b"x")), "root is no directory"),
        (tar(entry("./x", b"1"), entry("./x", b"2")), "stands twice"),
        (tar(entry("./x", b"1"), entry("x", b"1")), "stands twice"),
        (tar(entry("./x", b"1"), entry("./x/", kind=DIRECTORY)), "stands twice"),
        (tar(entry("./a", kind=SYMLINK, link="/etc"), entry("./a/passwd", b"x")), "below something else"),
        (tar(entry("./a/passwd", b"x"), entry("./a", kind=SYMLINK, link="/etc")), "stands twice"),
        (tar(entry("./x", b"y", size=1 << 32)), "file './x' is too long"),
        (tar(entry("./x", b"y", size=1 << 20)), "too long: expected 1048576 bytes at most"),
        (tar(entry("./x", kind=DIRECTORY, size=512)), "directory with content"),
        (tar(entry("./x", kind=SYMLINK, link="y", size=512)), "symbolic link with content"),
        (tar(entry("./@LongLink", b"n" * 5000, LONG_NAME), entry("./x")), "long name is too long"),
        (tar(entry("./p", b"1" * (65 << 10), PAX), entry("./x")), "pax header is too long"),
        (tar(entry("./p", b"9 a=b\n", PAX), entry("./x")), "malformed pax header"),
        (tar(entry("./p", b"x path=b\n", PAX), entry("./x")), "malformed pax header"),
        (tar(pax(path="y"), pax(path="z"), entry("./x")), "two pax headers"),
        (tar(pax(**{f"k{number}": "" for number in range(65)}), entry("./x")), "too many records"),
        (tar(pax(path="a/" * 512 + "x"), entry("./x")), "path is too long: expected 1024 .* found 1025"),
        (tar(pax(path="a/" + "ä" * 128), entry("./x")), "part of a path is too long: .* found 256"),
        (tar(pax(linkpath="a/" * 512 + "x"), entry("./x", kind=SYMLINK)), "link target is too long"),
        (tar(pax(size="-1"), entry("./x")), "size is no number"),
        (tar(pax(size="99999999999"), entry("./x")), "is too long"),
        (tar(pax(**{"GNU.sparse.major": "1"}), entry("./x")), "sparse"),
        (tar(pax(path="y")), "belongs to no entry"),
        (tar(entry("./x", kind=PAX_GLOBAL)), "unknown type"),
        (tar(entry("./x", kind=b"S")), "unknown type"),
        (tar(entry("./x", magic=bytes(8))), "unknown form"),
        (tar(header_with_wrong_sum()), "wrong checksum"),
        (tar(entry("./x", b"1"), header_with_wrong_sum()), "wrong checksum"),
        (entry("./x", b"1"), "ends too early"),
        (entry("./x", b"1") + bytes(512), "ends too early"),
        (entry("./x", b"1") + bytes(512) + entry("./y", b"2") + bytes(1024), "one block of zeros"),
        (tar(entry("./x", b"1")) + b"more", "behind its end"),
        (tar(entry("./x", b"1")) + bytes(4096) + b"more", "behind its end"),
        (tar(entry("./x", b"y" * 600))[:700], "ends too early"),
    ],
)
def test_tricks_in_the_data_archive_are_refused(data: bytes, says: str) -> None:
    with pytest.raises(PeerError, match=says) as caught:
        entries_of(data)
    assert caught.value.where == "x.deb: data.tar"


def test_a_directory_may_stand_twice() -> None:
    data = tar(entry("./a/", kind=DIRECTORY, mode=0o755), entry("./a/b"), entry("./a", kind=DIRECTORY))
    assert [one.path for one in entries_of(data)] == ["a", "a/b", "a"]


def test_long_names_and_pax_headers_give_paths_and_targets() -> None:
    name, target = "usr/" + "n" * 200, "t" * 150
    data = tar(
        entry("././@LongLink", f"./{name}\0".encode(), LONG_NAME),
        entry("././@LongLink", f"{target}\0".encode(), LONG_LINK),
        entry("./usr/nnn", kind=SYMLINK, link="ttt"),
        pax(path="./usr/ä", linkpath=target, mtime="12.75", uid="7", gid="8"),
        entry("./usr/a", kind=SYMLINK, link="ttt"),
        entry("./short", prefix="usr/" + "p" * 120),
        pax(**{"SCHILY.xattr.security.capability": "x"}),
        entry("./usr/ping", b"p"),
        entry(b"./usr/\xff", b"odd"),
    )
    first, second, third, fourth, fifth = entries_of(data)
    assert (first.path, first.link, first.type) == (name, target, EntryType.SYMLINK)
    assert (second.path, second.link, second.mtime, second.uid, second.gid) == ("usr/ä", target, 12, 7, 8)
    assert third.path == "usr/" + "p" * 120 + "/short"
    assert fourth.extras == ("SCHILY.xattr.security.capability",)
    assert fifth.path == "usr/\udcff"


def test_a_size_of_gnus_binary_form_is_bounded_too() -> None:
    raw = bytearray(entry("./x"))
    raw[124:136] = b"\x80" + (1 << 60).to_bytes(11, "big")
    raw[148:156] = b" " * 8
    raw[148:156] = b"%06o\0 " % sum(raw)
    with pytest.raises(PeerError, match="is too long"):
        entries_of(tar(bytes(raw)))


def test_too_many_entries_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deb_layout, "MAX_ENTRIES", 3)
    with pytest.raises(PeerError, match="too many entries"):
        entries_of(tar(*(entry(f"./{name}") for name in "abcd")))


def test_the_longest_paths_and_as_many_records_as_are_legal_are_read() -> None:
    longest = "a/" * 512
    path, part, target = longest + "/./", "b" * 255, "../" + longest[:-4]
    (first, second, third) = entries_of(
        tar(
            pax(path=path[:1022] + "aa/"),
            entry("./x", kind=DIRECTORY),
            pax(path=part, **{f"k{number}": "" for number in range(63)}),
            entry("./x"),
            pax(linkpath=target),
            entry("./link", kind=SYMLINK),
        )
    )
    assert (len(first.path), second.path, len(second.extras), third.link) == (1024, part, 63, target)


def test_folders_that_only_their_children_name_are_bounded() -> None:
    """Each entry a path of 500 folders of its own: few bytes in an archive, many places."""
    entries = [
        pax(path=f"{number}/" + "a/" * 500 + "x") + entry("./x")
        for number in range(deb_layout.MAX_PLACES // 500 + 1)
    ]
    tracemalloc.start()
    try:
        with pytest.raises(PeerError, match="too many folders: expected 131072 paths"):
            for _ in read_entries(iter(entries), "x.deb: data.tar", 1 << 30):
                pass
        assert tracemalloc.get_traced_memory()[1] < 256 << 20
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("suffix", [".gz", ".xz", ".zst"])
def test_a_small_file_that_unpacks_to_much_is_refused_at_the_bound(suffix: str, tmp_path: Path) -> None:
    """64 MiB of zeros in a control archive that may have 16: refused with little memory taken."""
    bomb = COMPRESS[suffix](tar(entry("./control", bytes(64 << 20))))
    raw = ar(GOOD[0], (f"control.tar{suffix}", bomb), GOOD[2])
    tracemalloc.start()
    with pytest.raises(PeerError, match="too long"):
        read(raw, tmp_path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 48 << 20


def test_a_decoder_that_asks_for_too_much_memory_is_refused(tmp_path: Path) -> None:
    # A block's header: size, flags, filter 0x21, its length 1, a code of the dictionary's size, padding,
    # CRC-32 (The .xz File Format, 3.1 and 5.3.1). Made small, then said to be large.
    raw = bytearray(lzma.compress(PLAIN, filters=[{"id": lzma.FILTER_LZMA2, "dict_size": 4096}]))
    raw[raw.index(b"\x21\x01", 12) + 2] = 34  # 512 MiB
    end = 12 + (raw[12] + 1) * 4 - 4
    raw[end : end + 4] = zlib.crc32(raw[12:end]).to_bytes(4, "little")
    with pytest.raises(PeerError, match=r"cannot be unpacked.*[Mm]emory"):
        read(ar(GOOD[0], GOOD[1], ("data.tar.xz", bytes(raw))), tmp_path)


def test_the_same_content_is_held_once(tmp_path: Path) -> None:
    pool = ContentPool()
    path = tmp_path / "x.deb"
    path.write_bytes(deb_bytes(tar(entry("./a", b"same" * 100), entry("./b", b"same" * 100))))
    one, two = read_deb_file(path, pool).entries
    assert one.data is two.data


def test_devices_and_hard_links_are_told_apart() -> None:
    data = tar(
        entry("./dev", kind=BLOCK_DEVICE), entry("./a", b"1"), entry("./b", kind=HARD_LINK, link="./a")
    )
    assert [one.type for one in entries_of(data)] == [
        EntryType.BLOCK_DEVICE,
        EntryType.FILE,
        EntryType.HARD_LINK,
    ]
