"""The code under test: this project's own rooms, or a copy of them with a bug planted in the source.

A copy is loaded under another name, beside the original: flash and card anew, what they rest on shared.
"""

from __future__ import annotations

import importlib
import importlib.util
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

from firmware_mgr.model.errors import FwmgrError

OWN = "firmware_mgr"
#: The rooms that a copy has of its own.
COPIED = ("flash", "card")


@dataclass(frozen=True)
class House:
    """Where the modules are: `house.flash("store").Store`."""

    root: str = OWN

    def flash(self, name: str) -> Any:
        return importlib.import_module(f"{self.root}.flash.{name}")

    def card(self, name: str) -> Any:
        return importlib.import_module(f"{self.root}.card.{name}")


@dataclass(frozen=True)
class Bug:
    """In `module` (such as `flash.store`), `text` is replaced by `instead`: once, and it must be there."""

    name: str
    module: str
    text: str
    instead: str


class _Copies:
    """Finds modules under the copy's name and reads their source out of the original's files."""

    def __init__(self, root: str, bugs: Sequence[Bug]) -> None:
        self.root = root
        self._bugs = bugs
        self._top = Path(importlib.import_module(OWN).__file__ or "").parent

    def find_spec(self, name: str, _path: object = None, _target: object = None) -> ModuleSpec | None:
        head, _, rest = name.partition(".")
        if head != self.root:
            return None
        place = self._top.joinpath(*rest.split(".")) if rest else self._top
        package = place.is_dir()
        file = place / "__init__.py" if package else place.with_suffix(".py")
        return importlib.util.spec_from_file_location(
            name,
            file,
            loader=self,
            submodule_search_locations=[] if package else None,  # type: ignore[arg-type]
        )

    def create_module(self, _spec: ModuleSpec) -> ModuleType | None:
        return None

    def exec_module(self, module: ModuleType) -> None:
        assert module.__spec__ is not None and module.__spec__.origin is not None
        source = Path(module.__spec__.origin).read_text()
        for room in COPIED:
            source = source.replace(f"{OWN}.{room}", f"{self.root}.{room}")
        for bug in self._bugs:
            if module.__name__ == f"{self.root}.{bug.module}":
                if source.count(bug.text) != 1:
                    raise AssertionError(
                        f"{bug.name}: {bug.module} has its text {source.count(bug.text)} times"
                    )
                source = source.replace(bug.text, bug.instead)
        exec(compile(source, module.__spec__.origin, "exec"), module.__dict__)


#: Pieces of 4 KiB instead of 1 MiB: the same code, with more writes and less to hash.
SMALL_PIECES = (
    Bug("pieces", "flash.boot_partition", "PIECE_SIZE = 1 << 20", "PIECE_SIZE = 1 << 12"),
    Bug("pieces", "flash.store_blobs", "PIECE_SIZE = 1 << 20", "PIECE_SIZE = 1 << 12"),
)


#: Pure functions from bytes to values and back: for the same bytes they need not compute again.
_PURE = (
    ("store_layout", "Root", ("decode", "encode")),
    ("store_layout", "Snapshot", ("decode",)),
    ("control_layout", "ControlRecord", ("decode", "encode")),
)


def _remember(house: House) -> House:
    for module, name, methods in _PURE:
        kind = getattr(house.flash(module), name)
        for method in methods:
            bound = isinstance(vars(kind)[method], classmethod)
            found = _remembering(getattr(kind, method))
            setattr(kind, method, staticmethod(found) if bound else found)
    return house


def _remembering(function: Callable[..., Any]) -> Callable[..., Any]:
    @lru_cache(maxsize=4096)
    def outcome(*args: Any) -> tuple[Any, Exception | None]:
        try:
            return function(*args), None
        except FwmgrError as e:
            return None, e

    def remembered(*args: Any) -> Any:
        value, error = outcome(*args)
        if error is not None:
            raise error.with_traceback(None)
        return value

    return remembered


@cache
def small_house() -> House:
    """Our own code, with small pieces."""
    return _load("small_pieces", SMALL_PIECES)


def _load(root: str, bugs: Sequence[Bug]) -> House:
    sys.meta_path.insert(0, _Copies(root, bugs))  # type: ignore[arg-type]
    return _remember(House(root))


@contextmanager
def planted(*bugs: Bug) -> Iterator[House]:
    """A house with small pieces and these bugs; it is gone afterwards."""
    root = "planted_" + "_".join(re.sub(r"\W", "_", bug.name) for bug in bugs)
    finder = _Copies(root, (*SMALL_PIECES, *bugs))
    sys.meta_path.insert(0, finder)  # type: ignore[arg-type]
    try:
        yield _remember(House(root))
    finally:
        sys.meta_path.remove(finder)  # type: ignore[arg-type]
        for name in [name for name in sys.modules if name.partition(".")[0] == root]:
            del sys.modules[name]
