"""TFTP packets: parse and serialise (RFC 1350 §5, options RFC 2347).

Knows the form of packets and the numbers in option values, not what to answer. `parse` raises
TftpFormatError and nothing else. The server's DATA packets are framed in bulk elsewhere.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from types import MappingProxyType

from firmware_mgr.model.errors import PeerError

DATA_HEADER = 4  # opcode and block number
DEFAULT_BLKSIZE = 512  # RFC 1350 §2
MAX_REQUEST = 512  # RFC 2347 §2
MAX_ERROR_TEXT = 128  # ours
BLOCK_NUMBERS = 0x10000

OPT_BLKSIZE = "blksize"  # RFC 2348
OPT_TIMEOUT = "timeout"  # RFC 2349
OPT_TSIZE = "tsize"  # RFC 2349
OPT_WINDOWSIZE = "windowsize"  # RFC 7440


class TftpFormatError(PeerError):
    """A packet that is no TFTP packet."""


class Opcode(IntEnum):
    RRQ = 1
    WRQ = 2
    DATA = 3
    ACK = 4
    ERROR = 5
    OACK = 6


class ErrorCode(IntEnum):
    """RFC 1350 appendix I; 8 is RFC 2347's."""

    UNDEFINED = 0
    NOT_FOUND = 1
    ACCESS = 2
    DISK_FULL = 3
    ILLEGAL = 4
    UNKNOWN_ID = 5
    EXISTS = 6
    NO_USER = 7
    OPTION = 8


@dataclass(frozen=True, slots=True)
class Request:
    """RRQ or WRQ. Option names and mode are in lower case; values as they came."""

    write: bool
    name: str
    mode: str
    options: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))


@dataclass(frozen=True, slots=True)
class Ack:
    block: int


@dataclass(frozen=True, slots=True)
class Error:
    code: int
    text: str


@dataclass(frozen=True, slots=True)
class Data:
    block: int
    payload: bytes


@dataclass(frozen=True, slots=True)
class OptionAck:
    options: Mapping[str, str]


Packet = Request | Ack | Error | Data | OptionAck


def parse(datagram: bytes) -> Packet:
    """Read a UDP payload. Raises TftpFormatError. NULs behind the last string are let pass: some ROMs pad."""
    if len(datagram) < 4:
        raise TftpFormatError("not a TFTP packet", expected="4 bytes or more", found=len(datagram))
    number = int.from_bytes(datagram[2:4], "big")
    match int.from_bytes(datagram[:2], "big"):
        case Opcode.RRQ:
            return _request(datagram, write=False)
        case Opcode.WRQ:
            return _request(datagram, write=True)
        case Opcode.DATA:
            return Data(number, datagram[4:])
        case Opcode.ACK:
            return Ack(number)
        case Opcode.ERROR:
            return Error(number, datagram[4:].split(b"\0", 1)[0].decode("utf-8", "replace")[:MAX_ERROR_TEXT])
        case Opcode.OACK:
            return OptionAck(_options(_strings(datagram[2:], "OACK")))
        case other:
            raise TftpFormatError("not a TFTP opcode", expected="1 to 6", found=other)


def serialise(packet: Packet) -> bytes:
    match packet:
        case Request(write, name, mode, options):
            opcode = Opcode.WRQ if write else Opcode.RRQ
            return _head(opcode) + _zeroed([name, mode, *(text for pair in options.items() for text in pair)])
        case Ack(block):
            return _head(Opcode.ACK) + block.to_bytes(2, "big")
        case Error(code, text):
            return _head(Opcode.ERROR) + code.to_bytes(2, "big") + _zeroed([text[:MAX_ERROR_TEXT]])
        case Data(block, payload):
            return _head(Opcode.DATA) + block.to_bytes(2, "big") + payload
        case OptionAck(options):
            return _head(Opcode.OACK) + _zeroed([text for pair in options.items() for text in pair])


def option_number(text: str) -> int | None:
    """An option's value as a number of at most ten ASCII digits; None when it is something else."""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 10 else None


def _request(datagram: bytes, *, write: bool) -> Request:
    if len(datagram) > MAX_REQUEST:
        raise TftpFormatError(
            "request too long", expected=f"{MAX_REQUEST} bytes at most", found=len(datagram)
        )
    strings = _strings(datagram[2:], "request")
    if len(strings) < 2 or not strings[1]:
        raise TftpFormatError("request without file name and mode", found=len(strings))
    return Request(write, strings[0], strings[1].lower(), _options(strings[2:]))


def _strings(raw: bytes, where: str) -> list[str]:
    if not raw.endswith(b"\0"):
        raise TftpFormatError("text without its NUL", where=where)
    try:
        return [part.decode("utf-8") for part in raw[:-1].split(b"\0")]
    except UnicodeDecodeError as e:
        raise TftpFormatError("text is not UTF-8", where=where, found=e.reason) from e


def _options(strings: list[str]) -> Mapping[str, str]:
    while strings and not strings[-1]:
        strings = strings[:-1]
    if len(strings) % 2:
        raise TftpFormatError("option without value", found=strings[-1])
    options: dict[str, str] = {}
    for name, value in zip(strings[::2], strings[1::2], strict=True):
        if not name:
            raise TftpFormatError("option without name", found=value)
        if name.lower() in options:
            raise TftpFormatError("option stands twice", found=name)  # RFC 2347 §2
        options[name.lower()] = value
    return MappingProxyType(options)


def _head(opcode: Opcode) -> bytes:
    return opcode.to_bytes(2, "big")


def _zeroed(texts: list[str]) -> bytes:
    return b"".join(text.encode("utf-8") + b"\0" for text in texts)
