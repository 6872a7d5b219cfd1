"""The table of contents as bytes: one encoding, and nothing else is taken, signed or not."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from firmware_mgr.model.errors import UsageError
from firmware_mgr.model.ids import CpuArch, Digest
from firmware_mgr.package import layout
from firmware_mgr.package import layout_tables as lt
from firmware_mgr.package.contents import (
    Compression,
    Dependency,
    Group,
    Module,
    ModuleKind,
    TableOfContents,
    content_order,
    processes_of,
    select,
)
from firmware_mgr.package.errors import PackageFormatError
from firmware_mgr.package.process import (
    NamedUser,
    NumericUser,
    ProcessSpec,
    Readiness,
    ReadinessKind,
    Restart,
)
from firmware_mgr.package.table import decode_table, encode_table
from firmware_mgr.packaging.build import ModuleSource, PackageHead, pack, seal
from firmware_mgr.packaging.storing import store_file

from .samples import HEAD, KEY, SERVER, SIGNED_AT, flip, read, sample_contents

TABLE = encode_table(sample_contents()[0])


def _raw() -> dict[int, Any]:
    """The sample's tables, decoded by layout alone, to be altered and built again."""
    about, grouped, moduled, processed = (table.body for table in layout.TABLE[4].parse(TABLE))
    return {
        1: lt.PACKAGE.parse(about),
        2: list(lt.MODULE[lt.MODULE_COUNT.parse(moduled)].parse(moduled[4:])),
        3: list(lt.PROCESS[lt.PROCESS_COUNT.parse(processed)].parse(processed[2:])),
        4: list(lt.GROUP[lt.GROUP_COUNT.parse(grouped)].parse(grouped[2:])),
    }


def _built(raw: dict[int, Any], order: tuple[int, ...] = (1, 4, 2, 3)) -> bytes:
    bodies = {
        1: lt.PACKAGE.build(raw[1]),
        2: lt.MODULE_COUNT.build(len(raw[2])) + b"".join(map(lt.MODULE.build, raw[2])),
        3: lt.PROCESS_COUNT.build(len(raw[3])) + b"".join(map(lt.PROCESS.build, raw[3])),
        4: lt.GROUP_COUNT.build(len(raw[4])) + b"".join(map(lt.GROUP.build, raw[4])),
    }
    return b"".join(layout.TABLE.build({"kind": k, "reserved": 0, "body": bodies[k]}) for k in order)


def _on(name: str, *boards: str) -> dict[str, Any]:
    return {"name": name.encode(), "value": b"", "boards": [board.encode() for board in boards]}


def _refused(raw: dict[int, Any], complaint: str) -> None:
    with pytest.raises(PackageFormatError, match=complaint):
        decode_table(_built(raw), "sample")


def test_decoding_gives_back_what_was_encoded() -> None:
    toc, _ = sample_contents()
    assert decode_table(TABLE, "sample") == toc
    assert _built(_raw()) == TABLE


def test_every_truncation_is_refused() -> None:
    for length in range(len(TABLE)):
        with pytest.raises(PackageFormatError):
            decode_table(TABLE[:length], "sample")


def test_trailing_bytes_are_refused_after_the_tables_and_in_each() -> None:
    with pytest.raises(PackageFormatError, match="left over"):
        decode_table(TABLE + b"\0", "sample")
    for index in range(4):
        tables = layout.TABLE[4].parse(TABLE)
        tables[index].body += b"\0"
        with pytest.raises(PackageFormatError, match="left over"):
            decode_table(layout.TABLE[4].build(tables), "sample")


def test_tables_in_another_order_are_refused() -> None:
    with pytest.raises(PackageFormatError, match="wrong kind of table"):
        decode_table(_built(_raw(), (1, 2, 4, 3)), "sample")


def test_a_bit_turned_over_is_refused_or_says_something_else_in_the_one_encoding() -> None:
    for position in range(len(TABLE)):
        damaged = flip(TABLE, position * 8 + position % 8)
        try:
            toc = decode_table(damaged, "sample")
        except PackageFormatError:
            continue
        assert encode_table(toc) == damaged


@given(st.binary(max_size=600))
def test_arbitrary_bytes_are_refused_with_the_declared_error(data: bytes) -> None:
    with pytest.raises(PackageFormatError):
        decode_table(data, "noise")


