"""UEFI's variables as Linux shows them, in efivarfs. Knows files and attributes; no variable's meaning."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Protocol
from uuid import UUID

from construct import ConstructError

from firmware_mgr.card.efi_layout import GLOBAL, KEPT, VARIABLE
from firmware_mgr.model.errors import DeviceError

EFIVARFS = Path("/sys/firmware/efi/efivars")
#: Of a file name in efivarfs: a hyphen and the vendor's GUID.
_VENDOR_LENGTH = 37


class EfiVariables(Protocol):
    """Variables by name and vendor. A write is whole or not at all, and survives power (UEFI 2.10 §8.2)."""

    def names(self) -> tuple[str, ...]:
        """Of the global vendor, sorted. Raises DeviceError."""

    def read(self, name: str, vendor: UUID = GLOBAL) -> bytes | None:
        """The value; None when there is no such variable. Raises DeviceError."""

    def write(self, name: str, value: bytes) -> None:
        """Of the global vendor, kept without power. Raises DeviceError, when the store is full too."""

    def delete(self, name: str) -> None:
        """Of the global vendor; one that is not there is no error. Raises DeviceError."""


class EfivarFs:
    """The real one. A file's first four bytes are attributes, and a write must be one call."""

    def __init__(self, folder: Path = EFIVARFS) -> None:
        self._folder = folder

    def names(self) -> tuple[str, ...]:
        try:
            files = sorted(os.listdir(self._folder))
        except OSError as e:
            raise self._error("cannot be listed", "", e) from e
        return tuple(file[:-_VENDOR_LENGTH] for file in files if file.endswith(f"-{GLOBAL}"))

    def read(self, name: str, vendor: UUID = GLOBAL) -> bytes | None:
        try:
            raw = self._path(name, vendor).read_bytes()
        except FileNotFoundError:
            return None
        except OSError as e:
            raise self._error("cannot be read", name, e) from e
        try:
            return bytes(VARIABLE.parse(raw).data)
        except ConstructError as e:
            raise DeviceError("UEFI variable has no attributes", where=name, found=raw.hex()) from e

    def write(self, name: str, value: bytes) -> None:
        raw = VARIABLE.build({"attributes": KEPT, "data": value})
        try:
            fd = os.open(self._path(name, GLOBAL), os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
            try:
                os.write(fd, raw)
            finally:
                os.close(fd)
        except OSError as e:
            raise self._error("cannot be written", name, e) from e

    def delete(self, name: str) -> None:
        try:
            self._path(name, GLOBAL).unlink(missing_ok=True)
        except OSError as e:
            raise self._error("cannot be deleted", name, e) from e

    def _path(self, name: str, vendor: UUID) -> Path:
        return self._folder / f"{name}-{vendor}"

    def _error(self, what: str, name: str, error: OSError) -> DeviceError:
        where = f"{self._folder}/{name}"
        return DeviceError(f"UEFI variable {what}", where=where, found=error.strerror or str(error))
