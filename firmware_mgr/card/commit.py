"""What follows a burn in boot control and store: validated, committed, collected, counted, healed.

Knows the order of those writes; whether the card was validated is the caller's knowledge (SPEC-control).
"""

from __future__ import annotations

from dataclasses import replace

from firmware_mgr.card.areas import Areas
from firmware_mgr.card.inspection import content_modules
from firmware_mgr.card.records import VALIDATED, read_records
from firmware_mgr.card.stand_ins import read_stand_ins
from firmware_mgr.flash.control import TRIES, confirm_validated, netboot_once, read_control, restore_tries
from firmware_mgr.flash.control_layout import ControlRecord, Maker, Target
from firmware_mgr.flash.store import Store
from firmware_mgr.model.errors import DeviceError, FwmgrError
from firmware_mgr.model.ids import CpuArch, Digest
from firmware_mgr.package.contents import select
from firmware_mgr.package.head import parse_header, verify_contents
from firmware_mgr.package.layout import HEADER_SIZE
from firmware_mgr.package.trust import Trust

#: A pristine card: no boot partition is committed, the network is.
NOTHING_COMMITTED = ControlRecord(Target.NETBOOT, None, 0, 0, Maker.AGENT, 1)


def needed_blobs(store: Store, trust: Trust, cpu: CpuArch) -> set[Digest] | None:
    """The blobs of the sets that may be run; None when a head cannot be read, so that nobody knows."""
    documents = store.documents()
    records = read_records(documents)
    needed: set[Digest] = set()
    for software in records.kept_sets.values():
        for ref in software.packages:
            entry = records.packages.get(ref.digest)
            if entry is None:
                continue
            try:
                head = store.read(entry.head)
                toc = verify_contents(parse_header(head[:HEADER_SIZE]), head, trust.held())
                modules = content_modules(select(toc, cpu, features=software.features))
            except FwmgrError:
                return None
            needed |= {entry.head, *(module.sha256 for module in modules)}
            stand_ins = read_stand_ins(documents, ref.digest)
            for stand_in in (stand_ins[m.sha256] for m in modules if m.sha256 in stand_ins):
                needed |= {stand_in.content, stand_in.table}
    return needed


def commit_boot(areas: Areas, set_digest: Digest, trust: Trust, cpu: CpuArch) -> None:
    """The master has validated us: this set is the one to run, and the boot partition in use is permanent.

    What no set needs any more leaves the store; called before processes start, or for the set that runs. The
    records of the set before stay until the next burn: to that one may go back (SPEC-trust §6).
    """
    store = areas.store
    if store is None:
        raise DeviceError("there is no store to record the validated set in", where="flash")
    store.commit({VALIDATED: set_digest.hex.encode()})
    needed = needed_blobs(store, trust, cpu)
    if needed is not None:
        store.commit({}, keep=[digest for digest in needed if store.has(digest)])
    if areas.in_use is None:
        return
    window = areas.window("control")
    state = read_control(window)
    wanted = confirm_validated(state.record or NOTHING_COMMITTED, areas.in_use)
    current = state.record
    if current is None or replace(wanted, seq=current.seq, made=current.made) != current:
        areas.set_control(wanted)
    heal_control(areas)


def restore_tries_of_running(areas: Areas) -> None:
    """The committed image has come up far enough to wait for the master: give it its starts back (ADR 0001).

    Otherwise power cuts while the master is away would demote a good image. A trial's count stays.
    """
    letter = areas.in_use
    if letter is None or areas.partitions is None:
        return
    window = areas.window("control")
    record = read_control(window).record
    if record is None or record.boot is not Target.of(letter) or record.trial is Target.of(letter):
        return
    if record.left(letter) < TRIES:
        areas.set_control(restore_tries(record, letter))


def netboot_next(areas: Areas) -> None:
    """The next start, and only that, is from the network: for a master that has no lever."""
    record = read_control(areas.window("control")).record
    areas.set_control(netboot_once(record or NOTHING_COMMITTED))


def heal_control(areas: Areas) -> None:
    """Rewrite a copy of control that cannot be used: there must be two, for a cut may cost one."""
    window = areas.window("control")
    state = read_control(window)
    if state.record is not None and any(copy.record is None for copy in state.copies):
        areas.set_control(state.record)
