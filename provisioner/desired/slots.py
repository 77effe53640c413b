"""The slots of an outer map: outer keys from single keys, ranges and tables, checked. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from provisioner.codec.display import display
from provisioner.desired.ranges import number_range
from provisioner.desired.resolve import ResolvedMap
from provisioner.desired.rows import encode_columns, key_chunk
from provisioner.model import entry_table
from provisioner.model.desired import CONTENTS, DesiredSlots, OwnedRange
from provisioner.model.entry_table import Index
from provisioner.model.errors import Problems
from provisioner.model.host import ByteOrder, Host
from provisioner.model.location import Location
from provisioner.model.spec import Contents, InnerMap, InnerTemplate, KeyRange, OuterMap, SharedInnerMap
from provisioner.model.tree import ScalarNode, flatten
from provisioner.model.types import Bytes, Path, Type
from provisioner.model.uapi import MapType
from provisioner.model.words import plural, with_article

MAX_SLOTS: Final = 1 << 24
"""Slots that one range or default may fill: a limit on memory, as the kernel takes up to 2^32-1."""


class Inner(msgspec.Struct, frozen=True):
    """An inner map as declared, once for all slots of a range. `share` is the index of a shared inner map, or -1.

    `member` is the name of the object's map that is in the slot instead.
    """

    capacity: int
    contents: Contents
    share: int
    where: Location
    member: str | None = None


class Written(msgspec.Struct, frozen=True):
    """m slots in the order of the input: `keys` (m, key size), `owner` (m,) the index of the inner map of each."""

    keys: Bytes
    owner: Index
    inners: tuple[Inner, ...]

    @property
    def members(self) -> tuple[str, ...]:
        """The names of the object's maps that are in slots, each once."""
        return tuple(sorted({inner.member for inner in self.inners if inner.member is not None}))

    def in_reading_order(self, kind: Type) -> tuple[DesiredSlots, Index]:
        """The slots sorted by key, and their order before."""
        order = entry_table.order_of(self.keys, kind.number_order)
        owner, names = self.owner[order], self.members
        numbers = [names.index(inner.member) if inner.member is not None else -1 for inner in self.inners]
        slots = DesiredSlots(
            self.keys[order],
            np.array([inner.capacity for inner in self.inners], np.uint32)[owner],
            np.array([CONTENTS.index(inner.contents) for inner in self.inners], np.uint8)[owner],
            np.array([inner.share for inner in self.inners], np.int32)[owner],
            tuple(self.inners[number].where for number in owner.tolist()),
            np.array(numbers, np.int32)[owner] if names else None,
        )
        return slots, order


