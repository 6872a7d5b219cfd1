"""An error's document says whose fault it is, also for errors that are more exact than the three kinds."""

from __future__ import annotations

import pytest

from firmware_mgr.flash.errors import BlobDamaged
from firmware_mgr.master.catalogue import Conflict
from firmware_mgr.model.errors import DeviceError, FwmgrError, PeerError, UsageError
from firmware_mgr.package.errors import PackageRefused


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (UsageError("x"), "UsageError"),
        (PeerError("x"), "PeerError"),
        (DeviceError("x"), "DeviceError"),
        (Conflict("cards/1", 1, 2), "UsageError"),
        (PackageRefused("x"), "PeerError"),
        (BlobDamaged("x"), "DeviceError"),
        (FwmgrError("x"), "FwmgrError"),
    ],
)
def test_the_kind_is_one_of_three(error: FwmgrError, kind: str) -> None:
    assert error.document()["kind"] == kind
