"""Package facts for tests: made from a few words, or generated over few names that concern each other."""

from __future__ import annotations

from collections.abc import Iterable
from random import Random

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from firmware_mgr.model.ids import CpuArch, Digest
from firmware_mgr.model.package_facts import (
    DIRECTORY,
    SHARED_LIBRARY,
    SYMLINK,
    Dependency,
    ModuleFacts,
    PackageFacts,
    PackageRange,
)
from firmware_mgr.model.versions import Constraint

#: How fast a test is says something about the machine alone.
unhurried = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

BOARDS = ("pi", "virt")
NAMES = tuple("abcdefg")
VERSIONS = ("1", "2", "3")
RANGES = ("", "= 1", "= 2", ">= 2", "< 2", "> 1, < 3")
PATHS = ("etc/x", "usr/lib/libx.so.1", "usr/lib/liby.so.1", "usr/lib/libx.so", "usr", "usr/lib", "etc")
LIBRARIES = ("so:libx.so.1", "so:liby.so.1", "so:libz.so.1")
FUNCTIONS = ("", "routing", "serving")
FEATURES = ("edge", "core")
KINDS = ("program", "config", SHARED_LIBRARY, SYMLINK, DIRECTORY)


def range_of(text: str) -> PackageRange:
    """`ssl >= 3` and the like."""
    name, _, constraint = text.partition(" ")
    return PackageRange(name, Constraint(constraint))


def dependency(text: str) -> Dependency:
    """`ssl >= 3`, or `ssl >= 3 @ pi virt` on cards of these boards."""
    wanted, _, boards = text.partition(" @ ")
    return Dependency(range_of(wanted), frozenset(boards.split()))


def module(
    path: str,
    content: str = "",
    *,
    cpu: CpuArch | None = None,
    kind: str = "program",
    mode: int = 0o644,
    substance: str | None = None,
    function: str = "",
    features: Iterable[str] = (),
    provides: Iterable[str] = (),
    consumes: Iterable[str] = (),
) -> ModuleFacts:
    exact = Digest.of(content.encode())
    substantive = exact if substance is None else Digest.of(substance.encode())
    return ModuleFacts(
        path,
        cpu,
        kind,
        mode,
        exact,
        substantive,
        function,
        frozenset(features),
        tuple(provides),
        tuple(consumes),
    )


def package(
    title: str,
    *,
    local: Iterable[str] = (),
    remote: Iterable[str] = (),
    upgrades: Iterable[str] = (),
    modules: Iterable[ModuleFacts] = (),
) -> PackageFacts:
    """`ssl 3.0.1`, and what it says of others. Its digest is of all that it says."""
    name, version = title.split(" ")
    content = (title, *local, "/", *remote, "/", *upgrades, "/", *map(str, modules))
    return PackageFacts(
        name,
        version,
        Digest.of("\n".join(content).encode()),
        tuple(map(dependency, local)),
        tuple(map(dependency, remote)),
        tuple(map(range_of, upgrades)),
        tuple(modules),
    )


def ranges(names: Iterable[str] = NAMES) -> st.SearchStrategy[str]:
    return st.sampled_from([f"{name} {text}".strip() for name in names for text in RANGES])


def name_of(text: str) -> str:
    return text.partition(" ")[0]


def dependencies() -> st.SearchStrategy[str]:
    boards = ("", *(f" @ {board}" for board in BOARDS))
    return st.sampled_from(
        [f"{name} {text}".strip() + only for name in NAMES for text in RANGES for only in boards]
    )


def _some_modules(count: int) -> list[ModuleFacts]:
    """One draw for a module instead of ten: generating is what such tests spend their time on."""
    random = Random(2026)
    found = [module(path) for path in PATHS]
    while len(found) < count:
        found.append(
            module(
                random.choice(PATHS),
                random.choice("xy"),
                cpu=random.choice([None, None, CpuArch.AARCH64]),
                kind=random.choice(KINDS),
                mode=random.choice([0o644, 0o755]),
                substance=random.choice([None, "s"]),
                function=random.choice(FUNCTIONS),
                features=[feature for feature in FEATURES if random.random() < 0.3],
                provides=random.sample(LIBRARIES, random.choice([0, 0, 1])),
                consumes=random.sample(LIBRARIES, random.choice([0, 1])),
            )
        )
    return found


def modules() -> st.SearchStrategy[ModuleFacts]:
    return st.sampled_from(_SOME_MODULES)


def module_lists() -> st.SearchStrategy[tuple[ModuleFacts, ...]]:
    """As packages have them: no path twice, nothing below a file, sorted."""
    return st.lists(modules(), max_size=5, unique_by=lambda one: one.path).map(_possible)


def _possible(some: list[ModuleFacts]) -> tuple[ModuleFacts, ...]:
    files = {one.path for one in some if one.kind != DIRECTORY}
    inside = [one for one in some if not any(one.path.startswith(f"{path}/") for path in files)]
    return tuple(sorted(inside, key=lambda one: one.path))


@st.composite
def packages(draw: st.DrawFn, names: Iterable[str] = NAMES) -> PackageFacts:
    """A package that may concern any other; most have nothing but a name."""
    return package(
        f"{draw(st.sampled_from(list(names)))} {draw(st.sampled_from(VERSIONS))}",
        local=draw(st.lists(dependencies(), max_size=2, unique=True)),
        remote=draw(st.lists(dependencies(), max_size=2, unique=True)),
        upgrades=draw(st.one_of(st.just([]), st.lists(ranges(), max_size=2, unique_by=name_of))),
        modules=draw(module_lists()),
    )


@st.composite
def layered_packages(draw: st.DrawFn) -> PackageFacts:
    """A package that concerns only names further on in the alphabet, so that no circle arises."""
    place = draw(st.integers(0, len(NAMES) - 1))
    behind = NAMES[place + 1 :]
    some = st.lists(ranges(behind), max_size=2, unique_by=name_of) if behind else st.just([])
    return package(
        f"{NAMES[place]} {draw(st.sampled_from(VERSIONS))}",
        local=draw(some),
        upgrades=draw(st.one_of(st.just([]), some)),
    )


_SOME_MODULES = _some_modules(600)
