"""A migration in words."""

from __future__ import annotations

from collections.abc import Iterator

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


def _parts(change: MapChange, done: Migrated) -> Iterator[str]:
    if done.reshaping is not None:
        yield plural(done.entries or 0, "entry", "entries")
        for each in (done.reshaping.key, done.reshaping.value):
            yield from (f"{old} -> {new}" for old, new in each.renamed)
            yield from (f"new {name}" for name in each.added)
            yield from (f"without {name}" for name, _ in each.dropped)
    if done.outer is not None and not done.outer.is_identity and change.observed is not None:
        yield "outer keys"
