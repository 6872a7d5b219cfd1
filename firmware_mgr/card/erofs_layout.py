"""The EROFS on-disk format, as far as we write it.

Names and values are those of Linux, fs/erofs/erofs_fs.h; all integers are little-endian. Knows fields and
numbers; refuses to know trees. Read by Linux 5.16 and later (device table). Before 6.4 the block size must be
the CPU's page size, so BLOCK needs a kernel with pages of 4 KiB there.
"""

from __future__ import annotations

import struct
from enum import IntEnum

BLOCK_BITS = 12
BLOCK = 1 << BLOCK_BITS

# struct erofs_super_block, 128 bytes at byte 1024.
SUPER_OFFSET = 1024  # EROFS_SUPER_OFFSET
SUPER_MAGIC = 0xE0F5E1E2  # EROFS_SUPER_MAGIC_V1
FEATURE_COMPAT_SB_CHKSUM = 0x0000_0001
FEATURE_INCOMPAT_CHUNKED_FILE = 0x0000_0004
FEATURE_INCOMPAT_DEVICE_TABLE = 0x0000_0008
SUPER = struct.Struct(
    "<"
    "I"  # magic
    "I"  # checksum: CRC-32C (seed all ones, no final inversion) of bytes 1024 to 4095, this field zero
    "I"  # feature_compat
    "B"  # blkszbits
    "B"  # sb_extslots
    "H"  # root_nid: 16 bits, so the root inode comes first
    "Q"  # inos
    "Q"  # build_time
    "I"  # build_time_nsec
    "I"  # blocks: of this image, not of the extra devices
    "I"  # meta_blkaddr
    "I"  # xattr_blkaddr: of shared attributes, which we have none of
    "16s"  # uuid
    "16s"  # volume_name
    "I"  # feature_incompat
    "H"  # lz4_max_distance, later available_compr_algs
    "H"  # extra_devices: must equal the number of `device=` options
    "H"  # devt_slotoff: in units of 128 bytes
    "38s"  # dirblkbits, attribute prefixes, packed_nid, reserved
)
SUPER_CHECKSUM = struct.Struct("<I")
SUPER_CHECKSUM_OFFSET = SUPER_OFFSET + 4

# struct erofs_deviceslot, 128 bytes each; ids count from 1 in their order.
DEVICE_TABLE_OFFSET = SUPER_OFFSET + SUPER.size
DEVICE_SLOT = struct.Struct("<64sII56s")  # tag, blocks, mapped_blkaddr (0: addressed by id only), reserved

# struct erofs_inode_extended, 64 bytes.
INODE = struct.Struct(
    "<"
    "H"  # i_format: 1 (extended) | layout << 1
    "H"  # i_xattr_icount: 0 for none, else (bytes - 12) / 4 + 1
    "H"  # i_mode
    "H"  # reserved
    "Q"  # i_size
    "I"  # i_u: first block, or chunk format
    "I"  # i_ino
    "I"  # i_uid
    "I"  # i_gid
    "Q"  # i_mtime
    "I"  # i_mtime_nsec
    "I"  # i_nlink
    "16s"  # reserved
)
INODE_SLOT = 32  # a nid counts slots of 32 bytes from meta_blkaddr
INODE_EXTENDED = 1
ROOT_NID_MAX = 0xFFFF


class InodeLayout(IntEnum):
    """EROFS_INODE_*: where an inode's data is."""

    FLAT_PLAIN = 0  # in whole blocks
    FLAT_INLINE = 2  # the last part of a block follows the inode, and does not cross a block's end
    CHUNK_BASED = 4


# Chunks: a file as runs of blocks on any device.
CHUNK_FORMAT_INDEXES = 0x0020  # EROFS_CHUNK_FORMAT_INDEXES; the lower bits are the chunk's size, see below
CHUNK_BITS_MAX = 18  # chunk = BLOCK << bits; the field allows 31, but 32-bit kernels shift a long by it
CHUNK_INDEX = struct.Struct("<HHI")  # struct erofs_inode_chunk_index: advise 0, device_id, blkaddr
NULL_ADDRESS = 0xFFFF_FFFF  # EROFS_NULL_ADDR: a hole, reads as zeroes

# struct erofs_dirent: a block of them, then the names. The first nameoff / 12 is their number.
DIRENT = struct.Struct("<QHBB")  # nid, nameoff, file_type, reserved
NAME_MAX = 255  # EROFS_NAME_LEN


class FileType(IntEnum):
    """EROFS_FT_*."""

    REGULAR = 1
    DIRECTORY = 2
    CHARACTER_DEVICE = 3
    SYMLINK = 7


# Inline extended attributes: struct erofs_xattr_ibody_header, then entries, each padded to 4 bytes.
XATTR_IBODY_HEADER = struct.Struct("<IB7s")  # name filter (0), h_shared_count, reserved
XATTR_ENTRY = struct.Struct(
    "<BBH"
)  # e_name_len, e_name_index, e_value_size; name without prefix and value follow
XATTR_INDEX_TRUSTED = 4  # EROFS_XATTR_INDEX_TRUSTED

_SIZES = (
    (SUPER, 128),
    (DEVICE_SLOT, 128),
    (INODE, 64),
    (CHUNK_INDEX, 8),
    (DIRENT, 12),
    (XATTR_IBODY_HEADER, 12),
)
assert all(layout.size == size for layout, size in _SIZES)
assert DEVICE_TABLE_OFFSET % DEVICE_SLOT.size == 0
