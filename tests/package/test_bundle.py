"""Sets and composite images: one encoding, members that are what the table says, and nothing else."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from firmware_mgr.model.errors import UsageError
from firmware_mgr.model.ids import Digest
from firmware_mgr.package import layout
from firmware_mgr.package import layout_tables as lt
from firmware_mgr.package.bundle import PACKAGE_FILE, MemberKind, Targets
from firmware_mgr.package.bundle_reader import BundleFile, kind_of
from firmware_mgr.package.bundle_table import decode_bundle, encode_bundle
from firmware_mgr.package.errors import PackageFormatError, PackageRefused
from firmware_mgr.package.keyring import Keyring
from firmware_mgr.package.layout import EnvelopeKind
from firmware_mgr.package.reader import PackageFile
from firmware_mgr.packaging.compose import BundleHead, MemberSource, build_bundle, pack_bundle
from firmware_mgr.packaging.keys import keyring_of

from .goldens import FOLDER
from .samples import BOTH_KEYS, HEAD, KEY, KEYRING, OTHER_KEY, SOURCES, flip, sample
from .samples_bundle import (
    COMPOSITE_HEAD,
    COMPOSITE_SOURCES,
    IMAGE_FILES,
    INFORMATION,
    SET_HEAD,
    SET_SOURCES,
    composite_contents,
    image_source,
    package_source,
    sample_composite,
    sample_set,
)

BUNDLE, CONTENT = composite_contents()
TABLE = encode_bundle(BUNDLE)
COMPOSITE = EnvelopeKind.COMPOSITE


def _raw() -> dict[int, Any]:
    about, targets, members = (table.body for table in layout.TABLE[3].parse(TABLE))
    return {
        5: lt.BUNDLE.parse(about),
        7: lt.TARGETS.parse(targets),
        6: list(lt.MEMBER[lt.MEMBER_COUNT.parse(members)].parse(members[2:])),
    }


def _built(raw: dict[int, Any]) -> bytes:
    bodies = {
        5: lt.BUNDLE.build(raw[5]),
        7: lt.TARGETS.build(raw[7]),
        6: lt.MEMBER_COUNT.build(len(raw[6])) + b"".join(map(lt.MEMBER.build, raw[6])),
    }
    return b"".join(layout.TABLE.build({"kind": k, "reserved": 0, "body": b}) for k, b in bodies.items())


def test_decoding_gives_back_what_was_encoded() -> None:
    assert decode_bundle(TABLE, COMPOSITE, "sample") == BUNDLE
    assert _built(_raw()) == TABLE


def test_every_truncation_and_what_is_left_over_is_refused() -> None:
    for length in range(len(TABLE)):
        with pytest.raises(PackageFormatError):
            decode_bundle(TABLE[:length], COMPOSITE, "sample")
    with pytest.raises(PackageFormatError, match="left over"):
        decode_bundle(TABLE + b"\0", COMPOSITE, "sample")
    with pytest.raises(PackageFormatError, match="wrong kind of table"):
        decode_bundle(TABLE, EnvelopeKind.SET, "sample")


def test_a_bit_turned_over_is_refused_or_says_something_else_in_the_one_encoding() -> None:
    for position in range(len(TABLE)):
        damaged = flip(TABLE, position * 8 + position % 8)
        try:
            bundle = decode_bundle(damaged, COMPOSITE, "sample")
        except PackageFormatError:
            continue
        assert encode_bundle(bundle) == damaged


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda raw: raw[5].update({"name": b"No Name"}), "not a composite image name"),
        (lambda raw: raw[5].update({"build_date": 1 << 40}), "build date"),
        (lambda raw: raw[7].update({"slots": [b"03"]}), "not a slot"),
        (lambda raw: raw[7].update({"slots": [b"1/3"]}), "not written in its one way"),
        (lambda raw: raw[7].update({"boards": [b"b", b"a"]}), "not sorted and unique"),
        (lambda raw: raw[7].update({"classes": [b"a\x1b"]}), "not a card class name"),
        (lambda raw: raw[6].clear(), "illegal number of members"),
        (lambda raw: raw[6].append(raw[6][-1]), "not sorted and unique"),
        (lambda raw: raw[6].reverse(), "not sorted and unique"),
        (lambda raw: raw[6][0].update({"kind": 9}), "unknown kind of member"),
        (lambda raw: raw[6][0].update({"reserved": 1}), "reserved field"),
        (lambda raw: raw[6][0].update({"kind": 3}), "wrong files"),
        (lambda raw: raw[6][0].update({"version": b""}), "not a version"),
        (lambda raw: raw[6][0].files.pop(), "wrong files"),
        (lambda raw: raw[6][0].files.append(raw[6][0].files[-1]), "not sorted and unique"),
        (lambda raw: raw[6][0].files[0].update({"name": b"../boot.img"}), "leaves its place"),
        (lambda raw: raw[6][0].files[0].update({"name": b".."}), "leaves its place"),
        (lambda raw: raw[6][0].files[0].update({"name": b"/etc/passwd"}), "not a normalised relative path"),
        (lambda raw: raw[6][0].files[1].update({"offset": 0}), "gap or overlap"),
        (lambda raw: raw[6][0].files[1].update({"offset": 1 << 63}), "outside of content"),
        (lambda raw: raw[6][0].files[0].update({"length": (1 << 64) - 1}), "illegal length"),
        (lambda raw: raw[6][0].files[0].update({"length": 0}), "number of pieces"),
        (lambda raw: raw[6][1].files[0].pieces[0].update({"compression": 1}), "do not shrink"),
        (lambda raw: raw[6][1].files[0].update({"name": b"other.fwp"}), "wrong files"),
        (lambda raw: raw[6][2].files[0].update({"length": (1 << 20) + 1}), "number of pieces|illegal length"),
    ],
)
def test_what_is_wrong_is_named(change: Callable[[dict[int, Any]], None], complaint: str) -> None:
    raw = _raw()
    change(raw)
    with pytest.raises(PackageFormatError, match=complaint):
        decode_bundle(_built(raw), COMPOSITE, "sample")


def test_a_file_below_another_and_a_package_that_is_compressed_are_refused() -> None:
    files = {**image_source().files, "net": b"a file"}
    with pytest.raises(UsageError, match="a file stands below another"):
        pack_bundle(COMPOSITE_HEAD, [replace(image_source(), files=files)])
    member = BUNDLE.of_kind(MemberKind.BOOT_IMAGE)[0]
    compressed = member.file("boot.img")
    with pytest.raises(UsageError, match="stored compressed"):
        replace(member, kind=MemberKind.PACKAGE, name="a", files=(replace(compressed, name=PACKAGE_FILE),))


def test_a_set_has_packages_only_and_nothing_stands_twice() -> None:
    with pytest.raises(UsageError, match="a set has packages only"):
        pack_bundle(SET_HEAD, COMPOSITE_SOURCES)
    with pytest.raises(UsageError, match="a set has packages only"):
        pack_bundle(replace(SET_HEAD, targets=Targets(("1",))), SET_SOURCES)
    with pytest.raises(UsageError, match="member stands twice"):
        pack_bundle(SET_HEAD, [SET_SOURCES[0], SET_SOURCES[0]])
    information = replace(COMPOSITE_SOURCES[2], version="2")
    with pytest.raises(UsageError, match="card information stands twice"):
        pack_bundle(COMPOSITE_HEAD, [*COMPOSITE_SOURCES, information])


def bundle_file(path: Path, head: BundleHead, *sources: MemberSource, keys: Any = (KEY,)) -> Path:
    path.write_bytes(build_bundle(head, sources, keys))
    return path


def test_members_are_read_in_place_with_their_own_signatures(tmp_path: Path) -> None:
    with BundleFile.open(FOLDER / "set.fws", KEYRING) as opened:
        old, new = opened.bundle.members
        package = opened.package(new)
        assert {m.path for m in package.toc.modules} >= {source.path for source in SOURCES}
        package.check_content()
        reference = package.reference()
        assert reference.digest == new.files[0].sha256 == Digest.of(sample())
        assert opened.package(old).toc.format == 1
    (tmp_path / "p.fwp").write_bytes(sample())
    with PackageFile.open(tmp_path / "p.fwp", KEYRING) as alone:
        assert alone.reference() == reference


def test_a_boot_image_comes_out_as_it_went_in(tmp_path: Path) -> None:
    with BundleFile.open(FOLDER / "composite.fwc", KEYRING) as opened:
        (image,) = opened.bundle.of_kind(MemberKind.BOOT_IMAGE)
        opened.extract(image, tmp_path)
        assert opened.card_information() == INFORMATION
    from firmware_mgr.imaging.manifest import read_boot_image

    read = read_boot_image(tmp_path)
    assert (read.manifest.board, read.manifest.version) == ("arm-board", "7")
    assert {name: (tmp_path / name).read_bytes() for name in IMAGE_FILES} == IMAGE_FILES


def test_a_member_signed_by_nobody_known_is_refused_though_the_whole_is_trusted(tmp_path: Path) -> None:
    stranger = build_bundle(SET_HEAD, SET_SOURCES, [OTHER_KEY])
    (tmp_path / "set").write_bytes(stranger)
    by_stranger = BundleFile.open(tmp_path / "set", keyring_of([OTHER_KEY]))
    with by_stranger as opened, pytest.raises(PackageRefused, match="unknown key"):
        opened.check_content()
    with BundleFile.open(tmp_path / "set", BOTH_KEYS) as opened:
        opened.check_content()
    for keyring, complaint in ((KEYRING, "unknown key"), (Keyring({}), "no key is trusted")):
        with pytest.raises(PackageRefused, match=complaint):
            BundleFile.open(tmp_path / "set", keyring)


def test_a_member_that_is_not_what_the_table_says_is_refused(tmp_path: Path) -> None:
    image = image_source()
    other = json.loads(image.files["manifest.json"])
    cases = {
        "package is another one": package_source("9", sample()),
        "another length": package_source("1.2-3", sample() + b"\0"),
        "magic": package_source("1.2-3", bytes(1000)),
        "boot image is another one": replace(image, version="8"),
        "manifest lists other files": replace(image, files={**image.files, "net/more": b"x"}),
        "not a boot image's manifest": replace(image, files={**image.files, "manifest.json": b"[]"}),
    }
    assert other["board"] == "arm-board"
    for complaint, source in cases.items():
        path = bundle_file(tmp_path / "bad.fwc", COMPOSITE_HEAD, source)
        with (
            BundleFile.open(path, KEYRING) as opened,
            pytest.raises((PackageRefused, PackageFormatError), match=complaint),
        ):
            opened.check_content()


def test_a_set_inside_a_set_is_refused(tmp_path: Path) -> None:
    path = bundle_file(tmp_path / "nested", SET_HEAD, package_source("1", sample_set()))
    with BundleFile.open(path, KEYRING) as opened, pytest.raises(PackageFormatError, match="not a package"):
        opened.check_content()


def test_a_file_of_another_bundle_is_not_read_from_this_one() -> None:
    with (
        BundleFile.open(FOLDER / "composite.fwc", KEYRING) as one,
        BundleFile.open(FOLDER / "set.fws", KEYRING) as other,
    ):
        member = other.bundle.members[0]
        with pytest.raises(PackageRefused, match="not of this bundle"):
            list(one.file_chunks(member, member.files[0]))


def test_the_same_parts_in_any_order_give_the_same_bytes() -> None:
    assert build_bundle(COMPOSITE_HEAD, COMPOSITE_SOURCES[::-1], [KEY], 1_700_000_100) == sample_composite()
    assert kind_of(FOLDER / "set.fws") is EnvelopeKind.SET


def test_without_a_build_date_it_is_that_of_the_newest_member() -> None:
    assert BUNDLE.build_date == HEAD.build_date
    assert pack_bundle(replace(COMPOSITE_HEAD, build_date=5), COMPOSITE_SOURCES)[0].build_date == 5
