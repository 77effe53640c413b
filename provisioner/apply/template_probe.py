"""Whether live outer maps will take the inner maps that a plan puts into them: found out without a write to them.

A probe makes unpinned maps and programs only, which are gone when it ends. The kernel is asked with a candidate, an
empty map of the wanted shape:

- where an inner map lives, a scratch outer map is made with that as its template, and asked in its place;
- an empty HASH_OF_MAPS is asked itself, to replace what is at a key that it does not have: ENOENT says that the
  candidate would do, EINVAL that it would not, and nothing is written either way;
- an empty ARRAY_OF_MAPS cannot be probed like this, because it does not take the flag: the verifier is asked.
"""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import combinations
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from msgspec.structs import replace

from provisioner.apply.staging import Stager
from provisioner.kernel import maps, reading, verifier
from provisioner.kernel.fd import InnerId, MapFd
from provisioner.kernel.inner_pins import InnerPins
from provisioner.kernel.reasons import KernelError
from provisioner.model.inner_template import InnerFacts, Probed, differences
from provisioner.model.map_shape import MapShape
from provisioner.model.observed import ObservedState
from provisioner.model.pins import map_path
from provisioner.model.uapi import ENOTSUPP, FD_MODES, MapFlag, MapType, UpdateFlag
from provisioner.planning.changes import MapChange
from provisioner.planning.plan import Plan
from provisioner.planning.steps import PublishSlots

"""Flags of the fd that a map was created with: bpf_map_meta_equal does not see them."""

_TRIED_FLAGS: Final = tuple(flag for flag in MapFlag if flag not in FD_MODES | MapFlag.CLONE)
"""What a template's flags may differ in; CLONE is for maps that cannot be inner ones."""

_FLAGS_AT_ONCE: Final = 2
"""How many flags of an empty HASH_OF_MAPS's template are looked for at once: each try is one map more."""


def probe(plan: Plan) -> ObservedState:
    """The plan's observed state, with what was found out about each live outer map that gets inner maps.

    A frozen one is not asked: the plan refuses to write it. Raises KernelError where this kernel makes no such inner
    map, or the outer map cannot be written at all.
    """
    asked = {step.map for step in plan.steps if isinstance(step, PublishSlots) and not step.fresh}
    asked = {name for name in asked if not plan.observed.maps[name].frozen}
    results = {name: _probe(plan, plan.maps[name]) for name in sorted(asked)}
    live = {name: replace(live_map, probed=results.get(name)) for name, live_map in plan.observed.maps.items()}
    return replace(plan.observed, maps=live)


def why_refused(outer: MapFd, candidate: MapFd) -> str:
    """What differs if the kernel refused to put `candidate` into `outer`; empty if the kernel does not show it."""
    try:
        with _Asked(outer) as asked:
            return differences(_wanted(candidate), asked.facts(candidate))
    except KernelError:
        return ""


def _probe(plan: Plan, change: MapChange) -> Probed:
    desired, desired_map = plan.desired, change.desired
    path = plan.observed.moves.at(map_path(desired, desired_map), Path(desired.pin_root))
    with (
        maps.open_pin(Path(path)) as outer,
        Stager(desired_map, desired.host, InnerPins()) as stager,
        _Asked(outer) as asked,
        stager.create(_candidate_capacity(desired_map.entry_shape)) as candidate,
    ):
        fits = asked.takes(candidate)
        if fits is False and stager.forget_btf():
            with stager.create(_candidate_capacity(desired_map.entry_shape)) as plain:
                fits = asked.takes(plain)
        return Probed(True) if fits else _result(asked, candidate, fits)


def _result(asked: _Asked, candidate: MapFd, fits: bool | None) -> Probed:
    """What differs, as far as this kernel shows it."""
    try:
        live = asked.facts(candidate)
        why = differences(_wanted(candidate), live)
    except KernelError as error:
        if fits is None:
            return Probed(None, unseen=f"anything of its inner template: {error.reason}")
        live, why = InnerFacts(), ""
    if fits is False:
        return Probed(False, why or "the kernel refuses such maps, and does not say what differs")
    if why:
        return Probed(False, why)
    return Probed(None, unseen="the inner template's " + ("type and sizes" if live.map_type is None else "map_flags"))


def _candidate_capacity(shape: MapShape) -> int:
    """As little room as the kernel compares nothing of, where it may be little."""
    return shape.max_entries if shape.has_fixed_capacity or not shape.is_listable else 1


