"""Live entries in the layout of a map of another shape, as they are copied. Pure."""

from __future__ import annotations

import numpy as np

from provisioner.codec.reshape_entries import EntryReshaping
from provisioner.model import entry_table
from provisioner.model.desired import DesiredMap
from provisioner.model.errors import Problem, RefusedError
from provisioner.model.types import Bytes
from provisioner.model.words import plural
from provisioner.planning.migrate_slots import Staying, is_ours


def converted(how: EntryReshaping, desired: DesiredMap, slot: int, keys: Bytes, values: Bytes) -> tuple[Bytes, Bytes]:
    """Entries of the live map for a desired slot, in the layout of the new map.

    Raises RefusedError where one does not fit that the new map would take over: it changed since the plan.
    """
    new_keys, new_values = how.keys(keys), how.values(values)
    rows = np.ascontiguousarray(desired.key.normalise(new_keys.rows))
    staying = Staying(desired, np.array([slot], np.int64), np.zeros(len(rows), np.int64), rows)
    fits, wrong = np.ones(len(keys), np.bool_), np.zeros(len(keys), np.bool_)
    for misfit in new_keys.misfits:
        fits[misfit.rows] = False
        wrong[staying.without_key(misfit.rows)] = True
    if desired.entry_shape.is_array:
        index = entry_table.as_indexes(rows, desired.key.number_order or "little")
        beyond = np.flatnonzero(fits & (index >= int(desired.slots.max_entries[slot])))
        fits[beyond] = False
        wrong[staying.unlisted_rows(beyond)] = True
    for misfit in new_values.misfits:
        if not (desired.value.owns_part and is_ours(desired, misfit.member)):  # ours is written over it
            fits[misfit.rows] = False
        wrong[staying.of_member(misfit.rows, misfit.member)] = True
    _refuse(int(wrong.sum()), desired)
    return rows[fits], np.ascontiguousarray(new_values.rows[fits])


def _refuse(wrong: int, desired: DesiredMap) -> None:
    if wrong:
        what = f"{plural(wrong, 'live entry', 'live entries')} changed since the plan and cannot be migrated"
        hint = "plan again: it shows the entries that do not fit"
        raise RefusedError(Problem(what, hint=hint, address=desired.name, id="changed-since-plan"))
