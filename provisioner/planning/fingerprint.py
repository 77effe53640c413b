"""What binds a saved plan to what it was made of: digests of what is wanted, and of what was seen. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping

import numpy as np

from provisioner.model.desired import DesiredMap, Migration
from provisioner.model.observed import ObservedMap
from provisioner.model.record import Meta
from provisioner.planning.changes import Change, LinkChange, MapChange, ObjectChange
from provisioner.planning.hazards import replaced_with_others

Part = tuple[str, str]
"""Digests of one address: of what the spec and its tables want, and of what is live and would be done about it."""


def digest(project: str, pin_root: str, meta: Meta, changes: Iterable[Change], wishes: Iterable[str]) -> str:
    """One digest over all: equal plans have equal digests, on any day. `wishes` are those that are in no change."""
    return finished(begun(project, pin_root, meta), fingerprints(changes), wishes)


def begun(project: str, pin_root: str, meta: Meta) -> hashlib._Hash:
    """The beginning of a digest, which is the same for all plans of one record."""
    return hashlib.sha256(f"{project}\n{pin_root}\n{meta.to_json()}\n".encode())


def finished(total: hashlib._Hash, parts: Mapping[str, Part], wishes: Iterable[str]) -> str:
    """The digest of a plan, with the parts of its changes by address."""
    for address, part in parts.items():
        total.update(repr((address, part)).encode())
    for wish in wishes:
        total.update(wish.encode())
    return "sha256:" + total.hexdigest()


def fingerprints(changes: Iterable[Change]) -> dict[str, Part]:
    """A part for each map, object and link, by its address."""
    return dict(_part(change) for change in changes)


def _part(change: Change) -> tuple[str, Part]:
    wanted, seen = hashlib.sha256(), hashlib.sha256()
    match change:
        case MapChange():
            address = change.name
            feed_declaration(wanted, change.desired)
            _feed_contents(wanted, change.desired)
            if replaced_with_others(change):  # otherwise these decide nothing
                wanted.update(repr((change.desired.on_replace, change.desired.on_conflict)).encode())
            seen.update(repr((change.action, change.reason)).encode())
            if change.observed is not None:
                seen.update(live_words(change.observed))
                seen.update(change.observed.slots.keys.tobytes())
                seen.update(change.observed.slots.inner_ids.tobytes())
                seen.update(repr(change.unfit).encode() if change.unfit.addresses else b"")
            for column in (change.slots.action, change.entries.action, change.entries.keys, change.entries.before):
                seen.update(np.ascontiguousarray(column).tobytes())
        case ObjectChange():
            address = f"object {change.name}"
            wanted.update(change.desired.digest.encode())
            wanted.update(repr(change.desired.recorded_settings).encode())
            for section in change.desired.variables:
                wanted.update(repr([(each.name, each.data) for each in section.variables]).encode())
            seen.update(repr((change.action, change.carried, change.fresh, change.borrowed)).encode())
            seen.update(repr([(each.name, each.before) for each in change.variables]).encode())
        case LinkChange():
            address = change.pin
            seen.update(repr((change.action, change.observed)).encode())
    return address, part_of(wanted, seen)


def part_of(wanted: hashlib._Hash, seen: hashlib._Hash) -> Part:
    """The part of one address."""
    return wanted.hexdigest()[:32], seen.hexdigest()[:32]


def _migration(migration: Migration) -> tuple[object, ...]:
    constants = migration.key_constants.row.tobytes(), migration.value_constants.row.tobytes()
    return (
        migration.drop,
        sorted(migration.rename.items()),
        constants,
        migration.key,
        migration.value,
        migration.outer_key,
    )


def live_words(live: ObservedMap) -> bytes:
    """The live map, apart from its contents."""
    return repr((live.id, live.shape)).encode()


def feed_declaration(total: hashlib._Hash, desired: DesiredMap) -> None:
    """What is wanted of a map, apart from its contents."""
    total.update(repr(desired.outer.members if desired.outer is not None else ()).encode())
    total.update(repr((desired.shape, desired.entry_shape, desired.object, desired.adopted, desired.place)).encode())
    total.update(repr(desired.migration and _migration(desired.migration)).encode())
    if desired.value.owns_part:
        total.update(desired.value.owned.mask().tobytes())


def _feed_contents(total: hashlib._Hash, desired: DesiredMap) -> None:
    slots, entries = desired.slots, desired.entries
    columns = slots.keys, slots.max_entries, slots.contents, slots.shared, slots.member, entries.starts, entries.counts
    for column in columns:
        total.update(np.ascontiguousarray(column).tobytes())
    total.update(np.ascontiguousarray(entries.keys).tobytes())
    total.update(np.ascontiguousarray(entries.values).tobytes())
