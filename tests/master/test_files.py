"""Files of the master: a disk that fails at any sync or name leaves them absent or old, or new and whole."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from firmware_mgr.master.files import make_directories, write_new, write_over

OLD, NEW = b"old" * 1000, b"new" * 2000
#: What reaches the disk or names a file.
CALLS = ("open", "fsync", "link", "rename", "replace")


class Calls:
    """The system's calls in their order, seen from here; at the `fails`th one the disk is gone."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, fails: int = -1) -> None:
        self.made: list[str] = []
        self._fails = fails
        for name in CALLS:
            monkeypatch.setattr(os, name, self._told(name, getattr(os, name)))

    def _told(self, name: str, real: Callable[..., object]) -> Callable[..., object]:
        def call(*arguments: object, **named: object) -> object:
            if len(self.made) == self._fails:
                raise OSError(5, "Input/output error")
            kind = ""
            if name == "fsync":
                kind = " directory" if os.path.isdir(f"/proc/self/fd/{arguments[0]}") else " file"
            self.made.append(name + kind)
            return real(*arguments, **named)

        return call


def test_content_is_on_disk_before_its_name_and_the_name_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = Calls(monkeypatch)
    write_new(tmp_path / "a", NEW, 0o600)
    assert calls.made == ["open", "fsync file", "link", "open", "fsync directory"]
    calls.made.clear()
    write_over(tmp_path / "a", OLD, 0o600)
    assert [call.replace("rename", "replace") for call in calls.made] == [
        "open",
        "fsync file",
        "replace",
        "open",
        "fsync directory",
    ]
    calls.made.clear()
    make_directories(tmp_path / "b" / "c", 0o700)
    assert calls.made == ["open", "fsync directory"] * 2


@pytest.mark.parametrize(("write", "exists"), [(write_new, False), (write_over, False), (write_over, True)])
def test_a_disk_that_fails_anywhere_leaves_the_old_or_the_new(
    write: Callable[[Path, bytes, int], None], exists: bool, tmp_path: Path
) -> None:
    outcomes = []
    for number in range(5):
        folder = tmp_path / str(number)
        folder.mkdir()
        path = folder / "a"
        if exists:
            path.write_bytes(OLD)
        with pytest.MonkeyPatch.context() as patch:
            calls = Calls(patch, fails=number)
            with pytest.raises(OSError, match="Input/output error"):
                write(path, NEW, 0o640)
            assert len(calls.made) == number
        found = path.read_bytes() if path.exists() else None
        assert found in (NEW, OLD if exists else None)
        outcomes.append(found == NEW)
        assert [other.name for other in folder.iterdir() if other != path] == []
    # It has its name after the third call, and says so only when that is safe.
    assert outcomes == [False, False, False, True, True]


def test_a_new_file_never_replaces(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(OLD)
    with pytest.raises(FileExistsError):
        write_new(path, NEW, 0o600)
    assert path.read_bytes() == OLD and list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("write", [write_new, write_over])
def test_nobody_else_reads_what_is_being_written(
    write: Callable[[Path, bytes, int], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    modes = []
    real = os.fsync

    def look(descriptor: int) -> None:
        modes.append(os.fstat(descriptor).st_mode & 0o777)
        real(descriptor)

    monkeypatch.setattr(os, "fsync", look)
    write(tmp_path / "a", NEW, 0o600)
    assert modes[0] == 0o600 and (tmp_path / "a").stat().st_mode & 0o777 == 0o600
