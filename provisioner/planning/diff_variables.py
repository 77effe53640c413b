"""What differs between the variables that an object should have and those that are live. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

import numpy as np

from provisioner.codec.display import ARROW, display, display_change
from provisioner.codec.long_values import LONG
from provisioner.model.desired import DesiredObject
from provisioner.model.observed import ObservedState
from provisioner.model.variables import DataSection, Variable
from provisioner.planning.changes import VariableChange, Word

_WORDS: Final = (1, 2, 4, 8)
"""Bytes that a CPU writes at once, where they are aligned."""


def diff_variables(desired: DesiredObject, observed: ObservedState) -> tuple[VariableChange, ...]:
    """The variables whose live bytes differ; those of a section that is not live have no bytes before."""
    return tuple(
        change
        for section in desired.variables
        for variable in section.variables
        if (change := _diff(section, variable, observed)) is not None
    )


def in_words(changes: Iterable[VariableChange]) -> str:
    """`variables debug 0 -> 1, limits not set -> {burst: 10}`; empty without changes."""
    parts = [f"{change.name} {_change(change)}" for change in changes]
    return f"{'variable' if len(parts) == 1 else 'variables'} {', '.join(parts)}" if parts else ""


def shown(variable: Variable, data: bytes | None) -> str:
    """A value for people."""
    return "not set" if data is None else display(variable.type, np.frombuffer(data, np.uint8))


def _change(change: VariableChange) -> str:
    before, variable = change.before, change.variable
    if before is None or variable.type.size <= LONG:
        return f"{shown(variable, before)}{ARROW}{shown(variable, variable.data)}"
    return display_change(variable.type, np.frombuffer(before, np.uint8), np.frombuffer(variable.data, np.uint8))


def live_values(desired: DesiredObject, observed: ObservedState) -> Iterator[tuple[Variable, bytes | None]]:
    """Each variable of the spec and its live bytes, None if it is not live."""
    for section in desired.variables:
        data = observed.variables.get(section.pin)
        for variable in section.variables:
            yield variable, None if data is None else variable.of(data)


def _diff(section: DataSection, variable: Variable, observed: ObservedState) -> VariableChange | None:
    live, map_ = observed.variables.get(section.pin), observed.object_maps.get(section.pin)
    before = None if live is None else variable.of(live)
    if before is None or len(before) != len(variable.data):
        return VariableChange(section.pin, variable, None, None)
    mask = variable.type.mask()
    differs = np.flatnonzero((np.frombuffer(before, np.uint8) ^ np.frombuffer(variable.data, np.uint8)) & mask)
    if not len(differs):
        return None
    is_read_only = section.is_constant or (map_ is not None and map_.frozen)
    word = None if is_read_only else _word(variable, int(differs[0]), int(differs[-1]) + 1)
    return VariableChange(section.pin, variable, before, word)


def _word(variable: Variable, first: int, end: int) -> Word | None:
    """The aligned word within the variable that covers the differing bytes first..end-1; None if there is none."""
    low, high = variable.offset, variable.offset + len(variable.data)
    for size in _WORDS:
        start = (low + first) // size * size
        if low <= start and low + end <= start + size <= high:
            return Word(start, variable.data[start - low : start - low + size])
    return None
