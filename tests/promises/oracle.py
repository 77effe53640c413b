"""What must be live after an apply, worked out from the wish and from what was live before; knows nothing of plans."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from typing import Final

from provisioner.model.map_shape import MapShape
from provisioner.model.pins import META_PIN
from tests.promises.hands import CPUS, Live, LiveInner, LiveMap
from tests.promises.wishes import (
    ADOPTED,
    INITIAL,
    OWNED,
    PLAIN,
    PLAIN_KIND,
    Kind,
    Wish,
    WishedOuter,
    WishedSlot,
)

ANOTHER_KIND: Final = "a pin is of a program or a link"
"""Why an apply is refused before anything is compared."""

UNSEEN_TEMPLATE: Final = "the template of an empty outer map differs"
"""What a plan does not see: an apply probes."""


def wrong(
    wish: Wish, before: Live, after: Live, *, prune: bool = False, recreate: str = "", made: Collection[int] = ()
) -> Iterator[str]:
    """What an apply that ended well did not do, or did beyond what it was asked.

    `recreate` is the address of an outer map or a slot that was to be recreated although nothing differs. `made` are
    the outer maps that applies have made: the slots of another one need not be carried over.
    """
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
            what = before.get(name)
            read = [what]
            if what is not None and what.id not in made and after[name].id != what.id:
                read.append(None)
            again = recreate.removeprefix(name) if recreate.partition("[")[0] == name else None
            sharers = _sharers(wish, before)
            faults = min((list(_outer(wished, each, after[name], sharers, again)) for each in read), key=len)
            yield from (f"{name}{text}" for text in faults)
    if wish.plain is not None:
        live = after.get(PLAIN)
        if live is None:
            yield f"{PLAIN} is missing"
        else:
            held = _plain(wish, before.get(PLAIN), live)
            if _meaning(PLAIN_KIND, live.entries) != _meaning(PLAIN_KIND, held):
                yield f"{PLAIN} holds {live}, not {held}"
            if wish.plain_shares_values:
                kept = before[PLAIN].entries if PLAIN in before and before[PLAIN].id == live.id else {}
                yield from (f"{PLAIN} {text}" for text in _written_over(PLAIN_KIND, kept, live.entries))
    yield from _shared_by_chance(wish, after)


def _plain(wish: Wish, before: LiveMap | None, after: LiveMap) -> dict[bytes, bytes]:
    """What the plain map must hold: what is listed, and of others what policy keeps, unless it was recreated."""
    kind, entries = PLAIN_KIND, wish.plain or {}
    live = before.entries if before is not None and before.id == after.id else {}
    if wish.plain_shares_values:
        listed = {kind.key(key): _merged(kind, value, live.get(kind.key(key))) for key, value in entries.items()}
    else:
        listed = {kind.key(key): kind.value(value, CPUS) for key, value in entries.items()}
    others = {k: value for k, value in live.items() if k not in listed and not deletes(kind, wish.plain_policy, k)}
    return others | listed


def _merged(kind: Kind, value: int, live: bytes | None) -> bytes:
    """A value of which only the member `a` is ours: the rest is what it is in the live one, if there is one."""
    if live is None:
        return kind.value(value, CPUS, other=INITIAL)
    ours = kind.value(value, CPUS, other=0)
    return bytes(mine | other for mine, other in zip(ours, kind.rest(live), strict=True))


def has_written_members(wish: Wish, before: Live, after: Live) -> bool:
    """Whether the member of others stayed in an entry of which ours changed."""
    return any(
        any(kind.rest(value)) and live[key] != value
        for name, outer in wish.outer.items()
        if outer.shares_values and name in before
        for kind in (outer.template,)
        for slot, inner in before[name].slots.items()
        if (now := after[name].slots.get(slot)) is not None and now.id == inner.id
        for live in (now.entries,)
        for key, value in inner.entries.items()
        if key in live
    )


def _written_over(kind: Kind, before: Mapping[bytes, bytes], after: Mapping[bytes, bytes]) -> Iterator[str]:
    """Entries of a map that stays in which bytes of others changed, be it padding."""
    for key in before.keys() & after.keys():
        if kind.rest(before[key]) != kind.rest(after[key]):
            yield f"entry {key.hex()} was {before[key].hex()} and is {after[key].hex()}"


def deletes(kind: Kind, policy: str, key: bytes) -> bool:
    """Whether a live entry that is not listed is deleted. `policy` is `exact`, `present`, `ignore` or `owned`."""
    return policy == "exact" or (policy == "owned" and key in {kind.key(number) for number in OWNED})


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


def _sharers(wish: Wish, live: Live) -> Counter[int]:
    """How many slots hold each inner map, of the maps in the pin root and those that are wished for elsewhere."""
    seen = (each for name, each in live.items() if name != ADOPTED or name in wish.outer)
    return Counter(inner.id for each in seen for inner in each.slots.values())


def _shared_by_chance(wish: Wish, after: Live) -> Iterator[str]:
    """No declared slot may hold a map that another slot holds too, unless both are declared so."""
    holders = _sharers(wish, after)
    for name, wished in wish.outer.items():
        live = after[name].slots if name in after else {}  # a slot that is missing is named elsewhere
        there = {slot: it for slot, it in wished.slots.items() if slot in live}
        declared = Counter(live[slot].id for slot, it in there.items() if it.shared)
        if len(declared) > 1:
            yield f"{name}: its shared inner map is {len(declared)} maps"
        for slot, wished_slot in there.items():
            number = live[slot].id
            expected = declared[number] if wished_slot.shared else 1
            if holders[number] != expected:
                yield f"{name}[{slot}] holds map {number}, which {holders[number]} slots hold"


def _outer(
    wished: WishedOuter, before: LiveMap | None, after: LiveMap, sharers: Counter[int], again: str | None
) -> Iterator[str]:
    """`again` is the part of the map that is recreated on request: empty for the whole, None for nothing."""
    if after.shape != wished.shape:
        yield f" is a {after.shape}"
    resized = before is not None and before.shape != wished.shape and takes_inner_maps(wished, before)
    if before is not None and again == "" and before.id == after.id:
        yield " was not recreated"
    if before is not None and before.id != after.id and (again == "" or not resized):
        if again != "" and before.slots and is_compatible(wished, before) and not before.frozen:
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
            requested = again == f"[{slot}]" or (
                wished_slot.shared and any(again == f"[{it}]" for it in wished.sharing)
            )
            what = slots.get(slot)
            yield from (
                f"[{slot}] {text}" for text in _slot(wished, wished_slot, what, after.slots[slot], sharers, requested)
            )


def is_compatible(wished: WishedOuter, before: LiveMap) -> bool:
    """Whether the live outer map can become the wished wished; an empty wished tells nothing."""
    return before.shape == wished.shape and takes_inner_maps(wished, before)


def takes_inner_maps(wished: WishedOuter, before: LiveMap) -> bool:
    """The same, but for its size and type: a new map takes its inner maps over, a hash's into an array and back."""
    shapes = {inner.shape.with_capacity(0) for inner in before.slots.values()}
    keys = before.shape.key_size, wished.shape.key_size
    return before.shape.is_outer and keys[0] == keys[1] and shapes <= {wished.template.shape.with_capacity(0)}


