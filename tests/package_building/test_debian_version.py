"""Versions and relations as Debian has them."""

from __future__ import annotations

from itertools import pairwise

import pytest

from firmware_mgr.model.errors import PeerError
from firmware_mgr.packaging.deb_needs import debian_names
from firmware_mgr.packaging.debian_control import Relation, parse_control, parse_relations
from firmware_mgr.packaging.debian_version import DebianVersion

#: Each before the next.
ORDER = [
    "0~~", "0~~a", "0~", "0", "0a", "0+", "1.0~rc1-1", "1.0-1", "1.0-1+b2", "1.0-1+deb12u1", "1.0-1.1",
    "1.0-2~bpo1", "1.0-2", "1.0a-1", "1.0+dfsg-1", "1.9-1", "1.10-1", "1.10-1+deb12u2", "1.10-1+deb12u10",
    "2-1", "10", "1:0.1", "1:1.0-1", "2:0",
]  # fmt: skip


def test_versions_are_ordered_as_debian_orders_them() -> None:
    for before, after in pairwise(ORDER):
        assert DebianVersion(before) < DebianVersion(after), (before, after)
        assert not DebianVersion(after) < DebianVersion(before)
    for same, other in (("1.0", "1.00"), ("0:1", "1"), ("1.0-0", "1.0")):
        assert DebianVersion(same) == DebianVersion(other), (same, other)


def test_a_rebuild_is_of_the_same_source() -> None:
    assert DebianVersion("1.0.9-2+b6").source == "1.0.9-2"
    assert DebianVersion("1.0-1+deb12u1").source == "1.0-1+deb12u1"


@pytest.mark.parametrize("text", ["", "a b", "1_2", "x:1", "ä", "1" * 300])
def test_other_texts_are_no_versions(text: str) -> None:
    with pytest.raises(PeerError, match="not a version"):
        DebianVersion(text)


def test_relations_are_read_with_alternatives_versions_and_architectures() -> None:
    groups = parse_relations("libc6 (>= 2.34), debconf (>= 0.5) | debconf-2.0, perl:any , x(<<2)", "x")
    assert groups == (
        (Relation("libc6", ">=", "2.34"),),
        (Relation("debconf", ">=", "0.5"), Relation("debconf-2.0")),
        (Relation("perl"),),
        (Relation("x", "<<", "2"),),
    )
    assert groups[0][0].accepts(DebianVersion("2.36-9")) and not groups[0][0].accepts(DebianVersion("2.33"))
    assert not groups[3][0].accepts(DebianVersion("2"))


def test_a_control_file_is_read_with_lines_that_go_on() -> None:
    raw = b"Package: a\nVersion: 1\nArchitecture: all\nSource: b (2)\nDepends: x,\n y (= 1)\nPre-Depends: z\n"
    control = parse_control(raw, "a.deb")
    assert (control.name, control.source) == ("a", "b")
    assert [str(group[0]) for group in control.depends] == ["z", "x", "y (= 1)"]


@pytest.mark.parametrize("raw", [b" x\n", b"Package\n", b"Package: a\npackage: b\n", b""])
def test_a_malformed_control_file_is_refused(raw: bytes) -> None:
    with pytest.raises(PeerError, match=r"a\.deb: .*control file"):
        parse_control(raw, "a.deb")


@pytest.mark.parametrize(
    ("soname", "package"),
    [
        ("libssl.so.3", "libssl3"),
        ("libc.so.6", "libc6"),
        ("libz.so.1", "zlib1g"),
        ("libpng16.so.16", "libpng16-16"),
        ("libgcc_s.so.1", "libgcc-s1"),
        ("libevent-2.1.so.7", "libevent-2.1-7"),
        ("libstdc++.so.6", "libstdc++6"),
        ("libdb-5.3.so", "libdb-5.3"),
    ],
)
def test_a_librarys_package_is_named_by_policy(soname: str, package: str) -> None:
    assert package in debian_names(soname)
