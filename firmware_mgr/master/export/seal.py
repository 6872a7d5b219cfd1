"""A stream under a passphrase: scrypt makes the key, AES-256-GCM seals chunk by chunk (SPEC-export §4).

Knows the header, chunks and nonces. Knows not what the bytes are. Each chunk's nonce holds its number and
whether it is the last one, so that none can be changed, moved, left out or cut off.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import Final, Protocol

from construct import Bytes, Const, ConstructError, Int8ub, Int16ub, Int32ub, Struct
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from firmware_mgr.model.errors import PeerError, UsageError

MAGIC: Final = b"fwmgr-sx"
VERSION: Final = 1
TAG: Final = 16
CHUNK: Final = 1 << 16
#: The largest chunk and the greatest cost that a file may ask of its reader (1 GiB of memory).
MAX_CHUNK: Final = 1 << 22
MAX_LOG_N: Final = 20
_KEY_BYTES: Final = 32
_HEADER: Final = Struct(
    "magic" / Const(MAGIC),
    "version" / Int16ub,
    "log_n" / Int8ub,
    "r" / Int8ub,
    "p" / Int8ub,
    "reserved" / Const(b"\0"),
    "chunk" / Int32ub,
    "salt" / Bytes(16),
    "check" / Bytes(TAG),
)
HEADER_LENGTH: Final = 50
assert _HEADER.sizeof() == HEADER_LENGTH
#: The nonce of the key check: no chunk has it, since chunks are counted in eleven bytes from 0.
_CHECK_NONCE: Final = b"\xff" * 12


class Readable(Protocol):
    def read(self, size: int, /) -> bytes: ...


class Writable(Protocol):
    def write(self, data: bytes, /) -> object: ...


@dataclass(frozen=True, slots=True)
class Cost:
    """scrypt's parameters (RFC 7914): memory is 128 · r · 2^log_n bytes, here 64 MiB."""

    log_n: int = 16
    r: int = 8
    p: int = 1


COST: Final = Cost()


class SealedWriter:
    """Seals what is written into `out`. `finish` writes the last chunk: without it the file is cut."""

    def __init__(self, out: Writable, passphrase: str, cost: Cost = COST, salt: bytes | None = None) -> None:
        self._out = out
        salt = secrets.token_bytes(16) if salt is None else salt
        self._cipher = _cipher(passphrase, salt, cost)
        fields = {
            "version": VERSION,
            "log_n": cost.log_n,
            "r": cost.r,
            "p": cost.p,
            "chunk": CHUNK,
            "salt": salt,
        }
        head: bytes = _HEADER.build({**fields, "check": bytes(TAG)})[:-TAG]
        self._header = head + self._cipher.encrypt(_CHECK_NONCE, b"", head)
        self._buffer = bytearray()
        self._number = 0
        out.write(self._header)

    def write(self, data: bytes) -> int:
        self._buffer += data
        while len(self._buffer) > CHUNK:
            self._put(bytes(self._buffer[:CHUNK]), last=False)
            del self._buffer[:CHUNK]
        return len(data)

    def finish(self) -> None:
        self._put(bytes(self._buffer), last=True)
        self._buffer.clear()

    def _put(self, chunk: bytes, *, last: bool) -> None:
        self._out.write(self._cipher.encrypt(_nonce(self._number, last), chunk, self._header))
        self._number += 1


