"""Hostile DHCP packets: good ones changed, and ones built to be wrong in a chosen way."""

from __future__ import annotations

from ipaddress import IPv4Address
from types import MappingProxyType

from hypothesis import strategies as st

from firmware_mgr.netboot import dhcp_codec as codec

from .cards import ADDRESSES, MACS, OUTSIDE
from .dhcp_house import BROADCAST, FAR_QUARANTINE, PORT, QUARANTINE, SERVER, Asked
from .mutation import mutated

KNOWN_OPTIONS = (
    0,
    1,
    12,
    43,
    50,
    51,
    52,
    53,
    54,
    55,
    57,
    60,
    61,
    66,
    67,
    77,
    82,
    93,
    94,
    97,
    175,
    209,
    254,
    255,
)
CLASSES = (
    b"PXEClient",
    b"PXEClient:Arch:00000:UNDI:002001",
    b"PXEClient:Arch:00007:UNDI:003000",
    b"HTTPClient",
    b"U-Boot.armv8",
    b"onie_vendor:x",
    b"udhcp 1.35.0",
    b"",
)
addresses = st.one_of(
    st.sampled_from(
        (
            codec.UNSET,
            SERVER.address,
            BROADCAST,
            OUTSIDE,
            *ADDRESSES,
            IPv4Address("224.0.0.1"),
            IPv4Address("127.0.0.1"),
            IPv4Address("10.77.0.255"),
            IPv4Address("10.77.0.253"),
            IPv4Address("8.8.8.8"),
            IPv4Address("10.78.0.9"),
            IPv4Address("203.0.113.1"),
            QUARANTINE[0],
            FAR_QUARANTINE[0],
        )
    ),
    st.integers(0, 2**32 - 1).map(IPv4Address),
)
macs = st.one_of(st.sampled_from(MACS).map(lambda mac: mac.to_bytes()), st.binary(min_size=6, max_size=6))


SUB_OPTIONS = (
    bytes((1, len(PORT.circuit_id))) + PORT.circuit_id,
    bytes((2, len(PORT.remote_id))) + PORT.remote_id,
    bytes((5, 4, 10, 78, 0, 0)),
    bytes((5, 4, 8, 8, 8, 8)),
    bytes((11, 4, 10, 78, 0, 9)),
    bytes((6, 3)) + b"sub",
    bytes((1, 200, 7)),
    bytes((2, 0)),
    b"\xff",
)


@st.composite
def _value(draw: st.DrawFn, code: int) -> bytes:
    """Mostly of the right form for its code."""
    if code == codec.OPT_MESSAGE_TYPE:
        return bytes((draw(st.integers(0, 9)),))
    if code in (codec.OPT_REQUESTED_ADDRESS, codec.OPT_SERVER_ID):
        return draw(addresses).packed
    if code == codec.OPT_MAX_SIZE:
        return draw(st.sampled_from((0, 1, 28, 300, 575, 576, 577, 1472, 1500, 9000, 65535))).to_bytes(
            2, "big"
        )
    if code == codec.OPT_VENDOR_CLASS:
        return draw(st.sampled_from(CLASSES))
    if code == codec.OPT_CLIENT_ARCH:
        archs = st.sampled_from((0, 6, 7, 9, 11, 15, 16, 22, 41, 65535))
        return b"".join(arch.to_bytes(2, "big") for arch in draw(st.lists(archs, max_size=3)))
    if code == codec.OPT_RELAY_INFO:
        return draw(st.lists(st.sampled_from(SUB_OPTIONS), max_size=4).map(b"".join))
    if code == 97:
        return b"\0" + draw(st.sampled_from((bytes(16), b"RPi4" + bytes(12), b"\x44" * 16)))
    if code == 43:
        return draw(
            st.sampled_from((bytes((71, 4, 0, 0, 0, 0, 255)), bytes((0, 0, 71, 3, 1)), b"\xff", b"\x47\xc8"))
        )
    if code == 77:
        return draw(st.sampled_from((b"iPXE", b"\4iPXE", b"\0", b"\xff", b"\4iPXE\1x")))
    if code == 175:
        return draw(st.sampled_from((bytes((19, 1, 1)), bytes((19, 200, 1)), bytes((176, 1, 1)), b"\x13")))
    return draw(st.binary(max_size=20))


