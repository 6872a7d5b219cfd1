"""What packages say of themselves, as the algebra takes it: of both formats, and as a card chooses."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from firmware_mgr.master.blobs import BlobStore
from firmware_mgr.master.documents import PackageRecord
from firmware_mgr.master.package_tables import UNASKED, PackageTables, facts_of
from firmware_mgr.model.file_selection import ModuleSelection
from firmware_mgr.model.ids import CpuArch, Digest
from firmware_mgr.package.contents import ModuleKind, select
from tests.package.format_1 import build_package_1
from tests.package.samples import HEAD, KEY, SOURCES, read, sample, sample_contents

FILES = {1: build_package_1(HEAD, SOURCES, [KEY]), 2: sample()}


def record(file: bytes) -> PackageRecord:
    return PackageRecord("sample", "1.2-3", Digest.of(file), len(file), ("any",), 1.0)


@pytest.mark.parametrize("version", [1, 2])
async def test_the_facts_of_a_stored_package_are_those_of_its_table(tmp_path: Path, version: int) -> None:
    store, file = BlobStore(tmp_path), FILES[version]
    store.add(io.BytesIO(file), Digest.of(file))
    tables = await PackageTables(store).read([record(file)])
    facts = tables.packages[Digest.of(file)]
    toc = read(file)
    assert (facts.name, facts.version, facts.digest) == ("sample", "1.2-3", Digest.of(file))
    assert [(str(one.on), sorted(one.boards)) for one in facts.local] == [
        (f"{one.name} ({one.constraint})" if one.constraint else one.name, list(one.boards))
        for one in toc.local_dependencies
    ]
    assert [str(one.on) for one in facts.remote] == ["router"]
    assert [str(one) for one in facts.upgrades] == ["sample (= 1.2-2)"] and facts.upgraded == ()
    assert [(one.path, one.cpu, one.kind, one.exact, one.substantive) for one in facts.modules] == [
        (one.path, one.cpu, one.kind.value, one.sha256, one.substantive) for one in toc.modules
    ]
    server = next(
        one for one in facts.modules if one.path == "usr/sbin/server" and one.cpu is CpuArch.AARCH64
    )
    assert (server.function, server.libraries) == ("http-server", ("so:libx.so.1",))
    assert tables.known.versions("sample") == (facts,)


@pytest.mark.parametrize("cpu", [CpuArch.AARCH64, CpuArch.X86_64])
@pytest.mark.parametrize("features", [None, {"docs"}, {"web"}, set()])
def test_the_same_modules_are_chosen_as_a_card_chooses(cpu: CpuArch, features: set[str] | None) -> None:
    """Of sample, `web` is wanted without being asked for, and `docs` is not."""
    toc = read(sample())
    asked = frozenset({UNASKED}) if features is None else frozenset(features)
    chosen = ModuleSelection(cpu, features=asked).of(facts_of(toc, Digest.of(b"")))
    assert [one.path for one in chosen] == [one.path for one in select(toc, cpu, features=features)]


async def test_a_file_is_read_once_and_forgotten_when_it_leaves(tmp_path: Path) -> None:
    store, file = BlobStore(tmp_path), sample()
    digest = Digest.of(file)
    store.add(io.BytesIO(file), digest)
    tables = PackageTables(store)
    first = (await tables.read([record(file)])).packages[digest]
    store.path(digest).unlink()
    assert (await tables.read([record(file)])).packages[digest] is first
    assert not (await tables.read([])).packages
    again = await tables.read([record(file)])
    assert not again.packages and "no such blob" in again.unreadable[digest]


@settings(max_examples=200)
@given(st.data())
def test_what_the_master_takes_for_chosen_is_what_a_card_chooses(data: st.DataObject) -> None:
    """The algebra (F1) and the card's own choice, by everything that a card can ask by."""
    toc, _ = sample_contents()
    some = st.frozensets
    cpu = data.draw(st.sampled_from([CpuArch.AARCH64, CpuArch.X86_64]))
    kinds = data.draw(st.none() | some(st.sampled_from(list(ModuleKind))))
    functions = data.draw(st.none() | some(st.sampled_from(["http-server", "dns"])))
    features = data.draw(some(st.sampled_from(["docs", "web", "of another package"])))
    names = None if kinds is None else frozenset(kind.value for kind in kinds)
    selection = ModuleSelection(cpu, names, functions, features)
    of_master = {(one.path, one.cpu) for one in selection.of(facts_of(toc, Digest.of(b"")))}
    chosen = select(toc, cpu, features=features, kinds=kinds, functions=functions)
    assert {(one.path, one.cpu) for one in chosen} == of_master
