"""New maps: created with BTF for what is in them, and filled, before any program can see them."""

from __future__ import annotations

import _thread
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from functools import partial
from itertools import islice
from types import MappingProxyType, TracebackType
from typing import Final, Self

import numpy as np

from provisioner.apply import merge
from provisioner.apply.copies import Copies, Copy, not_copied
from provisioner.codec.btf_emit import btf_of
from provisioner.codec.program_ref import ProgramRef
from provisioner.kernel import batch, maps
from provisioner.kernel.fd import BtfFd, FdSet, MapFd
from provisioner.kernel.inner_pins import InnerPins
from provisioner.kernel.new_maps import NewMaps
from provisioner.kernel.reasons import KernelError
from provisioner.kernel.rows import Rows
from provisioner.model.desired import DesiredMap
from provisioner.model.host import Host
from provisioner.model.map_shape import MapShape
from provisioner.model.uapi import STORAGE_TYPES
from provisioner.planning.changes import Migrated

Btf = tuple[BtfFd | None, int, int]
"""Loaded BTF, and the ids of the key's and the value's type in it."""

NO_BTF: Final[Btf] = (None, 0, 0)


class Stager:
    """Creates and fills maps of one desired map's entry shape; a context manager, which holds their BTF.

    `copied` gives, by desired slot, the ids of the live inner maps from which a new one takes over entries that are not
    the spec's; `migrated` says that those have another shape. What it stages is pinned where `inner` says so. `later`
    takes the copies where programs use the new maps only after another step. `open_member` opens a map of the object.
    `pause` is called now and then: it raises where the apply is to stop. `wrote` is called with a number of entries
    that were written.
    """

    def __init__(
        self,
        desired: DesiredMap,
        host: Host,
        inner: InnerPins,
        copied: Mapping[int, tuple[int, ...]] = MappingProxyType({}),
        open_member: Callable[[str], MapFd] | None = None,
        migrated: Migrated | None = None,
        later: Copies | None = None,
        pause: Callable[[], None] = batch.go_on,
        wrote: Callable[[int], None] = batch.not_counted,
    ) -> None:
        self._open_member = open_member
        self._pause = pause
        self._wrote = wrote
        self._inner = inner
        self._desired = desired
        self._host = host
        self._copied = copied
        self._migrated = migrated
        self._later = later
        self._copies: dict[int, list[Copy]] = {}
        self._name = desired.outer.template_name if desired.outer is not None else desired.name
        # The addresses are taken once: asking NumPy for one costs as much as a system call.
        self._keys = Rows.of(desired.entries.keys)
        self._values = Rows.of(desired.entries.values)
        self._starts = desired.entries.starts.tolist()
        self._counts = desired.entries.counts.tolist()
        self._capacity = desired.slots.max_entries.tolist()
        self._new = NewMaps(desired.entry_shape, self._name)
        self._opened = ExitStack()
        self._btf: Btf | None = None
        self._loading = _thread.allocate_lock()

    def __enter__(self) -> Self:
        return self  # nothing is open yet: what fails in here or on its way out would have no owner

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._opened.close()

    def create(self, max_entries: int) -> MapFd:
        """An empty map with room for `max_entries`."""
        shape = self._desired.entry_shape
        own = shape if max_entries == shape.max_entries else shape.with_capacity(max_entries)
        return self._create(own, self._own_btf())

    def stage(self, slots: list[int], staged: FdSet[MapFd]) -> None:
        """Add to `staged` a new, filled inner map, or a map of the object, for each desired slot in `slots`, in order.

        The caller owns the set before anything is created, and closes it whatever fails here or on the way back.
        """
        created: list[MapFd] = []
        if self._stage_by_programs(slots, staged):
            return
        for slot in slots:
            self._pause()
            member = self._desired.member_of(slot)
            if member is not None:
                assert self._open_member is not None
                staged.add(self._open_member(member))
                continue
            new = staged.add(self.create(self._capacity[slot]))
            self._take_over(new, slot)
            self.fill(new, slot)
            created.append(new)
        self._inner.pin(created)

    def _stage_by_programs(self, slots: list[int], staged: FdSet[MapFd]) -> bool:
        """The same, where programs do most of it; whether it is done."""
        numbers = np.array(slots, np.int64)
        table, members = self._desired.entries, self._desired.slots.members
        if members is not None and (members[numbers] >= 0).any():
            return False
        if not self._new.is_worth_it(table.counts[numbers]):
            return False
        have = self._new.create(staged, self._desired.slots.max_entries[numbers], self._own_btf())
        for slot in slots[have:]:
            staged.add(self.create(self._capacity[slot]))
        if self._copied:
            for new, slot in zip(staged, slots, strict=True):
                self._pause()
                self._take_over(new, slot)
        # With the members of others in them, some entries are there already.
        has_members = bool(self._copied) and self._desired.value.owns_part
        filled = 0 if has_members else self._new.fill(staged.numbers(), numbers, table, self._pause, self._wrote)
        if filled < len(slots):
            for new, slot in islice(zip(staged, slots, strict=True), filled, None):
                self._pause()
                self.fill(new, slot)
        self._inner.pin(staged)
        return True

    def _take_over(self, new: MapFd, slot: int) -> None:
        """Write the entries of others into a new map."""
        self._copies.pop(slot, None)  # of maps that were refused for their BTF
        for old in self._copied.get(slot, ()):
            self._copy(old, new, slot)

    def forget_btf(self) -> bool:
        """Create maps without BTF from now on; whether there was any to forget, which what is in them does not need.

        For Linux 6.1, where a value type that is a struct is part of what an outer map's template and its inner
        maps must have in common, or none of them (`timer_off` in bpf_map_meta_equal, until aa3496accc41).
        """
        if self._desired.entry_shape.specials:
            return False
        had, self._btf = self._btf, NO_BTF
        return had is not None and had != NO_BTF

    def fill(self, fd: MapFd, slot: int) -> None:
        """Write all entries of a desired slot into a map that has nothing but what was copied for the slot."""
        if self._desired.value.owns_part and slot in self._copies:
            rest = not_copied(self._desired, slot, self._copies[slot])
            batch.write_batch(fd, *rest, name=self._desired.name, pause=self._pause)
            return
        start = self._starts[slot]
        end = start + self._counts[slot]
        if end > start:
            rows = self._keys.cut(start, end), self._values.cut(start, end)
            batch.write_batch(fd, *rows, name=self._desired.name, pause=self._pause)
            self._wrote(end - start)

    def _copy(self, old_id: int, new: MapFd, slot: int) -> None:
        """Write the entries of others in a live inner map into a new one, and keep what they are."""
        with self._inner.open(old_id, readonly=True) as old:
            self.copy(old_id, old, new, slot)

    def copy(self, old_id: int, old: MapFd, new: MapFd, slot: int) -> None:
        """The same from an open map."""
        keys, values = merge.others_of(self._desired, slot, old, self._host, self._migrated)
        written = merge.joined(self._desired, self._host, self._copies.get(slot, ()), keys, values)
        batch.write_batch(new, keys, written, name=self._desired.name, pause=self._pause)
        self._copies.setdefault(slot, []).append(Copy(old_id, keys, values))

    def carry_over(self, slots: list[int], targets: FdSet[MapFd]) -> int:
        """Once new maps are live: carry over what changed since the copies, and forget these. Gives the waits."""
        copies = self.copies(slots)
        if self._later is not None:
            self._later |= copies
            return 0
        if not copies:
            return 0
        open_old = partial(self._inner.open, readonly=True)
        return merge.carry_over(self._desired, list(targets), slots, copies, open_old, self._host)

    def copies(self, slots: list[int]) -> Copies:
        """What was copied for these slots, which is forgotten here."""
        return {slot: self._copies.pop(slot) for slot in slots if slot in self._copies}

    def _own_btf(self) -> Btf:
        """The BTF of all maps, loaded for the first of them by one of the threads that stage."""
        with self._loading:
            if self._btf is None:
                self._btf = self._load_btf()
            return self._btf

    def _create(self, shape: MapShape, btf: Btf) -> MapFd:
        fd, key_id, value_id = btf
        return maps.create(shape, self._name, btf=fd, btf_key_type_id=key_id, btf_value_type_id=value_id)

    def _load_btf(self) -> Btf:
        """BTF for keys and values, so that bpftool prints members by name; none where the kernel takes none.

        Not every type of map takes BTF, nor every key (an array has a 32-bit integer, an LPM trie a struct), and
        old kernels know fewer kinds of type: it is tried once, on a map with room for one entry. Where values hold
        special fields of the kernel, it finds them by this BTF: then there is no map without it.
        """
        shape = self._desired.entry_shape
        is_storage = shape.map_type in STORAGE_TYPES  # none of them is created without BTF
        if not (shape.is_listable or shape.specials or is_storage) or isinstance(self._desired.value, ProgramRef):
            return NO_BTF
        data, key_id, value_id = btf_of(self._desired.key, self._desired.value, self._host.byteorder)
        try:
            fd = self._opened.enter_context(maps.load_btf(data))
            self._create(shape.with_capacity(min(1, shape.max_entries)), (fd, key_id, value_id)).close()
        except KernelError:
            if shape.specials or is_storage:
                raise
            return NO_BTF
        return (fd, key_id, value_id)