@st.composite
def options(draw: st.DrawFn) -> bytes:
    """An options area: right, twice, split, too long, cut short, without end."""
    out = bytearray()
    for code in draw(st.lists(st.sampled_from(KNOWN_OPTIONS) | st.integers(0, 255), max_size=12)):
        value = draw(_value(code) | st.binary(max_size=255))
        fault = draw(st.integers(0, 15))
        length = len(value) if fault else draw(st.integers(0, 255))
        out += bytes((code,)) if code in (0, 255) and fault > 2 else bytes((code, length)) + value
        if fault == 1:
            out += bytes(out)
        if len(out) > 4096:
            break
    if draw(st.integers(0, 9)):
        out += bytes((255,))
    return bytes(out) + draw(st.binary(max_size=8))


@st.composite
def built(draw: st.DrawFn) -> bytes:
    """A packet with its header mostly right; options in all three areas."""
    mac = draw(macs)
    head = bytes(
        (
            draw(st.sampled_from((1, 1, 1, 1, 2, 0))),
            draw(st.sampled_from((1, 1, 1, 6))),
            draw(st.sampled_from((6, 6, 6, 6, 0, 16, 17, 255))),
            draw(st.integers(0, 255)),
        )
    )
    head += (
        draw(st.binary(min_size=4, max_size=4))
        + bytes(2)
        + draw(st.sampled_from((b"\x80\0", b"\0\0", b"\xff\xff")))
    )
    head += b"".join(
        draw(addresses if draw(st.integers(0, 3)) == 0 else st.just(codec.UNSET)).packed for _ in range(4)
    )
    head += mac.ljust(16, b"\0")
    areas = [draw(options() | st.just(b""))[:size].ljust(size, b"\0") for size in (64, 128)]
    kind = bytes((53, 1, draw(st.sampled_from((1, 1, 3, 3, 3, 4, 7, 8)))))
    overload = draw(
        st.sampled_from((b"", b"", b"", b"\x34\x01\x01", b"\x34\x01\x02", b"\x34\x01\x03", b"\x34\x01\x04"))
    )
    return head + areas[0] + areas[1] + codec.MAGIC_COOKIE + kind + overload + draw(options())


@st.composite
def sensible(draw: st.DrawFn) -> bytes:
    """Such that a rule decides: a client of ours or a stranger, here or behind a relay, in any state."""
    here = draw(st.sampled_from((SERVER.address, ADDRESSES[0], ADDRESSES[1], codec.UNSET, QUARANTINE[1])))
    relay = draw(
        st.sampled_from((codec.UNSET, codec.UNSET, IPv4Address("10.78.0.9"), IPv4Address("203.0.113.1")))
    )
    chosen = draw(
        st.lists(st.sampled_from((50, 54, 57, 60, 61, 77, 82, 93, 97, 175, 43, 12)), unique=True, max_size=6)
    )
    options = {code: draw(_value(code)) for code in chosen}
    if 54 in options and draw(st.integers(0, 3)):
        options[54] = SERVER.address.packed
    if 50 in options and draw(st.integers(0, 3)):
        options[50] = draw(st.sampled_from((*ADDRESSES, *QUARANTINE))).packed
    kind = draw(st.sampled_from((1, 1, 3, 3, 3, 4, 7, 8)))
    return codec.serialise(
        codec.DhcpPacket(
            op=codec.Op.REQUEST,
            xid=draw(st.integers(0, 2**32 - 1)),
            chaddr=draw(
                st.sampled_from((*(mac.to_bytes() for mac in MACS), b"\2\0\0\0\0\1", b"\2\0\0\0\0\2"))
            ),
            ciaddr=draw(st.sampled_from((codec.UNSET, codec.UNSET, here))),
            giaddr=relay,
            options=MappingProxyType({53: bytes((kind,)), **options}),
        )
    )


payloads = st.one_of(
    sensible(),
    sensible(),
    sensible().flatmap(mutated),
    built(),
    built().flatmap(mutated),
    st.binary(max_size=700),
    st.binary(min_size=9000, max_size=9400),
)
asked = st.builds(
    Asked,
    payloads,
    source=st.sampled_from((codec.UNSET, codec.UNSET, *ADDRESSES)) | addresses,
    port=st.sampled_from((68, 67, 4011, 0, 65535)),
    destination=st.sampled_from((BROADCAST, SERVER.address)),
    boot_service=st.sampled_from((False, False, False, True)),
)