class SlotWriter:
    """Computes the slots of one outer map."""

    def __init__(
        self,
        outer: OuterMap,
        template: InnerTemplate,
        resolved: ResolvedMap,
        shared: Sequence[SharedInnerMap],
        host: Host,
        problems: Problems,
        presets: Mapping[int, str] = MappingProxyType({}),
    ) -> None:
        """`presets` are the slots that the object fills with maps of its own."""
        assert resolved.outer_key is not None
        self._outer = outer
        self._template = template
        self._resolved = resolved
        self._kind: Type = resolved.outer_key
        self._shared = {inner.name: number for number, inner in enumerate(shared)}
        self._shared_capacity = [inner.max_entries for inner in shared]
        self._byteorder: ByteOrder = host.byteorder
        self._host = host
        self._problems = problems
        self._presets = presets
        for each in shared:
            self._check_capacity(each.max_entries, each.where)

    def write(self, inner_maps: Sequence[InnerMap], owned: Sequence[OwnedRange]) -> Written:
        """The slots of declared inner maps, in that order; `owned` are the ranges of `owned_keys`."""
        single = [number for number, inner in enumerate(inner_maps) if not isinstance(inner.key, KeyRange)]
        written_keys, sound = self._single_keys([inner_maps[number] for number in single])
        keys = [written_keys[sound]]
        owner = [np.array(single, np.int64)[sound]]
        for number, inner in enumerate(inner_maps):
            if isinstance(inner.key, KeyRange):
                spread = self._range(inner.key)
                keys.append(spread)
                owner.append(np.full(len(spread), number, np.int64))
        inners = [self._inner(inner) for inner in inner_maps]
        listed = Written(np.concatenate(keys), np.concatenate(owner), tuple(inners))
        written = self._with_default(self._with_presets(listed, owned))
        self._check(written, owned)
        return written

    def write_keyed(self, keys: Bytes, where: Location, owned: Sequence[OwnedRange]) -> Written:
        """A slot for each different key of the table at `where`."""
        inner = Inner(self._resolved.entry_shape.max_entries, self.contents, -1, where)
        listed = Written(keys, np.arange(len(keys), dtype=np.int64), (inner,) * len(keys))
        written = self._with_presets(listed, owned)
        self._check(written, owned)
        return written

    def _with_presets(self, written: Written, owned: Sequence[OwnedRange]) -> Written:
        """Slots that the object fills have what it puts there, unless they are listed."""
        if not self._presets:
            return written
        slots = np.array(list(self._presets), np.int64)
        keys = entry_table.index_keys(slots, self._byteorder)
        rest = ~entry_table.among(keys, written.keys) & entry_table.within(keys, self._kind.number_order, owned)
        capacity, where = self._resolved.entry_shape.max_entries, self._outer.where
        inners = [Inner(capacity, Contents.IGNORE, -1, where, self._presets[slot]) for slot in slots[rest].tolist()]
        numbers = np.arange(len(inners), dtype=np.int64) + len(written.inners)
        return Written(
            np.concatenate((written.keys, keys[rest])),
            np.concatenate((written.owner, numbers)),
            (*written.inners, *inners),
        )

    def _with_default(self, written: Written) -> Written:
        """Slots of an array that are not declared have the default shared inner map, if there is one."""
        name = self._outer.default_shared
        share = self._shared.get(name) if name is not None else None
        if share is None or not self._resolved.shape.is_array:
            return written
        if self._is_over_limit(self._resolved.shape.max_entries, self._outer.where):
            return written
        declared = np.zeros(self._resolved.shape.max_entries, np.bool_)
        index = entry_table.as_indexes(written.keys, self._byteorder)
        declared[index[index < len(declared)]] = True
        rest = np.flatnonzero(~declared)
        inner = Inner(self._capacity(self._shared_capacity[share]), self.contents, share, self._outer.where)
        return Written(
            np.concatenate((written.keys, entry_table.index_keys(rest, self._byteorder))),
            np.concatenate((written.owner, np.full(len(rest), len(written.inners), np.int64))),
            (*written.inners, inner),
        )

    def _inner(self, inner: InnerMap) -> Inner:
        contents = inner.policy.contents or self.contents
        if inner.object_map is not None:
            return Inner(self._capacity(None), Contents.IGNORE, -1, inner.where, inner.object_map)
        if inner.shared is None:
            self._check_capacity(inner.max_entries, inner.where)
            return Inner(self._capacity(inner.max_entries), contents, -1, inner.where)
        share = self._shared.get(inner.shared)
        if share is None:  # the rules have reported it
            return Inner(0, contents, -1, inner.where)
        return Inner(self._capacity(self._shared_capacity[share]), contents, share, inner.where)

    def _capacity(self, written: int | None) -> int:
        shape = self._resolved.entry_shape
        return shape.kept_capacity(written or shape.max_entries, self._host.possible_cpus)

    def _check_capacity(self, written: int | None, where: Location) -> None:
        """Add a Problem for a capacity that the outer map does not take."""
        shape = self._resolved.entry_shape
        if written is None or written == shape.max_entries or not shape.has_fixed_capacity:
            return
        word = with_article(shape.map_type.word)
        what = f"`max_entries` is {written:,}, and {shape.max_entries:,} in the template: inner maps "
        if shape.map_type is MapType.ARRAY:
            what += f"that are {word} without `inner_map` have the same size"
            hint = "add `inner_map` to the `flags` of the template, or remove `max_entries`"
        else:
            what, hint = f"{what}that are {word} have the same size", "remove `max_entries`"
        self._problems.add(what, where, hint, self._outer.name, id="unsupported-by-map-type")

    @property
    def contents(self) -> Contents:
        """The contents policy of inner maps that have none of their own, shared ones among them."""
        return self._outer.policy.contents or self._template.policy.contents or Contents.EXACT

    def _single_keys(self, inner_maps: Sequence[InnerMap]) -> tuple[Bytes, NDArray[np.bool_]]:
        """The keys of inner maps with a single key each, and the valid ones. Keys of one form are encoded together."""
        keys = np.zeros((len(inner_maps), self._kind.size), np.uint8)
        sound = np.ones(len(inner_maps), np.bool_)
        alike: dict[tuple[str, tuple[Path, ...]], list[int]] = {}
        scalars: list[list[ScalarNode]] = []
        for number, inner in enumerate(inner_maps):
            assert not isinstance(inner.key, KeyRange)
            parts = list(flatten(inner.key))
            scalars.append([scalar for _, scalar in parts])
            file = parts[0][1].where.file if parts else inner.where.file
            alike.setdefault((file, tuple(path for path, _ in parts)), []).append(number)
        for (_, paths), numbers in alike.items():
            chunk = key_chunk(paths, [scalars[number] for number in numbers], inner_maps[numbers[0]].where)
            out = np.zeros((len(numbers), self._kind.size), np.uint8)
            sound[numbers] = encode_columns([chunk], lambda _: self._outer.name, "key", self._kind, out, self._problems)
            keys[numbers] = out
        return keys, sound

    def _range(self, written: KeyRange) -> Bytes:
        """The keys `first..last`, inclusive; `possible_cpus` is a range from 0."""
        kind = self._kind
        numbers = number_range(written, kind, self._host, self._problems, self._outer.name)
        if numbers is None:
            return np.zeros((0, kind.size), np.uint8)
        first, last = numbers
        count, slots = last - first + 1, self._resolved.shape.max_entries
        if count > slots:
            what = f"the range has {count:,} keys, and max_entries of {self._outer.name} is {slots:,}"
            hint = "raise max_entries, or shorten the range"
            self._problems.add(what, written.where, hint, self._outer.name, id="too-many-inner-maps")
            return np.zeros((0, kind.size), np.uint8)
        if self._is_over_limit(count, written.where):
            return np.zeros((0, kind.size), np.uint8)
        return entry_table.number_keys(
            np.arange(count, dtype=np.uint64) + np.uint64(first), kind.size, kind.number_order
        )

    def _is_over_limit(self, count: int, where: Location) -> bool:
        """Whether a declaration has more slots than MAX_SLOTS, which is a problem."""
        if count <= MAX_SLOTS:
            return False
        what = f"{count:,} inner maps of {self._outer.name} are declared; the limit is {MAX_SLOTS:,}"
        self._problems.add(what, where, "declare fewer inner maps", self._outer.name, id="limit-exceeded")
        return True

    def _check(self, written: Written, owned: Sequence[OwnedRange]) -> None:
        """Check for duplicate keys, indexes out of range, and more slots than max_entries."""
        keys, limit = written.keys, self._resolved.shape.max_entries
        places = [written.inners[number].where for number in written.owner.tolist()]
        zeros = np.zeros(len(keys), np.int64)
        ranked = entry_table.sort_by_slot(zeros, keys)
        for slot, other in np.stack(entry_table.duplicates(zeros, keys[ranked]), axis=1).tolist():
            earlier, later = sorted((places[ranked[slot]], places[ranked[other]]))
            address = self.address(keys[ranked[slot]][None, :])
            what = f"duplicate inner map {address} (first at {earlier.short()})"
            self._problems.add(what, later, "remove one of the two", address, id="duplicate-key")
        inside = entry_table.within(keys, self._kind.number_order, owned)
        for number in np.flatnonzero(~inside)[:20].tolist():
            address = self.address(keys[number : number + 1])
            what, hint = f"{address} is outside of `owned_keys`", "extend `owned_keys`, or remove the inner map"
            self._problems.add(what, places[number], hint, address, id="key-not-owned")
        if self._resolved.shape.is_array:
            index = entry_table.as_indexes(keys, self._byteorder)
            for number in np.flatnonzero(index >= limit)[:20].tolist():
                index_text = display(self._kind, keys[number])
                what = f"index {index_text} is out of range: max_entries of {self._outer.name} is {limit}"
                hint = f"use an index from 0 to {limit - 1}, or raise max_entries"
                self._problems.add(what, places[number], hint, id="out-of-range")
        elif len(keys) > limit:
            self._problems.add(
                f"{self._outer.name} has {plural(len(keys), 'inner map')}, and max_entries is {limit:,}",
                self._outer.where,
                f"write `max_entries: {len(keys)}` or more, or remove inner maps",
                self._outer.name,
                id="too-many-inner-maps",
            )

    def address(self, key: Bytes) -> str:
        """`tenants[42]`; `key` has shape (1, key size)."""
        return self.address_of(key, 0)

    def address_of(self, keys: Bytes, row: int) -> str:
        """The same for one of many keys: with it, nothing is made for each key before a message needs it."""
        return f"{self._outer.name}[{display(self._kind, keys[row])}]"
