"""Which files a catalogue's documents need beside it: blobs of images and packages, sealed settings.

Knows documents and names of files relative to the master's directory. Knows no envelope.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable
from typing import Final

from firmware_mgr.master.documents import IMAGES, PACKAGES, ImageRecord, PackageRecord
from firmware_mgr.master.export.contents import blob_path
from firmware_mgr.master.site_settings import SETTINGS, SettingsRecord
from firmware_mgr.model.errors import PeerError

#: The master's folder of sealed settings (`MasterPaths.settings`).
SEALED: Final = "settings/"


def needed_files(key: str, text: str) -> frozenset[str]:
    """Raises PeerError when the document is none."""
    if not key.startswith((IMAGES, PACKAGES, SETTINGS)):
        return frozenset()
    try:
        value = json.loads(text)
    except ValueError as e:
        raise PeerError("document is not JSON", where=key, found=str(e)) from e
    if key.startswith(IMAGES):
        return frozenset(blob_path(digest) for digest in ImageRecord.from_document(value, key).blobs)
    if key.startswith(PACKAGES):
        return frozenset({blob_path(PackageRecord.from_document(value, key).digest)})
    return frozenset(SEALED + name for name in SettingsRecord.from_document(value, key).sealed)


def check_references(documents: Iterable[tuple[str, str]], files: Collection[str]) -> None:
    """Documents as key and text. Raises PeerError that names one which needs a file that is not there."""
    known = frozenset(files)
    for key, text in documents:
        for name in sorted(needed_files(key, text) - known):
            raise PeerError(
                "what a document refers to is missing", where=key, expected=name, hint="export again"
            )
