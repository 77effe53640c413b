"""A migration in words, and as a value for JSON."""

from __future__ import annotations

from collections.abc import Iterator

from provisioner.model.types import Value
from provisioner.model.words import plural
from provisioner.planning.changes import MapChange, Migrated


def described(change: MapChange) -> str:
    """`migrate: 12 entries, bytes -> bytes_in, new zone, without port`; empty where nothing is migrated."""
    done = change.migrated
    if done is None:
        return ""
    if not done.is_carried and not change.resized:
        if done.entries is None or done.problems:
            return ""
        return f"{plural(done.entries, 'live entry', 'live entries')} discarded" if done.entries else ""
    return "migrate: " + ", ".join(_parts(change, done))


def as_value(change: MapChange) -> dict[str, Value]:
    """The same under `migrate`, with the number of entries that are carried over; empty where nothing is migrated."""
    done = change.migrated
    if done is None or done.reshaping is None:
        return {}
    both = done.reshaping.key, done.reshaping.value
    return {
        "migrate": {
            "entries": done.entries,
            "renamed": dict(pair for each in both for pair in each.renamed),
            "new": [name for each in both for name in each.added],
            "set": _set(change),
            "dropped": [name for each in both for name, _ in each.dropped],
        }
    }


def _set(change: MapChange) -> list[str]:
    policy = change.desired.migration
    return sorted(policy.key_constants.members | policy.value_constants.members) if policy is not None else []


def _parts(change: MapChange, done: Migrated) -> Iterator[str]:
    if done.reshaping is not None:
        yield plural(done.entries or 0, "entry", "entries")
        for each in (done.reshaping.key, done.reshaping.value):
            yield from (f"{old} -> {new}" for old, new in each.renamed)
            yield from (f"new {name}" for name in each.added)
            yield from (f"without {name}" for name, _ in each.dropped)
        yield from (f"set {name}" for name in _set(change))
    if done.outer is not None and not done.outer.is_identity:
        yield "outer keys"
