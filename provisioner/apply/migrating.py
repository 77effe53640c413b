"""The end of a migration: what programs changed in the old maps until they used the new ones is carried over."""

from __future__ import annotations

from functools import partial

import numpy as np

from provisioner.apply import as_planned, merge
from provisioner.apply.copies import Copies
from provisioner.apply.transaction import Transaction
from provisioner.kernel import batch, maps
from provisioner.kernel.fd import FdSet, InnerId, MapFd
from provisioner.planning.changes import MapChange
from provisioner.planning.steps import CarryChanges


def carry_changes(tx: Transaction, step: CarryChanges) -> None:
    """Read the old maps again, which no program uses any more, and carry over what changed since the copy."""
    change, copies = tx.plan.maps[step.map], tx.copies.pop(step.map, {})
    if not copies:
        return
    batch.wait_for_programs()
    tx.progress.grace_periods += 1
    if change.desired.outer is None:
        _of_plain_map(tx, change, copies)
    else:
        _of_inner_maps(tx, change, copies)


def _of_plain_map(tx: Transaction, change: MapChange, copies: Copies) -> None:
    def open_old(_: int) -> MapFd:
        return maps.open_pin(tx.old_path(change.name), readonly=True)

    host = tx.plan.desired.host
    with tx.open(change) as new:
        waited = merge.carry_over(change.desired, [new], [0], copies, open_old, host, change.migrated)
    tx.progress.grace_periods += waited


def _of_inner_maps(tx: Transaction, change: MapChange, copies: Copies) -> None:
    slots, inner, host = change.slots, tx.inner(change.name), tx.plan.desired.host
    rows = np.flatnonzero(np.isin(slots.desired, list(copies)))
    open_old = partial(inner.open, readonly=True)
    with tx.open(change) as outer:
        for start in range(0, len(rows), tx.wave):
            part = rows[start : start + tx.wave]
            with FdSet[MapFd]() as targets:
                for number in as_planned.live_ids(outer, change, part).tolist():
                    targets.add(inner.open(InnerId(number)))
                numbers = slots.desired[part].tolist()
                tx.progress.grace_periods += merge.carry_over(
                    change.desired, list(targets), numbers, copies, open_old, host, change.migrated
                )
            tx.progress.update(f"carried over changes of {min(start + tx.wave, len(rows)):,} inner maps")
