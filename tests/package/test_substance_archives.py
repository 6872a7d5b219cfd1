"""Archives: equal when packed at another time, different for everything that can matter."""

from __future__ import annotations

import gzip
import io
import marshal
import subprocess
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from firmware_mgr.model.ids import Digest
from firmware_mgr.package.substance_python import PYTHON_MAGIC
from firmware_mgr.package.substantive import MAX_DEPTH, substantive_signature

from .elf_bytes import build_id, elf, text

TIMES = ("2020-01-01 00:00:00", "2024-06-01 12:34:56")
FILES = {"one.txt": b"one\n" * 40, "two.bin": bytes(range(256)), "z.o": elf(build_id(b"a" * 20), text())}


def files(folder: Path, when: str, contents: dict[str, bytes] = FILES) -> list[str]:
    folder.mkdir(parents=True)
    for name, data in contents.items():
        (folder / name).write_bytes(data)
        subprocess.run(["touch", "-d", when, folder / name], check=True)
    return sorted(contents)


def packed(command: list[str], folder: Path, when: str, contents: dict[str, bytes] = FILES) -> bytes:
    names = files(folder, when, contents)
    subprocess.run([*command, *names], cwd=folder, check=True, capture_output=True)
    return (folder / "out").read_bytes()


def gzipped(folder: Path, when: str) -> bytes:
    files(folder, when, {"one.txt": FILES["one.txt"]})
    subprocess.run(["gzip", "-k", "one.txt"], cwd=folder, check=True)
    return (folder / "one.txt.gz").read_bytes()


def zipped(folder: Path, when: str) -> bytes:
    folder.mkdir(parents=True)
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in FILES.items():
            info = zipfile.ZipInfo(name, (int(when[:4]), 1, 1, int(when[11:13]), 0, 0))
            info.compress_type = zipfile.ZIP_STORED if name == "two.bin" else zipfile.ZIP_DEFLATED
            info.extra = b"\x55\x54\5\0\3" + len(when[:4]).to_bytes(4, "little") + b"\1\2\1\0x"
            archive.writestr(info, data)
    return out.getvalue()


MAKERS: dict[str, Callable[[Path, str], bytes]] = {
    "ar": lambda folder, when: packed(["ar", "rcU", "out"], folder, when),
    "tar": lambda folder, when: packed(["tar", "cf", "out"], folder, when),
    "tar.gz": lambda folder, when: packed(["tar", "czf", "out"], folder, when),
    "gzip": gzipped,
    "zip": zipped,
}
#: Of each kind, the same files packed at two times.
Archives = dict[str, tuple[bytes, bytes]]
EVERY = pytest.mark.parametrize("kind", MAKERS)


@pytest.fixture(scope="module")
def archives(tmp_path_factory: pytest.TempPathFactory) -> Archives:
    folder = tmp_path_factory.mktemp("archives")
    return {
        kind: tuple(make(folder / kind / str(n), when) for n, when in enumerate(TIMES))  # type: ignore[misc]
        for kind, make in MAKERS.items()
    }


@EVERY
def test_the_same_files_packed_at_two_times_are_equal(kind: str, archives: Archives) -> None:
    first, second = archives[kind]
    assert first != second
    assert substantive_signature(first) == substantive_signature(second)
    assert substantive_signature(first) not in (Digest.of(first), Digest.of(second))


@pytest.mark.parametrize("kind", ["ar", "tar", "tar.gz"])
def test_a_member_is_compared_by_its_own_rule(kind: str, tmp_path: Path) -> None:
    command = {"ar": ["ar", "rcD", "out"], "tar": ["tar", "cf", "out"], "tar.gz": ["tar", "czf", "out"]}[kind]

    def archive(name: str, *parts: object) -> Digest:
        contents = {**FILES, "z.o": elf(*parts)}  # type: ignore[arg-type]
        return substantive_signature(packed(command, tmp_path / name, TIMES[0], contents))

    same = archive("a", build_id(b"a" * 20), text()), archive("b", build_id(b"b" * 20), text())
    assert same[0] == same[1]
    assert archive("c", build_id(b"a" * 20), text(b"\x90" * 40)) != same[0]


