"""A package's head as one JSON document, complete, for people and scripts.

Knows the fields; refuses to know how they are shown.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from firmware_mgr.package.contents import Dependency, Module, TableOfContents
from firmware_mgr.package.head import PackageHeader, Signature


def describe(
    header: PackageHeader, toc: TableOfContents, signatures: Iterable[Signature] = ()
) -> dict[str, Any]:
    """The document. Lengths and offsets in bytes, `offset` of a module from the beginning of the file."""
    return {
        "format": header.version,
        "length": header.total_length,
        "table": {
            "offset": header.table_offset,
            "length": header.table_length,
            "sha256": header.table_sha256.hex,
        },
        "content": {"offset": header.content_offset, "length": header.content_length},
        "signed_by": [signature.key for signature in signatures],
        "name": toc.name,
        "version": toc.version,
        "build_date": toc.build_date,
        "local_dependencies": _dependencies(toc.local_dependencies),
        "remote_dependencies": _dependencies(toc.remote_dependencies),
        "upgrades": _dependencies(toc.upgrades),
        "modules": [_module(header, module) for module in toc.modules],
        "processes": [process.document() for process in toc.processes],
    }


def _dependencies(dependencies: Iterable[Dependency]) -> list[dict[str, str]]:
    return [{"name": dependency.name, "constraint": dependency.constraint} for dependency in dependencies]


def _module(header: PackageHeader, module: Module) -> dict[str, Any]:
    return {
        "path": module.path,
        "kind": module.kind.value,
        "cpu": module.cpu_text,
        "mode": f"{module.mode:04o}",
        "length": module.length,
        "stored_length": module.stored_length,
        "offset": header.byte_range(module).start,
        "compression": module.compression.value,
        "sha256": module.sha256.hex,
        "stored_sha256": module.stored_sha256.hex,
        "substantive": module.substantive.hex,
        "function": module.function,
        "link_target": module.link_target,
        "provides": list(module.provides),
        "consumes": list(module.consumes),
    }
