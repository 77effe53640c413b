"""What must be live after an apply, worked out from the wish and from what was live before; knows nothing of plans."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Final

from provisioner.model.map_shape import MapShape
from provisioner.model.pins import META_PIN
from tests.promises.hands import CPUS, Live, LiveInner, LiveMap
from tests.promises.wishes import ADOPTED, KINDS, PLAIN, Kind, Wish, WishedOuter, WishedSlot

ANOTHER_KIND: Final = "a pin is of a program or a link"
"""Why an apply is refused before anything is compared."""

UNSEEN_TEMPLATE: Final = "the template of an empty outer map differs"
"""What a plan does not see: an apply probes."""


def wrong(wish: Wish, before: Live, after: Live, *, prune: bool) -> Iterator[str]:
    """What an apply that ended well did not do, or did beyond what it was asked."""
    ours = {*wish.outer, META_PIN} | ({PLAIN} if wish.plain is not None else set())
    for name in before.keys() & after.keys() & ours:
        if before[name].kind != "map":
            yield f"{name} was a pinned {before[name].kind}, and something took its place"
    for name in before.keys() - ours:
        if not prune or name == ADOPTED:
            if after.get(name) != before[name]:
                yield f"{name} is not ours, and changed"
        elif name in after:
            yield f"{name} is still there, though it was to be pruned"
    if ADOPTED in after and (ADOPTED not in before or before[ADOPTED].id != after[ADOPTED].id):
        yield f"{ADOPTED} was made by us"
    for name in after.keys() - before.keys() - ours:
        yield f"{name} came from nowhere"
    for name, wished in wish.outer.items():
        if name not in after:
            yield f"{name} is missing"
        else:
            yield from (f"{name}{what}" for what in _outer(wished, before.get(name), after[name], _sharers(before)))
    if wish.plain is not None:
        live = after.get(PLAIN)
        wanted = {KINDS["hash"].key(key): KINDS["hash"].value(value, CPUS) for key, value in wish.plain.items()}
        if live is None or live.entries != wanted:
            yield f"{PLAIN} holds {live}"
    yield from _shared_by_chance(wish, after)


def wrong_destroyed(wish: Wish, before: Live, after: Live) -> Iterator[str]:
    """What a destroy that ended well left, or took beyond what is the project's: of the adopted map, its slots."""
    yield from (f"{name} is still there" for name in after.keys() - {ADOPTED})
    if ADOPTED not in before:
        return
    live = before[ADOPTED]
    if ADOPTED in wish.outer:
        wished = wish.outer[ADOPTED]
        kept = {
            slot: inner for slot, inner in live.slots.items() if slot not in wished.slots and not wished.deletes(slot)
        }
        live = replace(live, slots=kept)
    if after.get(ADOPTED) != live:
        yield f"{ADOPTED} is {after.get(ADOPTED)}, not {live}"


def _sharers(live: Live) -> Counter[int]:
    """How many slots hold each inner map."""
    return Counter(inner.id for one in live.values() for inner in one.slots.values())


def _shared_by_chance(wish: Wish, after: Live) -> Iterator[str]:
    """No declared slot may hold a map that another slot holds too, unless both are declared so."""
    holders = _sharers(after)
    for name, wished_outer in wish.outer.items():
        declared = Counter(after[name].slots[slot].id for slot, it in wished_outer.slots.items() if it.shared)
        if len(declared) > 1:
            yield f"{name}: its shared inner map is {len(declared)} maps"
        for slot, wished in wished_outer.slots.items():
            number = after[name].slots[slot].id
            expected = declared[number] if wished.shared else 1
            if holders[number] != expected:
                yield f"{name}[{slot}] holds map {number}, which {holders[number]} slots hold"


