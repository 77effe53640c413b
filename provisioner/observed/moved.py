"""A live state under the names that the spec has now: what is not renamed yet is shown as if it were. Pure.

The comparison sees no difference then, and an apply renames the pins before it does anything else.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import PurePath

from msgspec.structs import replace

from provisioner.model import moved
from provisioner.model.access import Access
from provisioner.model.attachment import Attachment, AttachPoint, HookOrder
from provisioner.model.desired import DesiredState
from provisioner.model.map_shape import MapShape
from provisioner.model.moved import Move, Moves, PendingSlot, SlotMove
from provisioner.model.observed import ObservedLink, ObservedProgram
from provisioner.model.pins import INNER_PINS, META_PIN, map_path
from provisioner.model.record import Meta
from provisioner.model.type_layout import EntryLayout
from provisioner.observed import moved_slots
from provisioner.observed.sources import Ranges, SeenEntries, SeenInnerMaps, SeenMap, Source


def presented(desired: DesiredState, source: Source) -> Source:
    """The source with the names of the spec; itself if nothing was moved."""
    return MovedSource(desired, source) if desired.has_moves else source


def live_root(desired: DesiredState, source: Source) -> PurePath:
    """Where the project is pinned now: in its pin root, or in an older one until that is moved."""
    return MovedSource(desired, source).root


class MovedSource:
    """Another source, whose pins and record have the new names. It looks once which moves are not done."""

    def __init__(self, desired: DesiredState, source: Source) -> None:
        self._desired, self._source = desired, source
        self._root = PurePath(desired.pin_root)
        self._slots: dict[PurePath, tuple[list[PendingSlot], list[Move]]] = {}
        self._by_path: dict[PurePath, list[SlotMove]] = {}
        for slot in desired.moved_slots:
            path = PurePath(map_path(desired, desired.maps[slot.map]))
            self._by_path.setdefault(path, []).append(slot)

    @cached_property
    def _roots(self) -> tuple[Move, ...]:
        """The moves of older pin roots in which something is pinned."""
        roots = ((move, PurePath(move.old)) for move in self._desired.moved_roots)
        return tuple(move for move, old in roots if self._source.exists(old) and self._source.pins(old))

    @cached_property
    def _root_move(self) -> Move | None:
        """The move of the pin root that is not done: the new one is missing or empty."""
        new = self._root
        if not self._roots or (
            self._source.exists(new)
            and (self._source.pins(new) or self._source.directories(new) or self._source.inner_pins(new))
        ):
            return None
        return self._roots[0]

    @property
    def root(self) -> PurePath:
        """The pin root as it is now."""
        return self._root if self._root_move is None else PurePath(self._root_move.old)

    @cached_property
    def stored(self) -> Meta | None:
        """The record as it is."""
        return self._source.meta(self.root / META_PIN) if META_PIN in self._source.pins(self.root) else None

    @cached_property
    def moves(self) -> Moves:
        pins, folders = self._source.pins(self.root), self._source.inner_pins(self.root)
        planned = moved.find(self._desired, pins, folders, self.stored)
        both = tuple(move for move in self._roots if move is not self._root_move)
        return replace(planned, root=self._root_move, conflicts=(*both, *planned.conflicts))

    @cached_property
    def _new(self) -> dict[str, str]:
        return self.moves.renames

    @cached_property
    def _old(self) -> dict[str, str]:
        return {new: old for old, new in self._new.items()}

    def at(self, path: PurePath) -> PurePath:
        """Where a pin is now, by its path under the new name."""
        return self.moves.at(path, self._root)

    def check(self, root: PurePath) -> None:  # noqa: ARG002 (it is that of the spec)
        self._source.check(self.root)

    def exists(self, root: PurePath) -> bool:  # noqa: ARG002 (as in `check`, and below)
        return self._source.exists(self.root)

    def missing(self, paths: Iterable[str]) -> tuple[str, ...]:
        return self._source.missing(paths)

    def pins(self, root: PurePath) -> tuple[str, ...]:  # noqa: ARG002
        return tuple(sorted(self._new.get(pin, pin) for pin in self._source.pins(self.root)))

    def directories(self, root: PurePath) -> tuple[str, ...]:  # noqa: ARG002
        return self._source.directories(self.root)

    def misplaced_pins(self, root: PurePath) -> tuple[str, ...]:  # noqa: ARG002
        return self._source.misplaced_pins(self.root)

    def live_ids(self, numbers: Iterable[int]) -> frozenset[int]:
        return self._source.live_ids(numbers)

    def inner_pins(self, root: PurePath) -> Mapping[str, tuple[str, ...]]:  # noqa: ARG002
        folders = self._source.inner_pins(self.root)
        return {self._inner(name, self._new): pins for name, pins in folders.items()}

    def access(self, root: PurePath, paths: Iterable[str]) -> Mapping[str, Access]:  # noqa: ARG002
        old = {self._old_path(path): path for path in paths}
        return {old[path]: access for path, access in self._source.access(self.root, old).items()}

    def _old_path(self, path: str) -> str:
        """The path of a pin from the pin root, as it is now."""
        folder, _, rest = path.partition("/")
        if folder != INNER_PINS or not rest:
            return self._old.get(path, path)
        name, slash, pin = rest.partition("/")
        return f"{INNER_PINS}/{self._inner(name, self._old)}{slash}{pin}"

    @staticmethod
    def _inner(name: str, names: Mapping[str, str]) -> str:
        """The name of a directory of inner pins."""
        path = f"{INNER_PINS}/{name}"
        return names.get(path, path).removeprefix(f"{INNER_PINS}/")

    def gid(self, group: str) -> int:
        return self._source.gid(group)

    def meta(self, path: PurePath) -> Meta:
        stored = self.stored or self._source.meta(self.at(path))
        return moved.renamed(stored, (each.move for each in self.moves.pending), self._desired)

    @property
    def all_moves(self) -> Moves:
        """The moves of names, and those of slots in the maps that were read."""
        pending = tuple(slot for slots, _ in self._slots.values() for slot in slots)
        conflicts = tuple(move for _, moves in self._slots.values() for move in moves)
        return replace(self.moves, slots=pending, conflicts=(*self.moves.conflicts, *conflicts))

    def map(self, path: PurePath) -> SeenMap | None:
        seen = self._source.map(self.at(path))
        moves = self._by_path.get(path)
        if seen is None or not moves or not seen.shape.is_outer:
            return seen
        seen, pending, conflicts = moved_slots.presented(seen, moves)
        self._slots[path] = pending, conflicts
        return seen

    def inner_shape(self, path: PurePath, number: int) -> MapShape | None:
        return self._source.inner_shape(self.at(path), number)

    def entries(
        self, path: PurePath, number: int | None, *, deep: bool, nonzero: Ranges | None = None
    ) -> SeenEntries | None:
        return self._source.entries(self.at(path), number, deep=deep, nonzero=nonzero)

    def inner_maps(
        self,
        path: PurePath,
        numbers: Sequence[int],
        whole: Sequence[bool],
        template: MapShape,
        rows: int,
        *,
        nonzero: Ranges | None = None,
    ) -> SeenInnerMaps:
        return self._source.inner_maps(self.at(path), numbers, whole, template, rows, nonzero=nonzero)

    def layout(self, path: PurePath) -> EntryLayout | None:
        return self._source.layout(self.at(path))

    def frozen(self, path: PurePath, numbers: Sequence[int]) -> frozenset[int]:
        return self._source.frozen(self.at(path), numbers)

    def users(self, own: Mapping[int, str]) -> Mapping[int, tuple[str, ...]]:
        return self._source.users(own)

    def program(self, path: PurePath) -> ObservedProgram:
        return self._source.program(self.at(path))

    def link(self, path: PurePath) -> ObservedLink:
        return self._source.link(self.at(path))

    def occupant(self, attachment: Attachment, number: int) -> int:
        return self._source.occupant(attachment, number)

    def order(self, attachment: Attachment, number: int) -> HookOrder | None:
        return self._source.order(attachment, number)

    def number(self, point: AttachPoint) -> int | None:
        return self._source.number(point)
