"""Desired states at random: small ones, over few names, keys and values, so that they meet what is live."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from hypothesis import strategies as st

from provisioner.model.map_shape import MapShape
from provisioner.model.uapi import MapFlag, MapType

KEYS: Final = range(4)
VALUES: Final = range(3)
OWNED: Final = range(2)
"""The keys that are ours where two writers share a map."""

SLOTS: Final = range(6)
ROOMS: Final = (4, 6, 8, 12)
"""The max_entries of outer maps."""

ADOPTED: Final = "theirs"
"""An outer map that another process made, pinned in a folder of its own."""

OUTER_NAMES: Final = ("one", "two", ADOPTED)
PLAIN: Final = "plain"


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of map that holds entries: its YAML, its shape, and how small numbers become its keys and values.

    `mask` tells which bytes of a value mean something; the others are padding. `first` tells which of these are the
    member `a`; it is empty where values have no members.
    """

    yaml: Mapping[str, Any]
    shape: MapShape
    mask: bytes
    first: bytes = b""

    @property
    def is_fixed(self) -> bool:
        """Whether all maps of a template must have room for the same number."""
        return self.shape.map_type is MapType.ARRAY and not self.shape.map_flags & MapFlag.INNER_MAP

    @property
    def is_replaced(self) -> bool:
        """Whether `update: auto` never writes it in place: a reader could see half a value."""
        return self.shape.is_array and self.shape.value_size > 8

    def key_yaml(self, key: int) -> Any:
        return f"10.{key}.0.0/16" if self.shape.map_type is MapType.LPM_TRIE else key

    def key(self, key: int) -> bytes:
        return struct.pack("<I4B", 16, 10, key, 0, 0) if self.shape.key_size == 8 else struct.pack("<I", key)

    def value_yaml(self, value: int) -> Any:
        return {"a": value, "b": value} if "struct" in str(self.yaml["value"]) else value

    def value(self, value: int, cpus: int, padding: int = 0, other: int | None = None, step: int = 0) -> bytes:
        """As the system call moves it; `other` is the member `b`, if that differs, and `step` more on each CPU."""
        second = value if other is None else other
        if self.shape.is_percpu:
            return b"".join(struct.pack("<II", value, second + step * cpu) for cpu in range(cpus))
        if self.shape.map_type is MapType.LPM_TRIE:
            return bytes([value])
        if self.shape.value_size == 8:
            return struct.pack("<B3BI", value, padding, padding, padding, second)
        if self.shape.value_size == 16:
            return struct.pack("<QQ", value, second)
        return struct.pack("<I", value)

    def meaning(self, value: bytes) -> bytes:
        """The value with its padding made zero."""
        return _masked(value, self.mask)

    def beside(self, value: bytes, other: int, cpus: int) -> bytes:
        """A live value with another number in the member `b`, on each CPU another one."""
        written, second = (
            self.value(0, cpus, other=other, step=other),
            bytes(a ^ b for a, b in zip(self.mask, self.first, strict=True)),
        )
        mask = second * (len(value) // len(second))
        return bytes((old & ~keep & 0xFF) | (new & keep) for old, new, keep in zip(value, written, mask, strict=True))

    def rest(self, value: bytes) -> bytes:
        """The value with the member `a` made zero: what belongs to others, padding too."""
        return _masked(value, bytes(0xFF - byte for byte in self.first))


def _masked(value: bytes, mask: bytes) -> bytes:
    return bytes(byte & keep for byte, keep in zip(value, mask * (len(value) // len(mask)), strict=True))


def _kind(yaml: Mapping[str, Any], shape: MapShape, mask: bytes = b"", first: bytes = b"") -> Kind:
    return Kind(yaml, shape, mask or b"\xff" * shape.value_size, first)


_WIDE: Final = {"struct": {"a": "u64", "b": "u64"}}
KINDS: Final[Mapping[str, Kind]] = {
    "hash": _kind({"type": "hash", "key": "u32", "value": "u32"}, MapShape(MapType.HASH, 4, 4, 8)),
    "padded": _kind(
        {"type": "hash", "key": "u32", "value": {"struct": {"a": "u8", "b": "u32"}}},
        MapShape(MapType.HASH, 4, 8, 8),
        b"\xff\0\0\0\xff\xff\xff\xff",
        b"\xff" + bytes(7),
    ),
    "array": _kind(
        {"type": "array", "key": "u32", "value": "u32", "flags": ["inner_map"]},
        MapShape(MapType.ARRAY, 4, 4, 8, MapFlag.INNER_MAP),
    ),
    "wide": _kind(
        {"type": "array", "key": "u32", "value": _WIDE},
        MapShape(MapType.ARRAY, 4, 16, 8),
        first=b"\xff" * 8 + bytes(8),
    ),
    "lpm": _kind(
        {"type": "lpm_trie", "key": "cidr4", "value": "u8"}, MapShape(MapType.LPM_TRIE, 8, 1, 8, MapFlag.NO_PREALLOC)
    ),
    "percpu": _kind(
        {"type": "percpu_hash", "key": "u32", "value": {"struct": {"a": "u32", "b": "u32"}}},
        MapShape(MapType.PERCPU_HASH, 4, 8, 8),
        first=b"\xff" * 4 + bytes(4),
    ),
}


@dataclass(frozen=True, slots=True)
class WishedSlot:
    """One inner map: its entries, its room, what is done about other entries; `shared` with other slots by name."""

    entries: Mapping[int, int]
    room: int
    contents: str = "exact"
    shared: bool = False


@dataclass(frozen=True, slots=True)
class WishedOuter:
    """One outer map. `owned` are the first and the last slot that are ours, None for all.

    With `shares_entries` only some keys of its inner maps are ours; with `shares_values` only the member `a` of values.
    """

    type: str
    kind: str
    room: int
    slots: Mapping[int, WishedSlot]
    update: str = "auto"
    extra: str = "delete"
    on_replace: str | None = None
    owned: tuple[int, int] | None = None
    shares_entries: bool = False
    shares_values: bool = False

    @property
    def sharing(self) -> tuple[int, ...]:
        """The slots that hold the shared inner map."""
        return tuple(slot for slot, wished in self.slots.items() if wished.shared)

    def policy_of(self, wished: WishedSlot) -> str:
        """What is done about entries that a slot does not list: its `contents`, or `owned`."""
        return "owned" if self.shares_entries else wished.contents

    @property
    def shape(self) -> MapShape:
        return MapShape(MapType[self.type.upper()], 4, 4, self.room)

    @property
    def template(self) -> Kind:
        return KINDS[self.kind]

    def owns(self, slot: int) -> bool:
        return self.owned is None or self.owned[0] <= slot <= self.owned[1]

    def deletes(self, slot: int) -> bool:
        """Whether it takes away what is in a slot that it does not declare."""
        return self.extra == "delete" and self.owns(slot) and slot not in self.slots

    @property
    def in_place(self) -> bool:
        if self.shares_values:
            return True
        return self.update == "in_place" or (self.update == "auto" and not self.template.is_replaced)


@dataclass(frozen=True, slots=True)
class Wish:
    """A whole desired state: outer maps by name, and the entries of a plain map, None for no such map.

    `plain_policy` says what is done about its other entries: `exact`, `present` or `owned`; with `plain_shares_values`,
    only the member `a` of its values is ours.
    """

    outer: Mapping[str, WishedOuter] = field(default_factory=dict)
    plain: Mapping[int, int] | None = None
    plain_policy: str = "exact"
    plain_shares_values: bool = False

    def tree(self, theirs: Path) -> dict[str, Any]:
        """The spec, as YAML has it; `theirs` is the folder that the adopted map is pinned in."""
        templates: dict[str, Any] = {}
        shared: dict[str, Any] = {}
        outer: dict[str, Any] = {}
        for name, wished_outer in self.outer.items():
            template = dict(wished_outer.template.yaml) | {"max_entries": 8, "update": wished_outer.update}
            template |= _OWNED_KEYS if wished_outer.shares_entries else {}
            template |= _OWNED_MEMBERS if wished_outer.shares_values else {}
            templates[name] = template | ({"on_replace": wished_outer.on_replace} if wished_outer.on_replace else {})
            outer[name] = {
                "type": wished_outer.type,
                "key": "u32",
                "max_entries": wished_outer.room,
                "inner": name,
                "extra_inner_maps": wished_outer.extra,
                "inner_maps": {slot: _slot(name, wished_outer, wished) for slot, wished in wished_outer.slots.items()},
            }
            outer[name] |= (
                {"owned_keys": f"{wished_outer.owned[0]}..{wished_outer.owned[1]}"} if wished_outer.owned else {}
            )
            outer[name] |= {"pin": str(theirs / name)} if name == ADOPTED else {}
            for wished in wished_outer.slots.values():
                if wished.shared:
                    shared[f"{name}_shared"] = {"inner": name} | _filled(wished_outer, wished)
        tree: dict[str, Any] = {"version": 1, "name": "edge"}
        if outer:
            tree |= {"inner_templates": templates, "outer_maps": outer}
        if shared:
            tree["shared_inner_maps"] = shared
        if self.plain is not None:
            entries = {
                key: _value_yaml(PLAIN_KIND, value, shares_values=self.plain_shares_values)
                for key, value in self.plain.items()
            }
            plain = dict(PLAIN_KIND.yaml) | {"max_entries": 8, "entries": entries}
            plain |= _OWNED_MEMBERS if self.plain_shares_values else {}
            plain |= {"exact": {}, "present": {"contents": "present"}, "owned": _OWNED_KEYS}[self.plain_policy]
            tree["maps"] = {PLAIN: plain | {"after": sorted(self.outer)}}
        return tree


PLAIN_KIND: Final = KINDS["padded"]
INITIAL: Final = 5
"""The member of others in new entries."""

_OWNED_KEYS: Final = {"owned_keys": f"{OWNED[0]}..{OWNED[-1]}"}
_OWNED_MEMBERS: Final = {"owned_members": ["a"], "set": {"b": INITIAL}}


def with_other_values(wish: Wish) -> Wish:
    """The same keys with other values."""

    def changed(entries: Mapping[int, int]) -> dict[int, int]:
        return {key: (value + 1) % len(VALUES) for key, value in entries.items()}

    outers = {
        name: replace(
            outer,
            slots={slot: replace(wished, entries=changed(wished.entries)) for slot, wished in outer.slots.items()},
        )
        for name, outer in wish.outer.items()
    }
    return replace(wish, outer=outers, plain=changed(wish.plain) if wish.plain is not None else None)


def of_kind(outer: WishedOuter, kind: str) -> WishedOuter:
    """The same outer map with another kind of inner maps."""
    shares_entries, shares_values = outer.shares_entries and kind != "lpm", outer.shares_values and KINDS[kind].first
    return replace(outer, kind=kind, shares_entries=shares_entries, shares_values=bool(shares_values))


def retyped(outer: WishedOuter) -> WishedOuter:
    """The same outer map of the other type."""
    return replace(outer, type="array_of_maps" if outer.type == "hash_of_maps" else "hash_of_maps")


def resized(outer: WishedOuter, room: int) -> WishedOuter:
    """The same outer map with another max_entries, and only the slots that an array of this size has."""
    slots = {slot: wished for slot, wished in outer.slots.items() if not outer.shape.is_array or slot < room}
    owned = None if outer.owned is not None and outer.shape.is_array and outer.owned[1] >= room else outer.owned
    return replace(outer, room=room, slots=slots, owned=owned)


def _slot(name: str, wished_outer: WishedOuter, wished: WishedSlot) -> dict[str, Any]:
    if wished.shared:
        return {"shared": f"{name}_shared"}
    return _filled(wished_outer, wished) | ({"contents": wished.contents} if wished.contents != "exact" else {})


def _value_yaml(kind: Kind, value: int, *, shares_values: bool) -> Any:
    return {"a": value} if shares_values else kind.value_yaml(value)


def _filled(outer: WishedOuter, wished: WishedSlot) -> dict[str, Any]:
    kind, shares_values = outer.template, outer.shares_values
    entries = {
        kind.key_yaml(key): _value_yaml(kind, value, shares_values=shares_values)
        for key, value in wished.entries.items()
    }
    inner: dict[str, Any] = {"entries": entries} if wished.contents != "ignore" else {}
    return inner if kind.is_fixed else inner | {"max_entries": wished.room}


entries: Final = st.dictionaries(st.sampled_from(KEYS), st.sampled_from(VALUES), max_size=3)
owned_entries: Final = st.dictionaries(st.sampled_from(OWNED), st.sampled_from(VALUES))


@st.composite
def outers(draw: st.DrawFn) -> WishedOuter:
    """An outer map with up to four slots, whose options do not contradict each other."""
    kind = draw(st.sampled_from(sorted(KINDS)))
    shares_values = bool(KINDS[kind].first) and draw(st.sampled_from((True, True, False)))
    owned = draw(st.sampled_from((None, None, (0, 2), (2, 5))))
    numbers = draw(st.sets(st.sampled_from(range(owned[0], owned[1] + 1) if owned else SLOTS), max_size=4))
    shares_entries = kind != "lpm" and draw(st.sampled_from((True, False, False)))
    listed = owned_entries if shares_entries else entries
    shared = WishedSlot(draw(listed), draw(_rooms(kind)), shared=True)
    own = st.builds(
        WishedSlot,
        listed,
        _rooms(kind),
        # An array has all its indexes: those of others look like those that nobody wrote.
        st.sampled_from(("exact",) * 4 + (() if shares_entries else ("present", "ignore"))),
    )
    return WishedOuter(
        draw(st.sampled_from(("hash_of_maps", "array_of_maps"))),
        kind,
        draw(st.sampled_from((6, 8))),
        {slot: draw(own if shares_entries else st.one_of(own, own, own, st.just(shared))) for slot in sorted(numbers)},
        draw(st.sampled_from(("auto", "auto", "in_place", "auto" if shares_values else "replace"))),
        draw(st.sampled_from(("delete", "delete", "delete", "keep", "fail"))),
        draw(st.sampled_from((None, "copy", "drop"))),
        owned,
        shares_entries,
        shares_values,
    )


def _rooms(kind: str) -> st.SearchStrategy[int]:
    return st.just(8) if KINDS[kind].is_fixed else st.sampled_from((8, 8, 16))


@st.composite
def _wishes(draw: st.DrawFn) -> Wish:
    policy = draw(st.sampled_from(("exact", "exact", "present", "owned")))
    plain = draw(st.none() | (owned_entries if policy == "owned" else entries))
    return Wish(
        draw(st.dictionaries(st.sampled_from(OUTER_NAMES), outers(), max_size=2)), plain, policy, draw(st.booleans())
    )


wishes: Final = _wishes()
