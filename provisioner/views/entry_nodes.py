"""Entries as nodes: decoded by column, in pieces, without sensitive values."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from provisioner.codec.display import display_change, format_value, text_of
from provisioner.codec.long_values import LONG, readable
from provisioner.model import entry_table
from provisioner.model.desired import DesiredMap
from provisioner.model.entry_table import Index
from provisioner.model.types import Bytes, Type, Value
from provisioner.planning.changes import EntryAction, EntryChanges, MapChange
from provisioner.report.model import Children, Kind, Node, Verb
from provisioner.report.overlaid import with_source

_PIECE: Final = 1024
"""Rows decoded at once."""

_VERBS: Final = {
    EntryAction.INSERT: Verb.INSERT,
    EntryAction.UPDATE: Verb.UPDATE,
    EntryAction.DELETE: Verb.DELETE,
}

_PRIORITY: Final = np.array([2, 1, 0], np.uint8)
"""By EntryAction: a list that is cut shows deletes first and inserts last."""


def plain_values(kind: Type, rows: Bytes) -> list[Value]:
    """Decoded keys or values without sensitive ones; raw bytes and large arrays of long ones as digests."""
    kind = readable(kind)
    values = kind.decode(rows)
    return [kind.conceal(value) for value in values] if kind.sensitive else values


def pick(priority: NDArray[np.uint8], limit: int | None) -> Index:
    """Positions of the first `limit` rows by priority, in their own order; all without a limit."""
    if limit is None or len(priority) <= limit:
        return np.arange(len(priority), dtype=np.int64)
    return np.sort(entry_table.argsort(priority)[:limit])


def inserted(desired: DesiredMap, slot: int, address: str, limit: int | None) -> Children:
    """All entries of a desired slot, which a new map gets."""
    total = int(desired.entries.counts[slot])
    shown = total if limit is None else min(total, limit)

    def make() -> Iterator[Node]:
        keys, values = desired.entries.slot(slot)
        order = entry_table.order_of(keys, desired.key.number_order)[:shown]
        rows = order + int(desired.entries.starts[slot])
        return listed(desired, keys[order], values[order], address, Verb.INSERT, rows)

    return Children(Kind.ENTRY, total, shown, make)


def listed(
    desired: DesiredMap, keys: Bytes, values: Bytes, address: str, verb: Verb, wanted: Index | None = None
) -> Iterator[Node]:
    """Entries in the order of `keys` and `values`. `wanted` are their rows in the entries of the spec."""
    is_long = desired.value.size > LONG
    for start in range(0, len(keys), _PIECE):
        rows = slice(start, start + _PIECE)
        names = plain_values(desired.key, keys[rows])
        after = plain_values(desired.value, values[rows])
        for at, (name, value) in enumerate(zip(names, after, strict=True), start=start):
            label = format_value(name)
            source = "" if wanted is None else desired.sources.decided_by(int(wanted[at]))
            text = with_source(text_of(desired.value, value), source)
            yield Node(
                Kind.ENTRY,
                verb,
                f"{address}[{label}]",
                label,
                text,
                after=value,
                key=name,
                source=source,
                is_long=is_long,
            )


def changed(change: MapChange, row: int, address: str, limit: int | None) -> Children:
    """The entries that differ in a slot that is both live and in the spec."""
    desired = change.desired
    edits = change.entries.of_slot(row)
    shown = pick(_PRIORITY[edits.action], limit)

    def make() -> Iterator[Node]:
        for start in range(0, len(shown), _PIECE):
            yield from _edits(desired, edits, shown[start : start + _PIECE], address)

    return Children(Kind.ENTRY, len(edits.action), len(shown), make)


def _edits(desired: DesiredMap, edits: EntryChanges, rows: Index, address: str) -> Iterator[Node]:
    before = edits.before[rows]
    after = np.zeros_like(before)
    wanted = edits.row[rows]
    after[wanted >= 0] = desired.entries.values[wanted[wanted >= 0]]
    owned = desired.value.owned
    names, old, new = (
        plain_values(desired.key, edits.keys[rows]),
        plain_values(owned, before),
        plain_values(owned, after),
    )
    if desired.value.owns_part and not desired.entry_shape.is_array:  # of a new entry, all members are written
        made = np.flatnonzero(edits.action[rows] == EntryAction.INSERT)
        for at, value in zip(made.tolist(), plain_values(desired.value, after[made]), strict=True):
            new[at] = value
    actions: Sequence[int] = edits.action[rows].tolist()
    for at, (name, action) in enumerate(zip(names, actions, strict=True)):
        label = format_value(name)
        verb = _VERBS[EntryAction(action)]
        match verb:
            case Verb.INSERT:
                text = text_of(desired.value, new[at])
            case Verb.DELETE:
                text = text_of(desired.value, old[at])
            case _:
                text = display_change(owned, before[at], after[at])
        source = desired.sources.decided_by(int(wanted[at]))
        yield Node(
            Kind.ENTRY,
            verb,
            f"{address}[{label}]",
            label,
            with_source(text, source),
            before=None if verb is Verb.INSERT else old[at],
            after=None if verb is Verb.DELETE else new[at],
            key=name,
            source=source,
            is_long=desired.value.size > LONG,
        )
