"""The head of a file of any kind as one JSON document, complete, for people and scripts.

Knows the fields; refuses to know how they are shown.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from firmware_mgr.package.bundle import Bundle, Member, MemberFile
from firmware_mgr.package.contents import Dependency, Module, TableOfContents
from firmware_mgr.package.head import PackageHeader, Signature
from firmware_mgr.package.pieces import Piece


def describe(
    header: PackageHeader, toc: TableOfContents, signatures: Iterable[Signature] = ()
) -> dict[str, Any]:
    """A package. Lengths and offsets in bytes, `offset` of a module from the beginning of the file."""
    return {
        **_envelope(header, signatures),
        "name": toc.name,
        "version": toc.version,
        "build_date": toc.build_date,
        "local_dependencies": _dependencies(toc.local_dependencies),
        "remote_dependencies": _dependencies(toc.remote_dependencies),
        "upgrades": [{"name": one.name, "constraint": one.constraint} for one in toc.upgrades],
        "groups": [
            {"name": group.name, "summary": group.summary, "wanted": group.wanted} for group in toc.groups
        ],
        "modules": [_module(header, module) for module in toc.modules],
        "processes": [process.document() for process in toc.processes],
    }


def describe_bundle(
    header: PackageHeader, bundle: Bundle, signatures: Iterable[Signature] = ()
) -> dict[str, Any]:
    """A set or composite image; `offset` of a file from the beginning of the whole."""
    return {
        **_envelope(header, signatures),
        "name": bundle.name,
        "version": bundle.version,
        "build_date": bundle.build_date,
        "targets": {what: list(names) for what, names in bundle.targets.lists()},
        "members": [_member(header, member) for member in bundle.members],
    }


def _envelope(header: PackageHeader, signatures: Iterable[Signature]) -> dict[str, Any]:
    return {
        "format": header.version,
        "kind": header.kind.words,
        "signed_at": header.signed_at,
        "length": header.total_length,
        "table": {
            "offset": header.table_offset,
            "length": header.table_length,
            "sha256": header.table_sha256.hex,
        },
        "content": {"offset": header.content_offset, "length": header.content_length},
        "signed_by": [signature.key for signature in signatures],
    }


def _dependencies(dependencies: Iterable[Dependency]) -> list[dict[str, Any]]:
    return [
        {"name": one.name, "constraint": one.constraint, "boards": list(one.boards)} for one in dependencies
    ]


def _pieces(pieces: Iterable[Piece]) -> list[dict[str, Any]]:
    return [
        {
            "stored_length": piece.stored_length,
            "compression": piece.compression.value,
            "sha256": piece.sha256.hex,
        }
        for piece in pieces
    ]


def _module(header: PackageHeader, module: Module) -> dict[str, Any]:
    return {
        "path": module.path,
        "kind": module.kind.value,
        "cpu": module.cpu_text,
        "mode": f"{module.mode:04o}",
        "length": module.length,
        "stored_length": module.stored_length,
        "offset": header.byte_range(module).start,
        "sha256": module.sha256.hex,
        "substantive": module.substantive.hex,
        "function": module.function,
        "link_target": module.link_target,
        "groups": list(module.groups),
        "provides": list(module.provides),
        "consumes": list(module.consumes),
        "pieces": _pieces(module.pieces),
    }


def _member(header: PackageHeader, member: Member) -> dict[str, Any]:
    return {
        "kind": member.kind.value,
        "name": member.name,
        "version": member.version,
        "files": [_file(header, file) for file in member.files],
    }


def _file(header: PackageHeader, file: MemberFile) -> dict[str, Any]:
    return {
        "name": file.name,
        "length": file.length,
        "stored_length": file.stored_length,
        "offset": header.byte_range(file).start,
        "sha256": file.sha256.hex,
        "pieces": _pieces(file.pieces),
    }