def left_out(kind: str, data: bytes) -> set[int]:
    """The places of bytes that may change without being seen."""
    if kind == "gzip":
        return set(range(4, 8))
    if kind == "tar":
        headers = [at for at in range(0, len(data), 512) if data[at + 257 : at + 262] == b"ustar"]
        ident = data.index(b"a" * 20)
        return {*range(ident, ident + 20)} | {at + n for at in headers for n in range(136, 156)}
    if kind == "ar":
        places, at = set(), 8
        while at < len(data):
            places |= set(range(at + 16, at + 40))
            size = int(data[at + 48 : at + 58])
            at += 60 + size + size % 2
        ident = data.index(b"a" * 20)
        return places | set(range(ident, ident + 20))
    assert kind == "zip"
    places = set()
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        at = archive.start_dir
        for info in archive.infolist():
            place = info.header_offset
            places |= set(range(place + 10, place + 14)) | set(range(at + 12, at + 16))
            for extra in (place + 30 + len(info.filename), at + 46 + len(info.filename)):
                places |= set(range(extra + 2, extra + 9))
            at += 46 + len(info.filename) + 14
    return places


def members(data: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


@pytest.mark.parametrize("kind", ["ar", "tar", "gzip", "zip"])
def test_every_byte_but_those_left_out_counts(kind: str, archives: Archives) -> None:
    data, allowed = archives[kind][0], left_out(kind, archives[kind][0])
    signature = substantive_signature(data)
    for change in (0x01, 0xFF):
        for at in range(len(data)):
            if at in allowed or (kind == "tar" and at > 6000 and at % 97):
                continue
            other = bytearray(data)
            other[at] ^= change
            if substantive_signature(bytes(other)) == signature:
                # The last bits of a deflated member mean nothing: what is unpacked is the same.
                assert kind == "zip" and members(bytes(other)) == members(data), at


@EVERY
@settings(deadline=None, max_examples=100)
@given(data=st.data())
def test_a_cut_or_longer_archive_is_another(kind: str, archives: Archives, data: st.DataObject) -> None:
    whole = archives[kind][0]
    cut = whole[: data.draw(st.integers(0, len(whole) - 1))]
    longer = whole + data.draw(st.binary(min_size=1, max_size=600))
    assert substantive_signature(whole) not in (substantive_signature(cut), substantive_signature(longer))


@settings(deadline=None, max_examples=200)
@given(st.data())
def test_a_changed_byte_of_a_tar_gz_is_seen_or_unpacks_to_the_same(
    archives: Archives, data: st.DataObject
) -> None:
    whole = archives["tar.gz"][0]
    at = data.draw(st.integers(0, len(whole) - 1))
    other = bytearray(whole)
    other[at] ^= data.draw(st.integers(1, 255))
    if substantive_signature(bytes(other)) == substantive_signature(whole):
        assert at in range(4, 8) or gzip.decompress(bytes(other)) == gzip.decompress(whole)


def tar_of(**changes: object) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.GNU_FORMAT) as archive:
        info = tarfile.TarInfo("file")
        info.size = 4
        for name, value in changes.items():
            setattr(info, name, value)
        archive.addfile(info, io.BytesIO(b"data"))
    return out.getvalue()


@pytest.mark.parametrize(
    "change",
    [{"uid": 5}, {"gid": 5}, {"uname": "root"}, {"mode": 0o4755}, {"name": "other"}, {"name": "x" * 200}],
)
def test_owner_mode_and_name_of_a_tar_member_count(change: dict[str, object]) -> None:
    assert substantive_signature(tar_of(**change)) != substantive_signature(tar_of())
    assert substantive_signature(tar_of(mtime=77, **change)) == substantive_signature(tar_of(**change))


def tar_header(name: bytes, size: int, kind: bytes = b"0") -> bytes:
    header = bytearray(512)
    header[: len(name)] = name
    header[100:108] = b"0000644\0"
    header[108:124] = b"0000000\0" * 2
    header[124:136] = b"%011o\0" % size
    header[136:148] = b"%011o\0" % 1
    header[156:157] = kind
    header[257:265] = b"ustar\x0000"
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header)


def tar_member(name: bytes, content: bytes, kind: bytes = b"0") -> bytes:
    return tar_header(name, len(content), kind) + content + bytes(-len(content) % 512)


def pax(*records: bytes, kind: bytes = b"x") -> bytes:
    content = b""
    for record in records:
        length = len(record) + 3
        content += b"%d %s\n" % (length if length < 10 else length + 1, record)
    return tar_member(b"pax", content, kind)


FILE = tar_member(b"file", b"data")
LONG = b"long/" * 30


def tar_is_odd(*members: bytes) -> bool:
    data = b"".join(members) + bytes(1024)
    return substantive_signature(data) == Digest.of(data)


