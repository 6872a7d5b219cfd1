"""The recipe of a card's first root file system, read from `bootimages/<recipe>/recipe.toml`.

Knows its keys and the files that lie beside it. Refuses to know how they are put together.
"""

from __future__ import annotations

import stat
import tomllib
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from firmware_mgr.imaging.board import faults_as_usage_error
from firmware_mgr.imaging.tree import File, Link, Tree
from firmware_mgr.model.errors import UsageError

#: The folder of recipes, kernels' scripts and init that comes with the source tree.
SHIPPED_BOOTIMAGES = Path(__file__).resolve().parents[2] / "bootimages"
DEFAULT_RECIPE = "debian-card"


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Userland(_Section):
    """Debian packages, those that count as present, and patterns of the paths to keep and to drop."""

    packages: tuple[str, ...]
    assumed: tuple[str, ...]
    keep: tuple[str, ...]
    drop: tuple[str, ...]


class Busybox(_Section):
    """Names under which busybox can be called."""

    applets: tuple[str, ...]


class KernelPackages(_Section):
    """Packages that count as present when the kernel's package is resolved."""

    assumed: tuple[str, ...]


class AgentSources(_Section):
    """Patterns of the agent's files below the folder `firmware_mgr`."""

    sources: tuple[str, ...]


class _Document(_Section):
    userland: Userland
    busybox: Busybox
    kernel: KernelPackages
    agent: AgentSources


@dataclass(frozen=True, slots=True)
class Recipe:
    """A recipe with the files that are laid in as they are, `/init` among them."""

    userland: Userland
    busybox: Busybox
    kernel: KernelPackages
    agent: AgentSources
    files: Tree
    text: bytes


def load_recipe(folder: Path = SHIPPED_BOOTIMAGES / DEFAULT_RECIPE) -> Recipe:
    """Raises UsageError that names file, key and both sides."""
    path = folder / "recipe.toml"
    try:
        text = path.read_bytes()
        document = _Document.model_validate(tomllib.loads(text.decode()))
        files = read_folder(folder / "files")
        files["init"] = File((folder / "init").read_bytes(), 0o755)
    except OSError as e:
        raise UsageError("recipe cannot be read", where=str(folder), found=e.strerror) from e
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as e:
        raise UsageError("not a TOML file", where=str(path), found=str(e)) from e
    except ValidationError as e:
        raise faults_as_usage_error(e, path) from e
    return Recipe(document.userland, document.busybox, document.kernel, document.agent, files, text)


def read_folder(folder: Path) -> Tree:
    """Files and links below a folder. Permissions are 755 for scripts and programs, 644 for the rest, so that
    the umask of a checkout makes no difference."""
    tree: Tree = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if "__pycache__" in name:
            continue
        if path.is_symlink():
            tree[name] = Link(str(path.readlink()))
        elif path.is_file():
            data = path.read_bytes()
            runs = bool(path.stat().st_mode & stat.S_IXUSR) or data.startswith(b"#!")
            tree[name] = File(data, 0o755 if runs else 0o644)
    return tree
