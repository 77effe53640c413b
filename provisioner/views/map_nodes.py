"""Maps and their slots as nodes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import numpy as np

from provisioner.codec.display import format_value
from provisioner.codec.owned import Owned, member_names
from provisioner.model.desired import DesiredMap
from provisioner.model.entry_table import Index
from provisioner.model.map_shape import MapShape
from provisioner.model.observed import ObservedMap
from provisioner.model.overlays import Fields
from provisioner.model.spec import Contents
from provisioner.model.types import Bytes, Value
from provisioner.model.uapi import flag_names
from provisioner.model.words import plural
from provisioner.planning import resize
from provisioner.planning.changes import Action, MapChange, Reason
from provisioner.planning.counts import EntryCounts, entry_counts
from provisioner.report.model import Children, Kind, Limits, Node, Verb
from provisioner.report.overlaid import with_source
from provisioner.views import entry_nodes, migration

VERBS: Final = {
    Action.CREATE: Verb.CREATE,
    Action.UPDATE: Verb.UPDATE,
    Action.REPLACE: Verb.REPLACE,
    Action.DELETE: Verb.DELETE,
}
"""The actions that a report lists; UNCHANGED and KEEP are left out."""

_PRIORITY: Final = np.array([4, 3, 2, 1, 0, 4], np.uint8)
"""By Action: a list of slots that is cut shows deletes first and new slots last."""

REASONS: Final = {
    Reason.NONE: "",
    Reason.NEW: "it does not exist",
    Reason.ENTRIES: "its entries differ",
    Reason.CAPACITY: "max_entries differs",
    Reason.TORN_READ: "array values over 8 bytes are not updated atomically",
    Reason.UNDECLARED_SHARE: "its inner map is shared in another way than in the spec",
    Reason.NOT_IN_SPEC: "not in the spec",
    Reason.SHARE: "it shares an inner map with a slot that changes",
    Reason.ASKED: "the spec has `update: replace`",
    Reason.TEMPLATE: "the outer map is recreated",
    Reason.NOT_OWNED: "its key is outside `owned_keys`",
    Reason.FROZEN: "its inner map is frozen",
    Reason.PRESET: "the spec lists this slot, and it has a map of the object",
    Reason.OBJECT_MAP: "the slot does not have the object's map",
    Reason.REQUESTED: "requested by --replace",
    Reason.DESTROYED: "it is destroyed by --target",
    Reason.NOT_TARGETED: "--target limits the plan to other slots",
}

_PIECE: Final = 256


def map_node(change: MapChange, limits: Limits, action: Action) -> Node | None:
    """A map and its changes; None without changes. `action` is the action on the map itself."""
    if action not in VERBS:
        return None
    desired = change.desired
    verb = VERBS[action]
    text = what_it_is(desired)
    if desired.outer is None:
        children = _plain_entries(change, limits)
        if verb is Verb.CREATE and children is not None:
            text += f", {plural(children.total, 'entry', 'entries')}"
    else:
        children = _slots(change, limits)
        if verb is Verb.CREATE:
            text += f", {plural(desired.shape.max_entries, 'slot')}"
        if verb is Verb.DELETE:
            text += f", {plural(children.total, 'inner map')}"
    text += _filled_in(desired) if verb in (Verb.CREATE, Verb.REPLACE) else ""
    if verb is Verb.DELETE and change.observed is not None and change.observed.shape.map_type != desired.shape.map_type:
        text += f"; live it is a {change.observed.shape.map_type.word}"
    if verb is Verb.REPLACE:
        text += f"; replace: {change.reason}"
        text += f", {plural(len(resize.carried(change)), 'inner map')} carried over" if change.resized else ""
        text += f"; {moved}" if (moved := migration.described(change)) else ""
    overlays = desired.sources.overlays
    source, fields = overlays.place(desired.where), {} if verb is Verb.DELETE else overlays.fields(desired.where)
    return Node(
        kind_of(desired),
        verb,
        change.name,
        change.name,
        with_source(text, source, fields),
        change.reason,
        before=None if change.observed is None else live_value(desired, change.observed),
        after=None if verb is Verb.DELETE else {**_wanted_value(desired), **migration.as_value(change)},
        entries=entry_counts(change),
        children=children,
        source=source,
        sources=fields,
    )


def _filled_in(desired: DesiredMap) -> str:
    """The flags of a new map that the spec does not name, but its type needs."""
    names = ", ".join(flag_names(desired.filled_flags))
    return f"; filled in: {names}" if names else ""


def _wanted_value(desired: DesiredMap) -> dict[str, Value]:
    """The shape of a desired map in JSON; `filled_flags` are the flags that the spec does not name."""
    value = shape_value(desired.shape, desired.entry_shape)
    assert isinstance(value, dict)
    if desired.filled_flags:
        entry_value = value["inner"] if desired.shape.is_outer else value
        assert isinstance(entry_value, dict)
        entry_value["filled_flags"] = flag_names(desired.filled_flags)
    return _with_owned_members(desired, value)


def live_value(desired: DesiredMap, live: ObservedMap) -> dict[str, Value]:
    """The shape of a live map in JSON."""
    value = shape_value(live.shape, live.entry_shape)
    assert isinstance(value, dict)
    return _with_owned_members(desired, value)


def _with_owned_members(desired: DesiredMap, value: dict[str, Value]) -> dict[str, Value]:
    """A shape in JSON with the members of values that are ours, and those of other writers, if there are any."""
    entry_value = value.get("inner", value)
    if isinstance(desired.value, Owned) and isinstance(entry_value, dict):
        entry_value["owned_members"] = list(member_names(desired.value.ours))
        entry_value["other_members"] = list(member_names(desired.value.theirs))
    return value


def kind_of(desired: DesiredMap) -> Kind:
    return Kind.MAP if desired.outer is None else Kind.OUTER_MAP


def what_it_is(desired: DesiredMap) -> str:
    """`hash_of_maps u32 -> lpm_trie acl`, and its object or pin."""
    if desired.outer is not None:
        text = (
            f"{desired.shape.map_type.word} {desired.outer.key.describe()} -> "
            f"{desired.entry_shape.map_type.word} {desired.outer.template_name}"
        )
    else:
        text = f"{desired.shape.map_type.word} {desired.key.describe()} -> {desired.value.describe()}"
    if isinstance(desired.value, Owned):
        text = f"{text}, owned members {', '.join(member_names(desired.value.ours))}"
    if desired.place is not None:
        text = f"{text} pinned at {desired.place}"
    if desired.object is not None:
        return f"{text} ({', '.join(desired.objects)})"
    return f"{text} at {desired.adopted}" if desired.adopted is not None else text


def shape_value(shape: MapShape, inner: MapShape | None) -> Value:
    """A shape in JSON; that of an outer map has the shape of its inner maps, None if it is unknown."""
    value: dict[str, Value] = {
        "type": shape.map_type.word,
        "key_size": shape.key_size,
        "value_size": shape.value_size,
        "max_entries": shape.max_entries,
        "map_flags": shape.map_flags.value,
    }
    if shape.specials:
        value["special_fields"] = [{"kind": one.kind, "offset": one.offset} for one in shape.specials]
    if shape.is_outer:
        value["inner"] = None if inner is None else shape_value(inner, None)
    return value


def slot_labels(desired: DesiredMap, keys: Bytes) -> Iterator[tuple[str, Value]]:
    """`[42]` and the decoded key of each slot."""
    assert desired.outer is not None
    for key in entry_nodes.plain_values(desired.outer.key, keys):
        yield f"[{format_value(key)}]", key


def _plain_entries(change: MapChange, limits: Limits) -> Children | None:
    match Action(int(change.slots.action[0])):
        case Action.CREATE:
            return entry_nodes.inserted(change.desired, 0, change.name, limits.entries)
        case Action.UPDATE | Action.REPLACE:
            return entry_nodes.changed(change, 0, change.name, limits.entries)
        case _:
            return None


def _slots(change: MapChange, limits: Limits) -> Children:
    changed = np.flatnonzero(np.isin(change.slots.action, list(VERBS)))
    rows: Index = changed[entry_nodes.pick(_PRIORITY[change.slots.action[changed]], limits.slots)].astype(np.int64)

    gone = len(change.unfit.addresses)
    shown = gone if limits.slots is None else min(gone, max(0, limits.slots - len(rows)))

    def make() -> Iterator[Node]:
        for start in range(0, len(rows), _PIECE):
            piece = rows[start : start + _PIECE]
            labels = slot_labels(change.desired, change.slots.keys[piece])
            for row, (label, key) in zip(piece.tolist(), labels, strict=True):
                yield _slot(change, row, label, key, limits)
        for number in range(shown):
            yield _unfit(change, number)

    return Children(Kind.INNER_MAP, len(changed) + gone, len(rows) + shown, make)


def _unfit(change: MapChange, number: int) -> Node:
    """A slot that goes with its old key, which the new map cannot have."""
    address, entries = change.unfit.addresses[number], change.unfit.entries[number]
    live = change.observed.entry_shape if change.observed is not None else None
    is_listable = live is not None and live.is_listable
    text = "; ".join([plural(entries, "entry", "entries")] * is_listable + ["its key does not fit the new type"])
    before = {"id": change.unfit.inner_ids[number], "max_entries": None, "entries": entries if is_listable else None}
    label, reason = address.removeprefix(change.name), REASONS[Reason.NOT_IN_SPEC]
    counts = EntryCounts(delete=entries)
    return Node(Kind.INNER_MAP, Verb.DELETE, address, label, text, reason, before, entries=counts)


def _slot(change: MapChange, row: int, label: str, key: Value, limits: Limits) -> Node:
    slots, desired = change.slots, change.desired
    address = f"{change.name}{label}"
    counts = EntryCounts(
        *(int(column[row]) for column in (slots.inserts, slots.updates, slots.deletes, slots.unchanged))
    )
    verb = VERBS[Action(int(slots.action[row]))]
    reason = slot_reason(change, row)
    wanted = int(slots.desired[row])
    children: Children | None = None
    match verb:
        case Verb.CREATE:
            children = entry_nodes.inserted(desired, wanted, address, limits.entries)
            text = _new(desired, wanted)
        case Verb.UPDATE:
            children = entry_nodes.changed(change, row, address, limits.entries)
            text = "in place"
        case Verb.REPLACE:
            children = entry_nodes.changed(change, row, address, limits.entries)
            text = f"replace: {reason}"
            member = desired.member_of(wanted)
            text += f" {member}" if member is not None else ""
        case _:
            text = plural(counts.delete, "entry", "entries") if _was_read(change, row) else ""
    before = _before(change, row)
    after = None if wanted < 0 or verb is Verb.DELETE else _after(desired, wanted)
    source, fields = _decided(desired, wanted)
    text = with_source(text, source, fields)
    return Node(
        Kind.INNER_MAP, verb, address, label, text, reason, before, after, key, counts, children, source, fields
    )


def _decided(desired: DesiredMap, slot: int) -> tuple[str, Fields]:
    """The place in an overlay that declares a slot, and those of its fields; -1 means no slot.

    Slots of `default` have the place of the outer map, and no fields of their own.
    """
    if slot < 0:
        return "", {}
    overlays, where = desired.sources.overlays, desired.slots.places[slot]
    return overlays.place(where), {} if where == desired.where else overlays.fields(where)


def slot_reason(change: MapChange, row: int) -> str:
    """Why a slot changes, in words; empty if it does not."""
    if change.action is Action.DELETE:
        return change.reason
    reason = Reason(int(change.slots.reason[row]))
    if reason is Reason.CAPACITY:
        after = change.desired.slots.max_entries[change.slots.desired[row]]
        return f"max_entries {change.slots.capacity_before[row]} -> {after}"
    return REASONS[reason]


def _new(desired: DesiredMap, slot: int) -> str:
    """A new inner map: the number of its entries, and its differences from the template."""
    member = desired.member_of(slot)
    if member is not None:
        return f"the object's map {member}"
    count = plural(int(desired.entries.counts[slot]), "entry", "entries")
    parts = ["contents: ignore" if desired.slots.policy(slot) is Contents.IGNORE else count]
    capacity = int(desired.slots.max_entries[slot])
    if capacity != desired.entry_shape.max_entries:
        parts.append(f"max_entries {capacity}")
    share = _share(desired, slot)
    if share is not None:
        parts.append(f"shared {share}")
    return ", ".join(parts)


def _share(desired: DesiredMap, slot: int) -> str | None:
    share = int(desired.slots.shared[slot])
    return desired.outer.shared_names[share] if desired.outer is not None and share >= 0 else None


def _before(change: MapChange, row: int) -> Value:
    """The live inner map; its capacity and its number of entries are None if they were not read."""
    number = int(change.slots.observed[row])
    if change.observed is None or number < 0:
        return None
    slots = change.slots
    count = int(slots.unchanged[row] + slots.updates[row] + slots.deletes[row])
    return {
        "id": int(change.observed.slots.inner_ids[number]),
        "max_entries": int(slots.capacity_before[row]) or None,
        "entries": count if _was_read(change, row) else None,
    }


def _was_read(change: MapChange, row: int) -> bool:
    """Whether the entries of a live inner map were read. They are not with `contents: ignore` or without a list."""
    desired, wanted = change.desired, int(change.slots.desired[row])
    if not desired.entry_shape.is_listable or not change.slots.capacity_before[row]:
        return False
    return wanted < 0 or desired.slots.policy(wanted) is not Contents.IGNORE


def _after(desired: DesiredMap, slot: int) -> Value:
    member = desired.member_of(slot)
    if member is not None:
        return {"object_map": member}
    return {
        "max_entries": int(desired.slots.max_entries[slot]),
        "entries": int(desired.entries.counts[slot]),
        "contents": desired.slots.policy(slot).value,
        "shared": _share(desired, slot),
    }
