"""Other processes that write the maps of a project between its applies, by raw system calls."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Final

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from provisioner.kernel import bpffs, maps
from provisioner.kernel.fd import FdSet, InnerId, MapFd
from provisioner.model.pins import META_PIN
from tests.promises import wishes
from tests.promises.hands import CPUS, LiveInner, kind_of, make_inner, pin_outer, publish
from tests.promises.states import Project
from tests.promises.wishes import KINDS, OUTER_NAMES, PLAIN, SLOTS, Kind

_KINDS: Final = st.sampled_from(sorted(KINDS)).map(KINDS.__getitem__)
_NAMES: Final = st.sampled_from(OUTER_NAMES)
_SLOTS: Final = st.sampled_from(SLOTS)
FOREIGN: Final = range(8, 24)
"""Slots and keys of others, which no spec lists."""


class OtherHands(Project):
    """Slots, entries, padding, wrong shapes, missing pins, frozen maps, pins of strangers."""

    @rule(
        name=_NAMES,
        kind=_KINDS,
        outer=st.sampled_from(("hash_of_maps", "array_of_maps")),
        room=st.sampled_from((6, 6, 8)),
        filled=st.dictionaries(_SLOTS, wishes.entries, max_size=2),
    )
    def make_outer(self, name: str, kind: Kind, outer: str, room: int, filled: dict[int, dict[int, int]]) -> None:
        """Another outer map under that name, of whatever shape: the pin is new, or is replaced."""
        self._pin(name).parent.mkdir(exist_ok=True)
        shape = wishes.WishedOuter(outer, "hash", room, {}).shape
        pin_outer(self._pin(name), shape, kind)
        with maps.open_pin(self._pin(name)) as fd:
            self.templates[int(maps.info(fd).id)] = kind
        self._put(name, kind, 8, filled, 0)

    @rule(
        name=_NAMES, slot=_SLOTS, entries=wishes.entries, room=st.sampled_from((8, 16)), padding=st.sampled_from((0, 5))
    )
    def put(self, name: str, slot: int, entries: dict[int, int], room: int, padding: int) -> None:
        """A map of another process in a slot."""
        live = self._look_at_maps().get(name)
        if live is None or live.frozen or live.id not in self.templates or not live.has_room_for(slot):
            return
        self._put(name, self.templates[live.id], room, {slot: entries}, padding)

    def _put(self, name: str, kind: Kind, room: int, filled: Mapping[int, Mapping[int, int]], padding: int) -> None:
        with maps.open_pin(self._pin(name)) as outer, FdSet[MapFd]() as made:
            for entries in filled.values():
                made.add(make_inner(kind, room, entries, padding))
            publish(outer, list(filled), made)

    @rule(name=_NAMES, other=_NAMES, slot=_SLOTS, number=st.integers(0, 5))
    def put_again(self, name: str, other: str, slot: int, number: int) -> None:
        """An inner map that is live in one slot, into another one as well, of this outer map or the other."""
        live = self._look_at_maps()
        if name not in live or other not in live or not live[name].slots or live[other].frozen:
            return
        if not live[other].has_room_for(slot):
            return
        slots = list(live[name].slots.values())
        inner = slots[number % len(slots)]
        if live[other].id not in self.templates or kind_of(inner.shape) != self.templates[live[other].id]:
            return
        with maps.open_pin(self._pin(other)) as outer, FdSet[MapFd]() as made:
            made.add(maps.open_id(InnerId(inner.id)))
            publish(outer, [slot], made)

    @rule(name=_NAMES, free=st.sampled_from((0, 1)))
    def crowd(self, name: str, free: int) -> None:
        """A hash of maps is filled up by maps of others, except for some slots."""
        live = self._look_at_maps().get(name)
        if live is None or live.frozen or live.id not in self.templates or live.shape.is_array:
            return
        count = live.shape.max_entries - len(live.slots) - free
        slots = [slot for slot in FOREIGN if slot not in live.slots][: max(count, 0)]
        if slots:
            self._put(name, self.templates[live.id], 8, {slot: {} for slot in slots}, 0)

    @rule(name=st.sampled_from((*OUTER_NAMES, PLAIN)), number=st.integers(0, 5), free=st.sampled_from((0, 1, 2)))
    def crowd_entries(self, name: str, number: int, free: int) -> None:
        """A map that holds entries is filled up by those of others."""
        live = self._look_at_maps().get(name)
        if live is None:
            return
        held = list(live.slots.values()) or [LiveInner(live.id, live.shape, live.entries, live.frozen)]
        inner = held[number % len(held)]
        kind = kind_of(inner.shape)
        if kind is None or kind.shape.is_array or inner.frozen:
            return
        keys = [kind.key(key) for key in FOREIGN if kind.key(key) not in inner.entries]
        with maps.open_id(InnerId(inner.id)) as fd:
            for key in keys[: max(inner.shape.max_entries - len(inner.entries) - free, 0)]:
                maps.update(fd, key, kind.value(1, CPUS))

    @rule(name=_NAMES, number=st.integers(0, 5))
    def empty(self, name: str, number: int) -> None:
        live = self._look_at_maps().get(name)
        if live is None or live.frozen or not live.slots:
            return
        slots = sorted(live.slots)
        with maps.open_pin(self._pin(name)) as outer:
            maps.delete(outer, struct.pack("<I", slots[number % len(slots)]))

    @rule(
        name=st.sampled_from((*OUTER_NAMES, PLAIN)),
        number=st.integers(0, 5),
        key=st.sampled_from(wishes.KEYS),
        value=st.sampled_from((None, 0, 1, 2)),
        padding=st.sampled_from((0, 9)),
        other=st.sampled_from((None, 0, 3)),
    )
    def write(self, name: str, number: int, key: int, value: int | None, padding: int, other: int | None) -> None:
        """One entry is written or deleted; a value may be what it was, with another padding or another member."""
        live = self._look_at_maps().get(name)
        if live is None:
            return
        held = list(live.slots.values()) or [LiveInner(live.id, live.shape, live.entries, live.frozen)]
        inners = [inner for inner in held if not inner.frozen and not inner.shape.is_outer]
        if not inners:
            return
        inner = inners[number % len(inners)]
        kind = kind_of(inner.shape)
        assert kind is not None
        with maps.open_id(InnerId(inner.id)) as fd:
            is_new = kind.key(key) not in inner.entries and not kind.shape.is_array
            if value is not None and is_new and len(inner.entries) >= inner.shape.max_entries:
                return
            if value is not None:
                maps.update(fd, kind.key(key), kind.value(value, CPUS, padding, other, step=other or 0))
            elif kind.key(key) in inner.entries and not kind.shape.is_array:
                maps.delete(fd, kind.key(key))

    @rule(name=_NAMES, number=st.integers(0, 5), what=st.sampled_from(("inner", "inner", "outer", PLAIN)))
    def freeze(self, name: str, number: int, what: str) -> None:
        live = self._look_at_maps()
        live_map = live.get(PLAIN if what == PLAIN else name)
        if live_map is None:
            return
        slots = [inner.id for inner in live_map.slots.values() if not inner.frozen]
        if what == "inner" and slots:
            with maps.open_id(InnerId(slots[number % len(slots)])) as fd:
                maps.freeze(fd)
        elif what != "inner" and not live_map.frozen:
            with maps.open_pin(self._pin(PLAIN if what == PLAIN else name)) as fd:
                maps.freeze(fd)

    @precondition(lambda self: self.root.exists())
    @rule(name=st.sampled_from((*OUTER_NAMES, PLAIN, META_PIN, "stranger")))
    def unpin(self, name: str) -> None:
        bpffs.unpin(self._pin(name))

    @precondition(lambda self: self.root.exists())
    @rule(name=st.sampled_from((PLAIN, "stranger", "stranger", "_new_one", "_old_two")), kind=_KINDS)
    def pin(self, name: str, kind: Kind) -> None:
        """A plain map of any shape under the project's name or another one; or what a killed apply left."""
        with make_inner(kind, 8, {1: 1}) as fd:
            bpffs.pin_replace(fd, self._pin(name))

    @precondition(lambda self: self.root.exists())
    @rule(
        name=st.sampled_from((*OUTER_NAMES, PLAIN, "stranger", "_new_one")),
        what=st.sampled_from(("map", "program", "link")),
    )
    def pin_another_kind(self, name: str, what: str) -> None:
        """What should not be under a name: a program, a link, or a plain map where an outer one should be."""
        with make_inner(KINDS["hash"], 8, {}) if what == "map" else bpffs.open_any(self.others / what) as fd:
            bpffs.pin_replace(fd, self._pin(name))