class SealedReader:
    """Opens a sealed stream. Raises PeerError for a wrong passphrase, and for what was altered or cut."""

    def __init__(self, source: Readable, passphrase: str, where: str) -> None:
        self._source = source
        self._where = where
        self._header, cost, self._chunk, salt = _read_header(source, where)
        self._cipher = _cipher(passphrase, salt, cost)
        try:
            self._cipher.decrypt(_CHECK_NONCE, self._header[-TAG:], self._header[:-TAG])
        except InvalidTag as e:
            raise PeerError(
                "the passphrase is not right, or the head of the file was altered",
                where=f"{where}, bytes 0 to {HEADER_LENGTH - 1}",
                hint="give the passphrase that the export was made with",
            ) from e
        self._number = 0
        self._ahead = exactly(source, self._chunk + TAG)
        self._open = b""
        self._ended = False

    def read(self, size: int) -> bytes:
        """At most so many bytes; none at the end, which is reached only when the last chunk was right."""
        while not self._open and not self._ended:
            self._open = self._next()
        given, self._open = self._open[:size], self._open[size:]
        return given

    def _next(self) -> bytes:
        sealed, self._ahead = self._ahead, exactly(self._source, self._chunk + TAG)
        self._ended = not self._ahead
        start = HEADER_LENGTH + self._number * (self._chunk + TAG)
        where = f"{self._where}, chunk {self._number}, from byte {start}"
        if len(sealed) < TAG:
            raise PeerError(
                "the file is cut", where=where, expected=f"at least {TAG} bytes more", found=len(sealed)
            )
        number, self._number = self._number, self._number + 1
        try:
            return self._cipher.decrypt(_nonce(number, self._ended), sealed, self._header)
        except InvalidTag as e:
            if self._ended and self._is_middle(number, sealed):
                raise PeerError(
                    "the file is cut", where=where, expected="more chunks", found="the end of the file"
                ) from e
            what = "the file was altered or cut" if self._ended else "the file was altered"
            raise PeerError(
                what, where=where, expected="a chunk that its key has sealed", found="another"
            ) from e

    def _is_middle(self, number: int, sealed: bytes) -> bool:
        try:
            self._cipher.decrypt(_nonce(number, False), sealed, self._header)
        except InvalidTag:
            return False
        return True


def exactly(source: Readable, size: int) -> bytes:
    """So many bytes, or what there is up to the end."""
    parts = bytearray()
    while len(parts) < size and (part := source.read(size - len(parts))):
        parts += part
    return bytes(parts)


def _read_header(source: Readable, where: str) -> tuple[bytes, Cost, int, bytes]:
    raw = exactly(source, HEADER_LENGTH)
    if len(raw) < HEADER_LENGTH:
        raise PeerError(
            "the file is cut", where=f"{where}, head", expected=f"{HEADER_LENGTH} bytes", found=len(raw)
        )
    try:
        fields = _HEADER.parse(raw)
    except ConstructError as e:
        raise PeerError("not a sealed export", where=f"{where}, head", found=str(e)) from e
    if fields.version > VERSION:
        raise UsageError(
            "this export was sealed by a newer fwmgr",
            where=f"{where}, head",
            expected=f"version {VERSION} or older",
            found=f"version {fields.version}",
        )
    small = 1 <= fields.log_n <= MAX_LOG_N and fields.r >= 1 and 1 <= fields.p <= 16
    small = small and fields.r << fields.log_n <= 8 << MAX_LOG_N and 1 <= fields.chunk <= MAX_CHUNK
    if fields.version != VERSION or not small:
        raise PeerError(
            "the head of the file is impossible",
            where=f"{where}, head",
            expected=f"version 1, r·2^n to {8 << MAX_LOG_N}, p to 16, chunks to {MAX_CHUNK}",
            found=f"version {fields.version}, 2^{fields.log_n}, r {fields.r}, p {fields.p}, {fields.chunk}",
        )
    return raw, Cost(fields.log_n, fields.r, fields.p), fields.chunk, fields.salt


def _cipher(passphrase: str, salt: bytes, cost: Cost) -> AESGCM:
    derive = Scrypt(salt=salt, length=_KEY_BYTES, n=1 << cost.log_n, r=cost.r, p=cost.p)
    return AESGCM(derive.derive(passphrase.encode()))


def _nonce(number: int, last: bool) -> bytes:
    return number.to_bytes(11, "big") + bytes([last])
