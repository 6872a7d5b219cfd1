"""Blobs: whole under their names or not there, whatever breaks off and when."""

from __future__ import annotations

import hashlib
import io
import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from firmware_mgr.master.blobs import CHUNK, BlobStore
from firmware_mgr.model.errors import DeviceError, PeerError, UsageError
from firmware_mgr.model.ids import Digest

CONTENT = b"boot image " * 1000
DIGEST = Digest.of(CONTENT)
OTHER = Digest.of(b"other")
LATER = 1e12
EARLIER = 0.0


@pytest.fixture
def store(tmp_path: Path) -> BlobStore:
    return BlobStore(tmp_path)


def files(directory: Path) -> list[str]:
    return sorted(str(path.relative_to(directory)) for path in directory.rglob("*") if path.is_file())


def test_a_blob_lies_under_its_digest(store: BlobStore, tmp_path: Path) -> None:
    assert store.add(io.BytesIO(CONTENT), DIGEST) == len(CONTENT)
    assert files(tmp_path) == [f"blobs/sha256/{DIGEST.hex[:2]}/{DIGEST}"]
    assert store.has(DIGEST)
    assert store.length(DIGEST) == len(CONTENT)
    assert store.path(DIGEST).read_bytes() == CONTENT
    with store.open(DIGEST) as file:
        assert file.read() == CONTENT
    store.verify(DIGEST)


def test_a_blob_is_taken_from_a_file(store: BlobStore, tmp_path: Path) -> None:
    given = tmp_path / "given.img"
    given.write_bytes(CONTENT)
    store.add(given, DIGEST)
    assert store.path(DIGEST).read_bytes() == CONTENT
    assert given.read_bytes() == CONTENT


def test_a_blob_cannot_be_written_to_by_accident(store: BlobStore) -> None:
    store.add(io.BytesIO(CONTENT), DIGEST)
    assert stat.S_IMODE(store.path(DIGEST).stat().st_mode) == 0o444


def test_the_empty_blob_is_a_blob(store: BlobStore) -> None:
    assert store.add(io.BytesIO(), Digest.of(b"")) == 0
    store.verify(Digest.of(b""))


def test_bytes_that_are_not_what_was_announced_are_not_stored(store: BlobStore, tmp_path: Path) -> None:
    with pytest.raises(PeerError, match=f"expected {OTHER}, found {DIGEST}"):
        store.add(io.BytesIO(CONTENT), OTHER)
    assert files(tmp_path) == []
    assert not store.has(OTHER)


def test_what_is_not_there_is_named(store: BlobStore, tmp_path: Path) -> None:
    for ask in (store.path, store.open, store.length, store.verify):
        with pytest.raises(UsageError, match=f"no such blob: found {DIGEST}"):
            ask(DIGEST)
    with pytest.raises(DeviceError, match=r"nowhere\.img: cannot read"):
        store.add(tmp_path / "nowhere.img", DIGEST)


def test_damage_is_found_and_adding_again_mends_it(store: BlobStore) -> None:
    store.add(io.BytesIO(CONTENT), DIGEST)
    path = store.path(DIGEST)
    path.chmod(0o600)
    with path.open("r+b") as file:
        file.seek(5)
        file.write(b"X")
    with pytest.raises(DeviceError, match=f"{DIGEST}: a blob is damaged: expected {DIGEST}"):
        store.verify(DIGEST)
    store.add(io.BytesIO(CONTENT), DIGEST)
    store.verify(DIGEST)


class BreaksOff(io.BytesIO):
    """A stream that fails after some reads."""

    def __init__(self, content: bytes, reads: int) -> None:
        super().__init__(content)
        self._left = reads

    def read(self, size: int | None = -1, /) -> bytes:
        if self._left == 0:
            raise ConnectionResetError("peer went away")
        self._left -= 1
        return super().read(size)


@pytest.mark.parametrize("reads", [0, 1, 2])
def test_a_stream_that_breaks_off_leaves_nothing(store: BlobStore, tmp_path: Path, reads: int) -> None:
    content = os.urandom(CHUNK + 10)
    with pytest.raises(PeerError, match="broke off: found peer went away"):
        store.add(BreaksOff(content, reads), Digest.of(content))
    assert files(tmp_path) == []


#: Adds standard input as a blob with the digest given; each read is told on standard output first.
ADDER = """
import sys
from pathlib import Path
from firmware_mgr.master.blobs import BlobStore
from firmware_mgr.model.ids import Digest

class Told:
    def read(self, size):
        print("reading", flush=True)
        return sys.stdin.buffer.read(1000)

BlobStore(Path(sys.argv[1])).add(Told(), Digest(sys.argv[2]))
print("added", flush=True)
"""


@pytest.mark.parametrize("chunks", [0, 1, 3])
def test_a_master_killed_while_it_receives_leaves_no_blob_and_no_litter(tmp_path: Path, chunks: int) -> None:
    content = os.urandom(3000)
    digest = Digest(hashlib.sha256(content).hexdigest())
    with subprocess.Popen(
        [sys.executable, "-c", ADDER, str(tmp_path), digest.hex],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as adder:
        assert adder.stdin is not None and adder.stdout is not None
        for start in range(0, chunks * 1000, 1000):
            assert adder.stdout.readline() == b"reading\n"
            adder.stdin.write(content[start : start + 1000])
            adder.stdin.flush()
        assert adder.stdout.readline() == b"reading\n"  # it waits for more
        adder.kill()
    store = BlobStore(tmp_path)
    assert not store.has(digest)
    store.collect([], added_before=EARLIER)
    assert files(tmp_path) == []
    store.add(io.BytesIO(content), digest)
    store.verify(digest)


def test_collecting_removes_what_nobody_refers_to(store: BlobStore) -> None:
    store.add(io.BytesIO(CONTENT), DIGEST)
    store.add(io.BytesIO(b"other"), OTHER)
    assert store.collect({DIGEST}, added_before=LATER) == (OTHER,)
    assert list(store.digests()) == [DIGEST]


def test_collecting_spares_what_was_just_added(store: BlobStore) -> None:
    store.add(io.BytesIO(CONTENT), DIGEST)
    assert store.collect([], added_before=EARLIER) == ()
    assert store.has(DIGEST)


class CollectsWhileRead(io.BytesIO):
    def __init__(self, content: bytes, store: BlobStore) -> None:
        super().__init__(content)
        self._store = store

    def read(self, size: int | None = -1, /) -> bytes:
        self._store.collect([], added_before=LATER)
        return super().read(size)


def test_collecting_leaves_an_addition_under_way_alone(store: BlobStore) -> None:
    store.add(CollectsWhileRead(CONTENT, store), DIGEST)
    store.verify(DIGEST)


def test_an_open_blob_stays_readable_when_it_is_collected(store: BlobStore) -> None:
    store.add(io.BytesIO(CONTENT), DIGEST)
    with store.open(DIGEST) as file:
        store.collect([], added_before=LATER)
        assert file.read() == CONTENT


def test_files_of_others_are_passed_over(store: BlobStore, tmp_path: Path) -> None:
    store.add(io.BytesIO(CONTENT), DIGEST)
    stray = store.path(DIGEST).parent / "notes.txt"
    stray.write_text("x")
    assert store.collect([], added_before=LATER) == (DIGEST,)
    assert stray.exists()