@pytest.mark.parametrize("kind", [b"x", b"g"])
def test_a_tar_whose_members_readers_would_cut_otherwise_goes_by_its_content(kind: bytes) -> None:
    assert not tar_is_odd(FILE)
    assert not tar_is_odd(pax(b"mtime=1.5", b"comment=size=7", kind=kind), FILE)
    for record in (b"size=512", b"GNU.sparse.major=1", b"GNU.sparse.size=1", b" size=512", b"\tsize=512"):
        assert tar_is_odd(pax(b"mtime=1.5", record, kind=kind), FILE), record
    for content in (b"7 a=1\n", b"5 a=1\n", b"6 a=1\0", b"0 a=1\n", b"a=1\n", b"6 a=1\n\0", b"99 a=1\n"):
        assert tar_is_odd(tar_member(b"pax", content, kind), FILE), content
    assert not tar_is_odd(tar_member(b"pax", b"6 a=1\n", kind), FILE)


@pytest.mark.parametrize("kind", [b"\0", b"0"])
def test_a_file_of_a_tar_with_a_name_of_a_folder_goes_by_its_content(kind: bytes) -> None:
    """Old archives have folders so: some readers pass over the content, others take it for headers."""
    assert not tar_is_odd(tar_member(b"file", b"data", kind))
    assert not tar_is_odd(tar_member(b"folder/", b"", kind))
    assert tar_is_odd(tar_member(b"folder/", b"data", kind))
    assert tar_is_odd(tar_member(b"folder/\0", b"data", kind))
    long_folder, long_file = tar_member(b"L", LONG + b"\0", b"L"), tar_member(b"L", LONG + b"x\0", b"L")
    file = tar_member(b"file", b"data", kind)
    assert tar_is_odd(long_folder, file)
    assert tar_is_odd(pax(b"path=folder/"), file)
    assert tar_is_odd(long_file, tar_member(b"folder/", b"data", kind)) is (kind == b"\0")
    assert not tar_is_odd(long_folder, tar_member(b"folder", b"", b"5"), file)
    assert tar_is_odd(pax(b"path=file", kind=b"g"), file)


def test_headers_that_a_pax_size_brings_to_light_count() -> None:
    """The header of a member of a member, in the build id of an ELF file."""

    def archive(name: bytes) -> bytes:
        inner = elf(build_id(tar_header(name, 0)[:64]), text())
        return pax(b"size=512") + tar_member(b"x.elf", inner) + bytes(1024)

    assert substantive_signature(archive(b"etc/ab")) != substantive_signature(archive(b"etc/ba"))


def zip_of(change: Callable[[zipfile.ZipInfo], None] = lambda _: None, year: int = 2020) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        info = zipfile.ZipInfo("file", (year, 1, 1, 0, 0, 0))
        change(info)
        archive.writestr(info, b"data")
    return out.getvalue()


def test_mode_name_comment_and_method_of_a_zip_member_count() -> None:
    def attributes(info: zipfile.ZipInfo) -> None:
        info.external_attr = 0o4755 << 16

    def comment(info: zipfile.ZipInfo) -> None:
        info.comment = b"said"

    def extra(info: zipfile.ZipInfo) -> None:
        info.extra = b"\x75\x78\1\0x"

    plain = zip_of()
    assert substantive_signature(zip_of(year=2021)) == substantive_signature(plain)
    for change in (attributes, comment, extra):
        assert substantive_signature(zip_of(change)) != substantive_signature(plain)
        assert substantive_signature(zip_of(change)) == substantive_signature(zip_of(change, 2021))


def test_a_zip_with_something_before_between_or_twice_goes_by_its_content() -> None:
    out = io.BytesIO()
    with pytest.warns(UserWarning, match="Duplicate"), zipfile.ZipFile(out, "w") as archive:
        archive.writestr("a", b"1")
        archive.writestr("a", b"2")
    for odd in (b"#!/usr/bin/python3\n" + zip_of(), out.getvalue()):
        assert substantive_signature(odd) == Digest.of(odd)


def test_a_malformed_field_of_times_counts() -> None:
    def with_field(content: bytes, year: int = 2020) -> Digest:
        def change(info: zipfile.ZipInfo) -> None:
            info.extra = b"\x55\x54" + len(content).to_bytes(2, "little") + content

        return substantive_signature(zip_of(change, year))

    for length in range(20):
        one, two = with_field(bytes(length)), with_field(b"\1" * length, 2021)
        assert (one == two) is (length in (0, 5, 9, 13)), length