@settings(max_examples=150)
@given(st.integers(0, len(TABLE) - 1), st.binary(max_size=6), st.integers(0, 12))
def test_a_table_with_a_piece_replaced_is_refused_or_canonical(at: int, piece: bytes, cut: int) -> None:
    damaged = TABLE[:at] + piece + TABLE[at + cut :]
    try:
        toc = decode_table(damaged, "damaged")
    except PackageFormatError:
        return
    assert encode_table(toc) == damaged


@pytest.mark.parametrize(
    ("field", "value", "complaint"),
    [
        ("kind", 0, "unknown kind"),
        ("kind", 8, "unknown kind"),
        ("cpu", 4, "unknown CPU"),
        ("mode", 0o4755, "illegal mode"),
        ("length", (1 << 64) - 1, "illegal length"),
        ("length", 11, "stored length of uncompressed bytes"),
        ("length", 0, "number of pieces"),
        ("length", (1 << 20) + 1, "number of pieces"),
        ("offset", 1, "gap or overlap"),
        ("offset", (1 << 64) - 1, "outside of content"),
        ("sha256", bytes(32), "stored hash of an uncompressed file"),
        ("pieces", [], "number of pieces"),
        ("groups", [b"absent"], "unknown group"),
        ("groups", [b"web", b"docs"], "not sorted and unique"),
        ("function", b"Not A Name", "not a function name"),
        ("link_target", b"x", "a target without a symlink"),
        ("provides", [b"b", b"a"], "not sorted and unique"),
        ("provides", [b"a", b"a"], "not sorted and unique"),
        ("consumes", [b""], "not a name of an API"),
        ("consumes", [b"a\x1b[2J"], "not a name of an API"),
        ("path", b"etc/\xff", "not UTF-8"),
    ],
)
def test_wrong_module_field_is_named(field: str, value: object, complaint: str) -> None:
    raw = _raw()
    raw[2][0][field] = value
    _refused(raw, complaint)


@pytest.mark.parametrize(
    ("field", "value", "complaint"),
    [
        ("name", b"Server!", "not a process name"),
        ("module", b"etc/server.conf", "process without a program"),
        ("module", b"usr/bin/absent", "process without a program"),
        ("argv", [], "illegal number of arguments"),
        ("argv", [b"a\0b"], "illegal argument"),
        ("argv", [b"x" * 4097], "illegal argument"),
        ("environment", [{"name": b"B", "value": b""}, {"name": b"A", "value": b""}], "environment is not"),
        ("environment", [{"name": b"A=B", "value": b""}], "not a name of an environment variable"),
        ("working_directory", b"srv", "not an absolute directory"),
        ("working_directory", b"/srv/../..", "leaves its place"),
        ("user_form", 3, "illegal user"),
        ("uid", 0xFFFF_FFFF, "illegal user|out of range"),
        ("user_name", b"root", "illegal user|not a user name"),
        ("readiness", 0, "unknown readiness"),
        ("readiness_port", 70, "readiness port out of range"),
        ("stop_signal", 0, "not a stop signal"),
        ("stop_signal", 64, "not a stop signal"),
        ("grace_s", 3601, "grace out of range"),
        ("restart", 9, "unknown restart"),
        ("self_managing", 2, "unknown self-managing"),
    ],
)
def test_wrong_process_field_is_named(field: str, value: object, complaint: str) -> None:
    raw = _raw()
    process = 0 if field == "readiness_port" else 1
    raw[3][process][field] = value
    _refused(raw, complaint)


@pytest.mark.parametrize(
    ("field", "value", "complaint"),
    [
        ("name", b"../etc", "not a package name"),
        ("version", b"1 2", "not a version"),
        ("build_date", 1 << 40, "build date"),
        ("local", [_on("b"), _on("a")], "not sorted"),
        ("local", [_on("b"), _on("b")], "not sorted"),
        ("local", [_on("b"), _on("b", "pc")], "hold on one board"),
        ("local", [_on("b", "a", "pc"), _on("b", "pc")], "hold on one board"),
        ("local", [_on("b", "pc", "a")], "not sorted"),
        ("local", [_on("b", "Not a board")], "not a board name"),
        ("remote", [{**_on("b"), "value": b"newest"}], "not a version constraint"),
        ("upgrades", [{"name": b"b", "value": b">= 1,< 2"}], "not a version constraint"),
    ],
)
def test_wrong_package_field_is_named(field: str, value: object, complaint: str) -> None:
    raw = _raw()
    raw[1][field] = value
    _refused(raw, complaint)