class _Asked:
    """A live outer map, and the scratch map that is asked in its place where an inner map lives in it."""

    def __init__(self, outer: MapFd) -> None:
        self._outer = outer
        self._shape = maps.info(outer).shape
        self._opened = ExitStack()
        self._was_looked_at = False
        self._inner: MapShape | None = None
        self._target: MapFd | None = outer if self._shape.map_type is MapType.HASH_OF_MAPS else None

    def __enter__(self) -> Self:
        return self  # nothing is open yet: what fails in here or on its way out would have no owner

    def _look(self) -> None:
        """Find an inner map that lives in the outer map, once."""
        if self._was_looked_at:
            return
        self._was_looked_at = True
        _, numbers = reading.read_slots(self._outer, self._shape)
        for number in numbers.tolist():
            try:
                inner = maps.open_id(InnerId(number))
            except KernelError as error:
                if error.errno != errno.ENOENT:  # it was removed in the meantime
                    raise
                continue
            with inner:
                self._inner = _raw_shape(inner)
                self._target = self._opened.enter_context(_scratch(inner))
            break

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._opened.close()

    def takes(self, candidate: MapFd) -> bool | None:
        """Whether the kernel would put `candidate` into a slot; None where it can only be tried."""
        self._look()
        if self._target is None:
            return None
        size = maps.info(self._target).shape.key_size
        value = candidate.number.to_bytes(4, sys.byteorder)
        try:
            maps.update(self._target, os.urandom(size), value, UpdateFlag.EXIST, subject="inner")
        except KernelError as error:
            if error.errno not in (errno.ENOENT, errno.EINVAL):
                raise
            return error.errno == errno.ENOENT
        return True

    def facts(self, candidate: MapFd) -> InnerFacts:
        """What can be known of the live inner template. Raises KernelError where the verifier cannot be asked."""
        self._look()
        if self._inner is not None:
            return _and_verifier(self._outer, self._shape.key_size, self._inner)
        facts = verifier.inner_facts(self._outer, self._shape.key_size)
        return facts.extended(map_flags=self._flags(facts, _raw_shape(candidate)))

    def _flags(self, facts: InnerFacts, wanted: MapShape) -> MapFlag | None:
        """The flags of an empty map's template: those with which it takes a map that is else as it is known to be."""
        if self._target is None or facts.map_type is None or facts.key_size is None or facts.value_size is None:
            return None
        room = facts.max_entries or _candidate_capacity(replace(wanted, map_type=facts.map_type))
        for flags in _flags_near(wanted.map_flags):
            shape = MapShape(facts.map_type, facts.key_size, facts.value_size, room, flags)
            try:
                with maps.create(shape, "probe") as other:
                    if self.takes(other):
                        return flags
            except KernelError as error:
                if error.errno not in (errno.EINVAL, errno.EPERM, errno.EOPNOTSUPP, ENOTSUPP):
                    raise
        return None


def _flags_near(wanted: MapFlag) -> Iterator[MapFlag]:
    """`wanted`, then all flags that differ from it in one, then in two."""
    for count in range(_FLAGS_AT_ONCE + 1):
        for others in combinations(_TRIED_FLAGS, count):
            flags = wanted
            for flag in others:
                flags ^= flag
            yield flags


def _wanted(candidate: MapFd) -> InnerFacts:
    """What the kernel would compare of a candidate, asked for in the same way as of the live template."""
    with _scratch(candidate) as scratch:
        return _and_verifier(scratch, 4, _raw_shape(candidate))


def _and_verifier(outer: MapFd, key_size: int, inner: MapShape) -> InnerFacts:
    """An inner map's shape, and what only the verifier knows of it."""
    try:
        facts = verifier.inner_facts(outer, key_size)
    except KernelError:  # the shape is known without it
        facts = InnerFacts()
    return facts.extended(shape=inner)


def _scratch(inner: MapFd) -> MapFd:
    """An outer map that no program sees, with `inner` as its template: a hash, which can be asked without a write."""
    return maps.create(MapShape(MapType.HASH_OF_MAPS, 4, 4, 1), "probe", inner=inner)


def _raw_shape(fd: MapFd) -> MapShape:
    """A shape with the flags as the kernel compares them."""
    shape = maps.info(fd).shape
    return replace(shape, map_flags=shape.map_flags & ~FD_MODES)