def bytecode(flags: int, magic: bytes = PYTHON_MAGIC) -> bytes:
    return magic + flags.to_bytes(4, "little") + bytes(8) + marshal.dumps(compile("x = 1", "a", "exec"))


def zip_with(year: int, *contents: tuple[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, data in contents:
            archive.writestr(zipfile.ZipInfo(name, (year, 1, 1, 0, 0, 0)), data)
    return out.getvalue()


@pytest.mark.parametrize("name", ["foo", "package/foo", "größe"])
def test_a_zip_with_timed_bytecode_beside_its_source_goes_by_its_content(name: str) -> None:
    """Python loads one or the other, by the time in the bytecode and the date of the source."""
    source = (f"{name}.py", b"x = 1")

    def is_odd(*contents: tuple[str, bytes]) -> bool:
        return all(
            substantive_signature(zip_with(2020, *order)) == Digest.of(zip_with(2020, *order))
            for order in (contents, contents[::-1])
        )

    assert is_odd(source, (f"{name}.pyc", bytecode(0)))
    assert is_odd(source, (f"{name}.pyc", bytecode(3, b"\x61\x0d\r\n"))), "of a version that is not known"
    assert is_odd(source, (f"{name}.pyc", b""))
    for checked in (1, 3):
        assert not is_odd(source, (f"{name}.pyc", bytecode(checked)))
    assert not is_odd((f"{name}.pyc", bytecode(0)))
    assert not is_odd(source, ("other.pyc", bytecode(0)))


def test_timed_bytecode_whose_source_is_named_in_another_encoding_is_beside_it_too() -> None:
    """The same name to Python: UTF-8 by its flag, or code page 437."""
    data = zip_with(2020, ("é.py", b"x = 1"), ("X.pyc", bytecode(0)))
    assert substantive_signature(data) != Digest.of(data)
    other = data.replace(b"X.pyc", b"\x82.pyc")
    with zipfile.ZipFile(io.BytesIO(other)) as archive:
        assert archive.namelist() == ["é.py", "é.pyc"]
    assert substantive_signature(other) == Digest.of(other)


def test_a_stream_written_zip_with_sizes_behind_its_content_is_compared_too() -> None:
    class Stream(io.RawIOBase):
        def __init__(self) -> None:
            self.data = b""

        def writable(self) -> bool:
            return True

        def write(self, data: object) -> int:
            self.data += bytes(data)  # type: ignore[call-overload]
            return len(data)  # type: ignore[arg-type]

    def written(year: int, content: bytes) -> bytes:
        stream = Stream()
        with zipfile.ZipFile(stream, "w") as archive:  # type: ignore[arg-type]
            archive.writestr(zipfile.ZipInfo("file", (year, 1, 1, 0, 0, 0)), content)
        return stream.data

    assert substantive_signature(written(2020, b"a")) == substantive_signature(written(2021, b"a"))
    assert substantive_signature(written(2020, b"a")) != substantive_signature(written(2020, b"b"))


def test_archives_in_archives_are_opened_to_a_depth() -> None:
    def nested(levels: int, mtime: int) -> bytes:
        data = b"content"
        for _ in range(levels):
            data = gzip.compress(data, mtime=mtime)
        return data

    for levels in range(1, MAX_DEPTH + 2):
        assert substantive_signature(nested(levels, 1)) == substantive_signature(nested(levels, 2))
    deep = MAX_DEPTH + 3
    assert substantive_signature(nested(deep, 1)) != substantive_signature(nested(deep, 2))


def test_an_archive_that_unpacks_to_more_than_the_bound_goes_by_its_content() -> None:
    bomb = gzip.compress(bytes(257 << 20), 9, mtime=1)
    assert substantive_signature(bomb) == Digest.of(bomb)


def test_bytecode_in_an_archive_keeps_its_path() -> None:
    def archive(path: str) -> bytes:
        code = PYTHON_MAGIC + bytes(12) + marshal.dumps(compile("x = 1", path, "exec"))
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w") as archive:
            archive.writestr(zipfile.ZipInfo("m/__pycache__/a.pyc"), code)
        return out.getvalue()

    assert substantive_signature(archive("/a")) != substantive_signature(archive("/b"))


@settings(deadline=None, max_examples=300)
@given(
    st.sampled_from([b"\x1f\x8b\x08", b"!<arch>\n", b"PK\3\4", bytes(257) + b"ustar"]),
    st.binary(max_size=700),
)
def test_any_bytes_behind_a_magic_are_judged_without_trouble(magic: bytes, noise: bytes) -> None:
    substantive_signature(magic + noise)