def test_modules_and_processes_stand_in_order_and_once() -> None:
    raw = _raw()
    raw[2][0], raw[2][1] = raw[2][1], raw[2][0]
    _refused(raw, "modules are not sorted and unique")
    raw = _raw()
    raw[2].append(raw[2][-1])
    _refused(raw, "modules are not sorted and unique")
    raw = _raw()
    raw[3].reverse()
    _refused(raw, "not sorted and unique")


def test_counts_over_their_bounds_are_refused_before_anything_is_read() -> None:
    tables = layout.TABLE[4].parse(TABLE)
    tables[2].body = (layout.MAX_MODULES + 1).to_bytes(4, "big") + tables[2].body[4:]
    with pytest.raises(PackageFormatError, match="out of bounds"):
        decode_table(layout.TABLE[4].build(tables), "sample")


def test_a_malformed_table_is_refused_though_it_is_signed() -> None:
    with pytest.raises(PackageFormatError, match="left over"):
        read(seal(TABLE + b"\0", sample_contents()[1], [KEY], signed_at=SIGNED_AT))


def test_a_path_for_every_cpu_stands_alone() -> None:
    both = (
        ModuleSource("a", ModuleKind.DATA, b"x"),
        ModuleSource("a", ModuleKind.DATA, b"y", CpuArch.ARMV7),
    )
    with pytest.raises(UsageError, match="for every CPU and for one"):
        pack(PackageHead("p", "1", 0), both)


def test_overlapping_modules_are_refused() -> None:
    toc, _ = sample_contents()
    last = max(range(len(toc.modules)), key=lambda index: toc.modules[index].offset)
    with pytest.raises(UsageError, match="gap or overlap"):
        shifted = replace(toc.modules[last], offset=toc.modules[last].offset - 1)
        replace(toc, modules=(*toc.modules[:last], shifted, *toc.modules[last + 1 :]))


def test_a_compressed_module_that_does_not_shrink_is_refused() -> None:
    module = sample_contents()[0].modules[0]
    with pytest.raises(UsageError, match="do not shrink"):
        replace(module, pieces=(replace(module.pieces[0], compression=Compression.ZSTD),))


def test_modules_of_one_cpu_lie_together_in_content() -> None:
    toc, _ = sample_contents()
    order = [module.cpu for module in sorted(toc.modules, key=lambda module: module.offset) if module.length]
    assert order == sorted(order, key=lambda cpu: "" if cpu is None else cpu.value)


@pytest.mark.parametrize(
    ("field", "value", "complaint"),
    [
        ("name", b"No Group", "not a group name"),
        ("summary", b"two\nlines", "not a summary"),
        ("summary", b"x" * 257, "not a summary"),
        ("wanted", 2, "unknown flag"),
    ],
)
def test_wrong_group_field_is_named(field: str, value: object, complaint: str) -> None:
    raw = _raw()
    raw[4][0][field] = value
    _refused(raw, complaint)


@pytest.mark.parametrize(
    ("field", "value", "complaint"),
    [
        ("compression", 2, "unknown compression"),
        ("stored_length", (1 << 20) + 1, "do not shrink"),
        ("stored_length", 0, "do not shrink"),
    ],
)
def test_wrong_piece_field_is_named(field: str, value: object, complaint: str) -> None:
    raw = _raw()
    large = next(module for module in raw[2] if module.path == b"usr/share/large")
    large.pieces[0][field] = value
    _refused(raw, complaint)


def test_a_card_gets_what_is_wanted_and_what_it_asks_for() -> None:
    toc, _ = sample_contents()

    def chosen(**asked: Any) -> set[str]:
        return {module.path for module in select(toc, CpuArch.X86_64, **asked)}

    base = chosen(features=())
    assert base.isdisjoint({"usr/share/doc/manual", "usr/share/large"}) and "etc/server.conf" in base
    assert chosen() == base | {"usr/share/large"}
    assert chosen(features=("docs", "of another package")) == base | {
        "usr/share/doc/manual",
        "usr/share/large",
    }
    assert chosen(kinds=(ModuleKind.CONFIG,)) == {"etc/server.conf", "srv"}
    arm = {module.path for module in select(toc, CpuArch.AARCH64, functions=("dns",))}
    assert "usr/sbin/server" not in arm and "usr/bin/helper" in arm


def test_a_process_whose_module_was_not_chosen_is_not_run() -> None:
    toc, _ = sample_contents()
    chosen = select(toc, CpuArch.AARCH64, functions=("dns",))
    assert [process.name for process in processes_of(toc, chosen, CpuArch.AARCH64)] == ["helper"]
    assert len(processes_of(toc, select(toc, CpuArch.AARCH64), CpuArch.AARCH64)) == 2


