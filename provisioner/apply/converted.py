"""Live entries in the layout of a map of another shape, as they are copied. Pure."""

from __future__ import annotations

import numpy as np

from provisioner.codec.reshape_entries import EntryReshaping
from provisioner.model import entry_table
from provisioner.model.desired import DesiredMap
from provisioner.model.errors import Problem, RefusedError
from provisioner.model.spec import Contents
from provisioner.model.types import Bytes
from provisioner.model.words import plural


def converted(how: EntryReshaping, desired: DesiredMap, slot: int, keys: Bytes, values: Bytes) -> tuple[Bytes, Bytes]:
    """Entries of the live map for a desired slot, in the layout of the new map.

    Raises RefusedError where one does not fit that the new map would take over: it changed since the plan.
    """
    new_keys, new_values = how.keys(keys), how.values(values)
    fits = np.ones(len(keys), np.bool_)
    for misfit in (*new_keys.misfits, *new_values.misfits):
        fits[misfit.rows] = False
    rows = np.ascontiguousarray(desired.key.normalise(new_keys.rows))
    order = desired.key.number_order
    if desired.entry_shape.is_array:
        fits &= entry_table.as_indexes(rows, order or "little") < int(desired.slots.max_entries[slot])
    wrong = ~fits
    if wrong.any():
        if desired.owned and desired.slots.policy(slot) is Contents.EXACT:
            wrong &= ~entry_table.within(rows, order, desired.owned)
        _refuse(int((wrong & ~entry_table.among(rows, desired.entries.slot(slot)[0])).sum()), desired)
    return rows[fits], np.ascontiguousarray(new_values.rows[fits])


def _refuse(wrong: int, desired: DesiredMap) -> None:
    if wrong:
        what = f"{plural(wrong, 'live entry', 'live entries')} changed since the plan and cannot be migrated"
        hint = "plan again: it shows the entries that do not fit"
        raise RefusedError(Problem(what, hint=hint, address=desired.name, id="changed-since-plan"))