def _outer(wished: WishedOuter, before: LiveMap | None, after: LiveMap, sharers: Counter[int]) -> Iterator[str]:
    if after.shape != wished.shape:
        yield f" is a {after.shape}"
    if before is not None and before.id != after.id:
        if before.slots and is_compatible(wished, before) and not before.frozen:
            yield " was recreated for no reason"
        before = None
    slots = before.slots if before is not None else {}
    for slot in slots.keys() - wished.slots.keys():
        if wished.deletes(slot):
            if slot in after.slots:
                yield f"[{slot}] is still there"
        elif after.slots.get(slot) != slots[slot]:
            yield f"[{slot}] is not ours, and changed"
    for slot in after.slots.keys() - slots.keys() - wished.slots.keys():
        yield f"[{slot}] came from nowhere"
    for slot, wished_slot in wished.slots.items():
        if slot not in after.slots:
            yield f"[{slot}] is missing"
        else:
            yield from (
                f"[{slot}] {what}" for what in _slot(wished, wished_slot, slots.get(slot), after.slots[slot], sharers)
            )


def is_compatible(wished: WishedOuter, before: LiveMap) -> bool:
    """Whether the live outer map can become the wished one; an empty one tells nothing."""
    shapes = {inner.shape.with_capacity(0) for inner in before.slots.values()}
    return before.shape == wished.shape and shapes <= {wished.template.shape.with_capacity(0)}


def _slot(
    wished: WishedOuter, wished_slot: WishedSlot, before: LiveInner | None, after: LiveInner, sharers: Counter[int]
) -> Iterator[str]:
    kind = wished.template
    shape = _room(kind, wished_slot)
    if after.shape != shape:
        yield f"is a {after.shape}"
    declared = {kind.key(key): kind.value(value, CPUS) for key, value in wished_slot.entries.items()}
    if wished_slot.contents == "ignore":
        declared = {}
    listed = set(declared)
    if kind.shape.is_array:
        declared = {key: value for key, value in declared.items() if any(value)}
    kept = before is not None and before.id == after.id
    others: Mapping[bytes, bytes] = {}
    if (
        before is not None
        and wished_slot.contents != "exact"
        and not wished_slot.shared
        and (kept or wished.on_replace == "copy")
    ):
        others = {key: value for key, value in before.entries.items() if key not in listed}
    if _meaning(kind, after.entries) != _meaning(kind, {**others, **declared}):
        yield f"holds {after.entries}, not {declared} and {others}"
    if before is None or wished_slot.shared:
        return
    same = before.shape == shape and sharers[before.id] == 1
    equal = _meaning(kind, before.entries) == _meaning(kind, after.entries)
    if same and equal and before != after:
        yield f"changed from {before} to {after} for no reason"
    if same and not equal and kept != (wished.in_place and not before.frozen):
        yield f"was {'written in place' if kept else 'replaced'}, against its `update`"
    if kept and not same:
        yield f"is still {before}, which somebody else holds too, or which has other room"
    for key, value in before.entries.items():
        now = after.entries.get(key, value)
        if kept and kind.meaning(value) == kind.meaning(now) and now != value:
            yield f"entry {key.hex()} was written though nothing but its padding differs"


def _room(kind: Kind, wished_slot: WishedSlot) -> MapShape:
    return kind.shape if kind.is_fixed else kind.shape.with_capacity(wished_slot.room)


def _meaning(kind: Kind, entries: Mapping[bytes, bytes]) -> dict[bytes, bytes]:
    return {key: kind.meaning(value) for key, value in entries.items() if any(value) or not kind.shape.is_array}


def excuses(wish: Wish, before: Live, templates: Mapping[int, Kind]) -> Iterator[str]:
    """Why an apply may fail although no rule is against it: the kernel refuses, and nobody could have known.

    `templates` are the kinds of inner map that outer maps were made for, by id.
    """
    for name in (*wish.outer, *([PLAIN] if wish.plain is not None else [])):
        if name in before and before[name].kind != "map":
            yield ANOTHER_KIND
    for name, wished in wish.outer.items():
        live = before.get(name)
        if live is None or live.kind != "map":
            continue
        if not live.slots and live.id in templates and templates[live.id] != wished.template:
            yield UNSEEN_TEMPLATE