def test_too_many_names_in_all_modules_are_refused() -> None:
    names = tuple(f"api-{number:04}" for number in range(1024))
    sources = [ModuleSource(f"a{n:02}", ModuleKind.DATA, provides=names) for n in range(65)]
    with pytest.raises(UsageError, match="too many names"):
        pack(PackageHead("p", "1", 0), sources)


NAMES = st.from_regex(r"[a-z0-9][a-z0-9+.-]{0,10}", fullmatch=True)
TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)
PARTS = st.from_regex(r"[A-Za-z0-9_äß-]{1,6}", fullmatch=True)
DEPENDENCIES = st.dictionaries(NAMES, st.sampled_from(["", "= 1", ">= 1.2, < 2"]), max_size=3).map(
    lambda found: tuple(Dependency(*item) for item in sorted(found.items()))
)


@st.composite
def tables(draw: st.DrawFn) -> TableOfContents:
    # All files lie in directories of their own depth, so that no file stands below a file.
    paths = draw(st.sets(st.tuples(PARTS, PARTS).map("/".join), min_size=1, max_size=5))
    modules: list[Module] = []
    position = 0
    for path in sorted(paths):
        data = draw(st.binary(max_size=20))
        module = Module(
            path=path,
            kind=draw(st.sampled_from([ModuleKind.DATA, ModuleKind.PROGRAM, ModuleKind.CONFIG])),
            cpu=draw(st.sampled_from([None, *CpuArch])),
            mode=draw(st.integers(0, 0o777)),
            length=len(data),
            offset=0,
            pieces=store_file(data)[0],
            sha256=Digest.of(data),
            substantive=Digest.of(data + b"!"),
            function=draw(st.one_of(st.just(""), NAMES)),
            groups=draw(st.sets(st.sampled_from(("a", "b"))).map(lambda found: tuple(sorted(found)))),
        )
        modules.append(module)
    for module in sorted(modules, key=content_order):
        modules[modules.index(module)] = replace(module, offset=position)
        position += module.stored_length
    programs = [module.path for module in modules if module.kind is ModuleKind.PROGRAM]
    names = draw(st.sets(NAMES, max_size=2)) if programs else set()
    processes = tuple(draw(processes_named(name, programs)) for name in sorted(names))
    return TableOfContents(
        name=draw(NAMES),
        version="1",
        build_date=draw(st.integers(0, (1 << 40) - 1)),
        local_dependencies=draw(DEPENDENCIES),
        remote_dependencies=draw(DEPENDENCIES),
        upgrades=draw(DEPENDENCIES),
        modules=tuple(modules),
        processes=processes,
        groups=(Group("a", draw(st.sampled_from(["", "Größe"])), draw(st.booleans())), Group("b")),
    )


def processes_named(name: str, programs: list[str]) -> st.SearchStrategy[ProcessSpec]:
    readiness = st.one_of(
        st.sampled_from([Readiness(ReadinessKind.NOTIFY), Readiness(ReadinessKind.STARTED)]),
        st.integers(1, 65535).map(lambda port: Readiness(ReadinessKind.TCP, port)),
    )
    numbers = st.integers(0, 0xFFFF_FFFE)
    return st.builds(
        ProcessSpec,
        name=st.just(name),
        module=st.sampled_from(programs),
        argv=st.lists(TEXTS, min_size=1, max_size=4).map(tuple),
        environment=st.dictionaries(st.sampled_from(["A", "B_C", "Z9"]), TEXTS).map(
            lambda found: tuple(sorted(found.items()))
        ),
        working_directory=st.sampled_from(["/", "/srv", "/var/lib"]),
        user=st.one_of(st.builds(NumericUser, numbers, numbers), st.just(NamedUser("www-data"))),
        readiness=readiness,
        stop_signal=st.integers(1, 31),
        grace_s=st.integers(0, 3600),
        restart=st.sampled_from(list(Restart)),
        self_managing=st.booleans(),
    )


@settings(max_examples=60, deadline=None)
@given(tables())
def test_any_legal_table_comes_back_as_it_was(toc: TableOfContents) -> None:
    encoded = encode_table(toc)
    assert decode_table(encoded, "drawn") == toc
    assert encode_table(decode_table(encoded, "drawn")) == encoded


def test_documents_name_what_a_process_is() -> None:
    document = SERVER.document()
    assert (document["stop_signal"], document["readiness"], document["user"]) == (
        "SIGTERM",
        "tcp:80",
        "1000:1000",
    )
    assert HEAD.processes[0].document()["user"] == "www-data"
