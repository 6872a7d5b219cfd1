"""Whether what came is still all here when its records are written. Pure.

Reading takes its time, and software may be removed meanwhile: what was found to be there, or was kept as a
blob, is looked for once more in turn with everything else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from firmware_mgr.master.documents import ImageRecord, PackageRecord
from firmware_mgr.model.errors import UsageError
from firmware_mgr.model.ids import Digest

Software = ImageRecord | PackageRecord


def check_here(
    new: Iterable[Software],
    known: Iterable[Software],
    stored: Iterable[Software],
    has: Callable[[Digest], bool],
) -> None:
    """Raises UsageError for a new one whose bytes are gone, and a known one that is not `stored` any more."""
    keys = {record.key for record in stored}
    for record in known:
        if record.key not in keys:
            raise _removed(record)
    for record in (*new, *known):
        blobs = record.blobs if isinstance(record, ImageRecord) else {record.digest}
        if not all(map(has, blobs)):
            raise _removed(record)


def _removed(record: Software) -> UsageError:
    kind = "boot image" if isinstance(record, ImageRecord) else "package"
    name = record.board if isinstance(record, ImageRecord) else record.name
    return UsageError(
        "removed while it was being added",
        where=f"{kind} {name} {record.version}",
        hint="nothing was added; add it again",
    )
