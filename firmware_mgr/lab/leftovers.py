"""Ends what a chassis record names, when the daemon that wrote it did not end it itself.

Knows the record. Touches nothing that is not in it, and no process that is not the recorded one.
"""

from __future__ import annotations

import logging

from firmware_mgr.lab.network import remove_network
from firmware_mgr.lab.plan import ChassisPaths
from firmware_mgr.lab.record import ChassisRecord, load_record

LOG = logging.getLogger(__name__)


def end_leftovers(paths: ChassisPaths) -> bool:
    """End what the record in `paths` names; False when there is no record.

    The caller holds the directory's PidFile, so that no daemon is at work. The record goes last: cut short,
    this can be done again. Raises FwmgrError.
    """
    record = load_record(paths.record)
    if record is None:
        return False
    for slot in record.slots:
        if slot.machine is not None and slot.machine.end():
            LOG.info("slot %s: ended the left machine, pid %s", slot.slot, slot.machine.pid)
    remove_network(record.network)
    remove_sockets(paths, record)
    paths.record.unlink(missing_ok=True)
    return True


def remove_sockets(paths: ChassisPaths, record: ChassisRecord) -> None:
    """Remove the sockets of the daemon and of every slot."""
    sockets = [paths.api_socket]
    for slot in record.slots:
        sockets += [paths.slot(slot.slot).console_socket, paths.slot(slot.slot).qmp_socket]
    for path in sockets:
        path.unlink(missing_ok=True)
