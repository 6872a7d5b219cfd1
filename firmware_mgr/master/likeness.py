"""Whether two builds of a package are the same for every card that gets them (R-1.4). Pure.

Knows tables of contents. Where things lie in a file, when it was built and how it was compressed is no
difference; exact hashes are none either, since the substantive signature stands for what a module does.
"""

from __future__ import annotations

from firmware_mgr.package.contents import Module, TableOfContents


def is_alike(one: TableOfContents, other: TableOfContents) -> bool:
    """Same name, and all but version and build equal in substance."""
    return _substance(one) == _substance(other)


def _substance(table: TableOfContents) -> tuple[object, ...]:
    return (
        table.name,
        table.local_dependencies,
        table.remote_dependencies,
        table.upgrades,
        table.groups,
        table.processes,
        tuple(_module(module) for module in table.modules),
    )


def _module(module: Module) -> tuple[object, ...]:
    return (
        module.path,
        module.kind,
        module.cpu,
        module.mode,
        module.substantive,
        module.function,
        module.link_target,
        module.groups,
        module.provides,
        module.consumes,
    )
