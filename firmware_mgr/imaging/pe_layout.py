"""The bytes of a PE32+ program that are changed when sections are added to it.

Source: Microsoft, "PE Format" (COFF file header, optional header PE32+, section table); UEFI 2.10 §2.1.1
takes that format. Knows fields and sizes. Refuses to know what the sections are for.
"""

from __future__ import annotations

from construct import Bytes, Const, Int16ul, Int32ul, Padding, Struct

DOS_MAGIC = b"MZ"
#: In the DOS header: where the signature stands.
NEW_HEADER_OFFSET = 0x3C
SIGNATURE = b"PE\0\0"
PE32_PLUS = 0x20B
SECTION_NAME_SIZE = 8
#: Initialised data, readable.
DATA_SECTION = 0x0000_0040 | 0x4000_0000

FILE_HEADER = Struct(
    "signature" / Const(SIGNATURE),
    "machine" / Int16ul,
    "section_count" / Int16ul,
    "time" / Int32ul,
    "symbol_table" / Int32ul,
    "symbol_count" / Int32ul,
    "optional_size" / Int16ul,
    "characteristics" / Int16ul,
)
assert FILE_HEADER.sizeof() == 24

#: The first 96 bytes of the optional header; the rest is left as it is.
OPTIONAL_HEADER = Struct(
    "magic" / Const(PE32_PLUS, Int16ul),
    "linker" / Bytes(2),
    "code_size" / Int32ul,
    "data_size" / Int32ul,
    "zero_size" / Int32ul,
    "entry" / Int32ul,
    "code_base" / Int32ul,
    "image_base" / Bytes(8),
    "section_alignment" / Int32ul,
    "file_alignment" / Int32ul,
    "versions" / Bytes(16),
    "image_size" / Int32ul,
    "headers_size" / Int32ul,
    "checksum" / Int32ul,
    "rest" / Bytes(28),
)
assert OPTIONAL_HEADER.sizeof() == 96

SECTION = Struct(
    "name" / Bytes(SECTION_NAME_SIZE),
    "virtual_size" / Int32ul,
    "virtual_address" / Int32ul,
    "file_size" / Int32ul,
    "file_offset" / Int32ul,
    "relocations" / Padding(12),
    "characteristics" / Int32ul,
)
assert SECTION.sizeof() == 40
