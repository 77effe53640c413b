"""The slots of a live outer map whose keys are converted: those that stay, and those that the spec deletes. Pure."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from provisioner.codec.display import format_value
from provisioner.codec.reshape import Converted, Reshaping
from provisioner.model import entry_table
from provisioner.model.desired import DesiredMap, OuterPolicy
from provisioner.model.entry_table import Index
from provisioner.model.observed import ObservedMap, ObservedSlots
from provisioner.model.spec import ExtraInnerMaps
from provisioner.model.types import Bytes
from provisioner.model.words import HIDDEN
from provisioner.planning.changes import MigrationProblem

_REPORTED = 20
"""Slots of one map that are reported."""


class Rekeyed(msgspec.Struct, frozen=True):
    """`live` has the slots whose keys the new map can have, `converted` the same ones with the new keys.

    `unfit` are rows of the others, all of which the spec deletes. `lost` are members of the old key that the new one
    does not have, with the number of slots that stay and have a value in them.
    """

    live: ObservedMap
    converted: ObservedMap
    unfit: Index
    lost: tuple[tuple[str, int], ...]
    problems: tuple[MigrationProblem, ...]


def rekeyed(desired: DesiredMap, observed: ObservedMap, reshaping: Reshaping) -> Rekeyed:
    """The slots of `observed` with converted keys. A slot that stays and cannot have its key is a problem."""
    outer, slots = desired.outer, observed.slots
    assert outer is not None
    done = reshaping.convert(slots.keys)
    fits = np.ones(len(slots.keys), np.bool_)
    for misfit in done.misfits:
        fits[misfit.rows] = False
    stays = np.where(fits, _stay(desired, outer, done.rows), _keeps_unlisted(outer))
    problems = list(_misfits(desired, outer, slots.keys, done, stays))
    if reshaping.drops_members:
        again = _repeated(done.rows, fits)
        problems += _collisions(desired, outer, done.rows, again[stays[again]])
        fits[again] = False
    problems += _beyond(desired, outer, done.rows, fits & stays)
    lost = ((each.member, int(stays[each.rows].sum())) for each in done.lost)
    rows = np.flatnonzero(fits)
    return Rekeyed(
        replace(observed, slots=ObservedSlots(slots.keys[rows], slots.inner_ids[rows])),
        replace(observed, slots=ObservedSlots(done.rows[rows], slots.inner_ids[rows])),
        np.flatnonzero(~fits),
        tuple((member, count) for member, count in lost if count),
        tuple(problems),
    )


def old_address(desired: DesiredMap, key: Bytes) -> str:
    """The address of a slot by its old key, in hex: its type is not the spec's."""
    hidden = desired.outer is not None and desired.outer.key.sensitive
    return f"{desired.name}[{HIDDEN if hidden else f'0x{key.tobytes().hex()}'}]"


def _stay(desired: DesiredMap, outer: OuterPolicy, keys: Bytes) -> NDArray[np.bool_]:
    """Which new keys the spec lists or policy keeps; several rows can have the same key."""
    if outer.extra_inner_maps is not ExtraInnerMaps.DELETE:
        return np.ones(len(keys), np.bool_)
    first, number = entry_table.distinct(keys)
    stays = entry_table.among(keys[first], desired.slots.keys)
    stays |= ~entry_table.within(keys[first], outer.key.number_order, outer.owned)
    return stays[number]


def _keeps_unlisted(outer: OuterPolicy) -> bool:
    """Whether a slot stays that the spec cannot list, and that is in no range of ours."""
    return outer.extra_inner_maps is not ExtraInnerMaps.DELETE or bool(outer.owned)


def _misfits(
    desired: DesiredMap, outer: OuterPolicy, keys: Bytes, done: Converted, stays: NDArray[np.bool_]
) -> Iterator[MigrationProblem]:
    for misfit in done.misfits:
        for row in misfit.rows[stays[misfit.rows]][:_REPORTED].tolist():
            shown = "" if outer.key.sensitive else misfit.shown.get(row, "")
            member = "" if misfit.member == "value" else f"member `{misfit.member}` of "
            what = f"{member}the outer key does not fit {misfit.word}{shown and f': {shown}'}"
            hint = "delete the slot, or use a wider type"
            yield MigrationProblem("migrate-value", old_address(desired, keys[row]), what, hint)


def _repeated(keys: Bytes, fits: NDArray[np.bool_]) -> Index:
    """Rows whose new key another row before them has."""
    rows = np.flatnonzero(fits)
    first, _ = entry_table.distinct(keys[rows])
    repeated = np.ones(len(rows), np.bool_)
    repeated[first] = False
    return rows[repeated]


def _collisions(desired: DesiredMap, outer: OuterPolicy, keys: Bytes, rows: Index) -> Iterator[MigrationProblem]:
    for row in rows[:_REPORTED].tolist():
        what, hint = "two live slots have the same key in the new layout", "delete one of them"
        yield MigrationProblem("migrate-value", _new_address(desired, outer, keys[row]), what, hint)


def _beyond(
    desired: DesiredMap, outer: OuterPolicy, keys: Bytes, which: NDArray[np.bool_]
) -> Iterator[MigrationProblem]:
    """Slots that an array does not have."""
    if not desired.shape.is_array:
        return
    rows = np.flatnonzero(which)
    index = entry_table.as_indexes(np.ascontiguousarray(keys[rows]), outer.key.number_order or "little")
    for row in rows[index >= desired.shape.max_entries][:_REPORTED].tolist():
        what = f"the slot is beyond the new array: max_entries is {desired.shape.max_entries:,}"
        yield MigrationProblem(
            "no-room", _new_address(desired, outer, keys[row]), what, "raise max_entries, or delete the slot"
        )


def _new_address(desired: DesiredMap, outer: OuterPolicy, key: Bytes) -> str:
    shown = format_value(outer.key.conceal(outer.key.decode(key[np.newaxis])[0]))
    return f"{desired.name}[{shown}]"
