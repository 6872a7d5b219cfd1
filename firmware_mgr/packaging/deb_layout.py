"""How the bytes of a .deb lie: headers of ar and tar, and the bounds to keep within. docs/IMPORTING.md.

Knows deb(5), ar(5) and POSIX's ustar with GNU's long names. Refuses to know what the files in it are.
"""

from __future__ import annotations

from typing import Final

from construct import Bytes, Padding, Struct

AR_MAGIC: Final = b"!<arch>\n"
#: All fields are text, padded with spaces.
AR_HEADER: Final = Struct(
    "name" / Bytes(16),
    "mtime" / Bytes(12),
    "uid" / Bytes(6),
    "gid" / Bytes(6),
    "mode" / Bytes(8),
    "size" / Bytes(10),
    "end" / Bytes(2),
)
AR_END: Final = b"`\n"
assert AR_HEADER.sizeof() == 60

BLOCK: Final = 512
#: Numbers are octal digits, or (GNU) big-endian behind a first byte of 0x80.
TAR_HEADER: Final = Struct(
    "name" / Bytes(100),
    "mode" / Bytes(8),
    "uid" / Bytes(8),
    "gid" / Bytes(8),
    "size" / Bytes(12),
    "mtime" / Bytes(12),
    "checksum" / Bytes(8),
    "type" / Bytes(1),
    "link" / Bytes(100),
    "magic" / Bytes(8),
    "user" / Bytes(32),
    "group" / Bytes(32),
    "major" / Bytes(8),
    "minor" / Bytes(8),
    "prefix" / Bytes(155),
    Padding(12),
)
assert TAR_HEADER.sizeof() == BLOCK
CHECKSUM_PLACE: Final = slice(148, 156)  # counts as spaces in its own sum
USTAR_MAGIC: Final = b"ustar\x0000"
GNU_MAGIC: Final = b"ustar  \x00"

MAX_CONTROL: Final = 16 << 20
MAX_UNPACKED: Final = 2 << 30
MAX_FILE: Final = 1 << 30
MAX_ENTRIES: Final = 1 << 16
MAX_PAX: Final = 64 << 10
MAX_PAX_RECORDS: Final = 64
MAX_LONG_NAME: Final = 4096
#: Entries, and parents that are named by their children only.
MAX_PLACES: Final = 2 * MAX_ENTRIES
#: `xz -9` asks for 65 MiB to unpack; zstd's widest window without --ultra is 8 MiB, with it 128 MiB.
MAX_DECODER_MEMORY: Final = 128 << 20
PIECE: Final = 256 << 10