def _slot(
    wished: WishedOuter,
    wished_slot: WishedSlot,
    before: LiveInner | None,
    after: LiveInner,
    sharers: Counter[int],
    requested: bool,
) -> Iterator[str]:
    """`requested` says that the inner map is recreated although nothing differs."""
    kind = wished.template
    shape = _room(kind, wished_slot)
    if after.shape != shape:
        yield f"is a {after.shape}"
    kept = before is not None and before.id == after.id
    source = before if kept or wished.on_replace == "copy" else None
    declared = _declared(wished, wished_slot, source)
    others = others_of(wished, wished_slot, source) if source is not None else {}
    if wished_slot.shared and wished.shares_values and not kept:  # the rest is that of any map that it replaces
        if {key: value[:1] for key, value in after.entries.items() if value[:1] != b"\0"} != {
            key: value[:1] for key, value in declared.items() if value[:1] != b"\0"
        }:
            yield f"holds {after.entries}, not {declared}"
    elif _meaning(kind, after.entries) != _meaning(kind, {**others, **declared}):
        yield f"holds {after.entries}, not {declared} and {others}"
    if kept and before is not None and wished.shares_values:
        yield from _written_over(kind, before.entries, after.entries)
    if requested and kept:
        yield "was not recreated"
    if before is None or wished_slot.shared or requested:
        return
    same = before.shape == shape and sharers[before.id] == 1
    equal = _meaning(kind, before.entries) == _meaning(kind, after.entries)
    if same and equal and before != after:
        yield f"changed from {before} to {after} for no reason"
    if same and not equal and kept != (wished.in_place and not before.frozen):
        yield f"was {'written in place' if kept else 'replaced'}, against its `update`"
    if kept and not same:
        yield f"is still {before}, which another process holds too, or which has other room"
    for key, value in before.entries.items():
        now = after.entries.get(key, value)
        if kept and kind.meaning(value) == kind.meaning(now) and now != value:
            yield f"entry {key.hex()} was written though nothing but its padding differs"


