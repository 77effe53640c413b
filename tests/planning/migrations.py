"""Maps of any types, and live maps that hold bytes, for tests of migrations: all keys and values are in hex."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from provisioner.codec.layouts import layout_of
from provisioner.codec.recorded import recorded
from provisioner.model import entry_table
from provisioner.model.desired import CONTENTS, Constants, DesiredMap, DesiredSlots, Migration, Sources
from provisioner.model.entry_table import EntryTable
from provisioner.model.errors import InputError, Problem
from provisioner.model.map_shape import MapShape
from provisioner.model.observed import ObservedBlock, ObservedMap, ObservedSlots
from provisioner.model.record import Meta
from provisioner.model.spec import Contents
from provisioner.model.type_expr import TypeExpr
from provisioner.model.type_layout import EntryLayout, TypeLayout
from provisioner.model.types import Bytes, Type
from provisioner.model.uapi import MapType
from provisioner.observed.sources import Depth
from provisioner.planning.hazards import Overrides
from provisioner.planning.plan import Plan
from tests.codec.support import built
from tests.planning import build, states
from tests.planning.build import HERE

Contained = Mapping[str, Mapping[str, str]]
"""Outer key -> key -> value; the outer key of a plain map is empty."""

Kind = str | TypeExpr | Type

_FIRST = 1000
"""The id of the first inner map."""


def le(number: int, size: int = 4) -> str:
    return number.to_bytes(size, "little", signed=number < 0).hex()


def entries(values: Mapping[int, int], key: int = 4, value: int = 4) -> dict[str, str]:
    return {le(number, key): le(content, value) for number, content in values.items()}


def kind(written: Kind) -> Type:
    return written if isinstance(written, Type) else built(written)


def rows(texts: list[str], size: int) -> Bytes:
    return np.frombuffer(bytes.fromhex("".join(texts)), np.uint8).reshape(-1, size)


def table_of(maps: list[Mapping[str, str]], key_size: int, value_size: int) -> EntryTable:
    counts = np.array([len(each) for each in maps], np.int64)
    slot = np.repeat(np.arange(len(counts), dtype=np.int64), counts)
    keys = rows([key for each in maps for key in each], key_size)
    values = rows([value for each in maps for value in each.values()], value_size)
    order = entry_table.sort_by_slot(slot, keys)
    return EntryTable(np.cumsum(counts) - counts, counts, keys[order], values[order])


def migration(*, drop: bool = False, rename: Mapping[str, str] | None = None, **given: Any) -> Migration:
    """`key`, `value` and `outer_key` are types that the spec gives of the live map."""
    none = Constants(np.zeros(0, np.uint8), frozenset())  # `wish` knows the sizes

    def layout(part: str) -> TypeLayout | None:
        return layout_of(kind(given[part])) if part in given else None

    return Migration(drop, rename or {}, none, none, layout("key"), layout("value"), layout("outer_key"), HERE)


def wish(
    state: Contained,
    key: Kind = "u32",
    value: Kind = "u32",
    *,
    outer: Kind | None = "u32",
    inner: MapType = MapType.HASH,
    room: int = 8,
    rooms: Mapping[str, int] | None = None,
    policy: Migration | None = None,
    contents: Contents = Contents.PRESENT,
    **how: Any,
) -> DesiredMap:
    """The map `outer` with these types, which migrates what is live."""
    key_type, value_type = kind(key), kind(value)
    shape = MapShape(inner, key_type.size, value_type.size, room)
    base = build.desired({}, contents=contents, **how)
    table = table_of(list(state.values()), key_type.size, value_type.size)
    outer_type = None if outer is None else kind(outer)
    slots = DesiredSlots(
        rows(list(state), outer_type.size) if outer_type is not None else np.zeros((len(state), 0), np.uint8),
        np.array([(rooms or {}).get(slot, room) for slot in state], np.uint32),
        np.full(len(state), CONTENTS.index(contents), np.uint8),
        np.full(len(state), -1, np.int32),
        tuple(HERE for _ in state),
    )
    assert base.outer is not None
    count, how_ = len(table.keys), policy or migration()
    zeros = (Constants(np.zeros(layout_of(type_).size, np.uint8), frozenset()) for type_ in (key_type, value_type))
    key_set, value_set = (
        given if len(given.row) else none
        for given, none in zip((how_.key_constants, how_.value_constants), zeros, strict=True)
    )
    return replace(
        base,
        shape=shape if outer_type is None else replace(base.shape, key_size=outer_type.size),
        entry_shape=shape,
        outer=None if outer_type is None else replace(base.outer, key=outer_type),
        key=key_type,
        value=value_type,
        slots=slots,
        entries=table,
        sources=Sources(("spec.yaml",), np.zeros(count, np.uint16), np.ones(count, np.uint32)),
        migration=replace(how_, key_constants=key_set, value_constants=value_set),
    )


class Live(states.Held):
    """One live map, `outer`, that holds bytes. `layout` is what the kernel knows of its types: without it, numbers."""

    def __init__(
        self,
        held: Contained,
        key: int = 4,
        value: int = 4,
        *,
        outer: int = 4,
        kind: MapType = MapType.HASH,
        room: int = 8,
        layout: EntryLayout | None = None,
        is_readable: bool = True,
        **shape: Any,
    ) -> None:
        super().__init__()
        self.held = dict(sorted(held.items()))
        self.shape = MapShape(kind, key, value, room, **shape)
        self._is_readable, self.known, self.has_layout = is_readable, layout, layout is not None
        if layout is None and {key, value} <= {1, 2, 4, 8}:
            self.known = EntryLayout(*(layout_of(built(f"u{8 * size}")) for size in (key, value)))
        plain = not outer
        keys = np.zeros((1, 0), np.uint8) if plain else rows(list(self.held), outer)
        numbers = np.array([7] if plain else [_FIRST + at for at in range(len(self.held))], np.uint32)
        shape_ = self.shape if plain else replace(build.OUTER, key_size=outer)
        inner = self.shape if held else None
        self.map = ObservedMap(7, shape_, inner, ObservedSlots(keys, numbers))

    def layout(self, desired_map: DesiredMap) -> EntryLayout | None:  # noqa: ARG002
        return self.known

    def old_blocks(
        self, desired_map: DesiredMap, live: ObservedMap, depth: NDArray[np.uint8]
    ) -> Iterator[ObservedBlock]:
        if not self._is_readable:
            raise InputError(Problem("a snapshot without contents", id="snapshot"))
        yield from self.blocks(desired_map, live, depth)

    def blocks(self, desired_map: DesiredMap, live: ObservedMap, depth: NDArray[np.uint8]) -> Iterator[ObservedBlock]:
        size, held = desired_map.value.size, list(self.held.values())
        for number, inner_id in enumerate(live.slots.inner_ids.tolist()):
            if depth[number] == Depth.NOTHING:
                continue
            part = held[max(0, inner_id - _FIRST)]
            read = part if depth[number] == Depth.ENTRIES else {}
            room = np.array([self.shape.max_entries], np.uint32)
            yield ObservedBlock(number, number + 1, room, table_of([read], self.shape.key_size, size))


def recorded_as(key: Kind, value: Kind, outer: Kind | None = "u32", number: int = 7, **fields: Any) -> Meta:
    """A record that has the types of the map."""
    types = recorded(None if outer is None else kind(outer), kind(key), kind(value))
    return states.record(types={"outer": types}, maps={"outer": number}, pins=("outer",), **fields)


def plan_of(map_: DesiredMap, held: Live, meta: Meta | None = None, **allowed: bool) -> Plan:
    """With a record, the kernel knows the types that it is given alone."""
    if meta is not None and not held.has_layout:
        held.known = None
    seen = states.live(meta=meta or states.record(pins=("outer",)), maps={"outer": held.map})
    return states.plan_of(states.wanted(map_), seen, held, Overrides(**allowed))