def _declared(wished: WishedOuter, wished_slot: WishedSlot, source: LiveInner | None) -> dict[bytes, bytes]:
    """The entries that a slot lists. `source` is the live map that is written in place, or copied."""
    kind = wished.template
    if wished_slot.contents == "ignore":
        return {}
    if not wished.shares_values:
        return {kind.key(key): kind.value(value, CPUS) for key, value in wished_slot.entries.items()}
    live = source.entries if source is not None else {}
    element = bytes(kind.shape.value_size) if source is not None and kind.shape.is_array else None
    return {
        kind.key(key): _merged(kind, value, live.get(kind.key(key), element))
        for key, value in wished_slot.entries.items()
    }


def others_of(wished: WishedOuter, wished_slot: WishedSlot, before: LiveInner) -> dict[bytes, bytes]:
    """The live entries of a slot that are not listed, and that policy keeps."""
    kind = wished.template
    listed = set() if wished_slot.contents == "ignore" else {kind.key(key) for key in wished_slot.entries}
    policy = "exact" if wished_slot.shared else wished.policy_of(wished_slot)
    stays = {k: value for k, value in before.entries.items() if k not in listed and not deletes(kind, policy, k)}
    if not wished.shares_values or not kind.shape.is_array:
        return stays
    # The elements of an array stay, with the members of others.
    return stays | {k: kind.rest(value) for k, value in before.entries.items() if k not in listed and k not in stays}


def crowded(wish: Wish, before: Live) -> Iterator[str]:
    """The addresses of outer maps, slots and plain maps in which what stays and what is new may exceed their room."""
    for name, outer in wish.outer.items():
        live = before.get(name)
        if live is None or not takes_inner_maps(outer, live):
            continue
        stay = [slot for slot in live.slots if slot not in outer.slots and not outer.deletes(slot)]
        if len(stay) + len(outer.slots) > outer.room or (outer.shape.is_array and max(stay, default=0) >= outer.room):
            yield name
            yield from (f"{name}[{slot}]" for slot in outer.slots if slot not in live.slots)
        for slot in outer.slots.keys() & live.slots.keys():
            inner, wished = live.slots[slot], outer.slots[slot]
            listed = 0 if wished.contents == "ignore" else len(wished.entries)
            if listed + len(others_of(outer, wished, inner)) > min(inner.shape.max_entries, wished.room):
                yield f"{name}[{slot}]"
    plain = before.get(PLAIN)
    like_plain = plain is not None and plain.shape.with_capacity(0) == PLAIN_KIND.shape.with_capacity(0)
    if wish.plain is not None and plain is not None and like_plain:
        held = _plain(wish, plain, plain)
        if len(held) > plain.shape.max_entries:
            yield PLAIN


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
