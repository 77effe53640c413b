"""Names that changed: what a spec declares as `moved`, and what of it is not done yet. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import PurePath
from typing import TYPE_CHECKING, TypeVar

import msgspec
from msgspec.structs import replace

from provisioner.model.location import Location
from provisioner.model.pins import INNER_PINS, VARIABLES_PREFIX, is_link, of_program, owner_of
from provisioner.model.record import Meta

if TYPE_CHECKING:
    from provisioner.model.desired import DesiredState

Value = TypeVar("Value")


class Move(msgspec.Struct, frozen=True):
    """What was called `old` is called `new`: a map, the pin of a program, an object, a slot by its address, a pin root
    by its path. A map can be one of an object that is attached, too.
    """

    old: str
    new: str
    where: Location

    @property
    def is_root(self) -> bool:
        return self.old.startswith("/") or self.new.startswith("/")

    @property
    def is_slot(self) -> bool:
        return not self.is_root and ("[" in self.old or "[" in self.new)


class SlotMove(msgspec.Struct, frozen=True):
    """The inner map in the slot with the key `old` of an outer map goes into that with the key `new`."""

    move: Move
    map: str
    old: bytes
    new: bytes


class PendingSlot(msgspec.Struct, frozen=True):
    """A slot that is not moved yet, and the id of its inner map. `is_written` says that the new slot has it already."""

    move: SlotMove
    id: int
    is_written: bool = False


class PendingMove(msgspec.Struct, frozen=True):
    """A move that is not done yet.

    `renames` are old and new paths of pins and directories, from the pin root; none if only the record has the old
    name. `is_ours` says that the record has one of the two names.
    """

    move: Move
    renames: tuple[tuple[str, str], ...] = ()
    is_ours: bool = True


class Moves(msgspec.Struct, frozen=True):
    """The moves of names and slots that are not done, and those whose old and new name are both live.

    `root` is that of the pin root, if it is not done.
    """

    pending: tuple[PendingMove, ...] = ()
    conflicts: tuple[Move, ...] = ()
    slots: tuple[PendingSlot, ...] = ()
    root: Move | None = None

    @property
    def renames(self) -> dict[str, str]:
        """The new path of each old one, from the pin root."""
        return dict(pair for each in self.pending for pair in each.renames)

    def at(self, pin: PurePath, root: PurePath) -> PurePath:
        """Where a pin is now, by its path under the new name in the pin root `root`."""
        old = {new: old for old, new in self.renames.items()}
        path = root / old.get(pin.name, pin.name) if pin.parent == root else pin
        if self.root is None or not path.is_relative_to(root):
            return path
        return type(path)(self.root.old) / path.relative_to(root)


def find(desired: DesiredState, pins: Collection[str], folders: Iterable[str], meta: Meta | None) -> Moves:
    """The state of the moves, by the pins in the pin root, the directories of inner pins, and the record as it is."""
    own_links = [pin for pin in pins if is_link(pin)]
    live = {*pins, *(f"{INNER_PINS}/{folder}" for folder in folders)}
    pending: list[PendingMove] = []
    conflicts: list[Move] = []
    for move in desired.moved:
        pairs = [(old, new) for old, new in _paths(move, desired, own_links) if old in live]
        free = tuple((old, new) for old, new in pairs if new not in live)
        if (move.old, move.new) in pairs and (move.old, move.new) not in free:
            conflicts.append(move)
            continue
        live.update(new for _, new in free)
        if free or (meta is not None and renamed(meta, [move], desired) != meta):
            is_ours = meta is None or move.old not in pins or not {move.old, move.new}.isdisjoint(meta.pins)
            pending.append(PendingMove(move, free, is_ours))
    return Moves(tuple(pending), tuple(conflicts))


def _paths(move: Move, desired: DesiredState, links: Iterable[str]) -> Iterator[tuple[str, str]]:
    """The old and new paths of all that has the name of a move; `links` are the pins of attachments."""
    old, new = move.old, move.new
    declared = desired.maps.get(new)
    if declared is not None and declared.adopted is None and declared.place is None:
        yield old, new
        yield f"{INNER_PINS}/{old}", f"{INNER_PINS}/{new}"
    if new in _owners(desired):
        if declared is None:
            yield old, new
        yield from ((link, of_program(link, new)) for link in links if owner_of(link) == old)
    if new in desired.objects:
        begin = VARIABLES_PREFIX + new
        for section in desired.objects[new].variables:
            yield VARIABLES_PREFIX + old + section.pin.removeprefix(begin), section.pin


def _owners(desired: DesiredState) -> frozenset[str]:
    """The pins of programs, and of maps that are attached themselves."""
    return frozenset(owner.pin for each in desired.objects.values() for owner in each.owners)


def renamed(meta: Meta, moves: Iterable[Move], desired: DesiredState) -> Meta:
    """The record with the new names."""
    owners = _owners(desired)
    for move in moves:
        if move.new in desired.maps or move.new in owners:
            meta = _with_pin(meta, move)
        if move.new in desired.objects:
            objects, settings = _key(meta.objects, move.old, move.new), _key(meta.settings, move.old, move.new)
            meta = replace(meta, objects=objects, settings=settings)
    return meta


def _with_pin(meta: Meta, move: Move) -> Meta:
    old, new = move.old, move.new
    return replace(
        meta,
        templates=_key(meta.templates, old, new),
        attachments=_links(meta.attachments, old, new),
        used_maps=_key(meta.used_maps, old, new),
        protected=_name(meta.protected, old, new),
        pins=_name(meta.pins, old, new),
        maps=_key(meta.maps, old, new),
        types=_key(meta.types, old, new),
        places=_key(meta.places, old, new),
    )


def _key(recorded: Mapping[str, Value], old: str, new: str) -> Mapping[str, Value]:
    """With `new` as the key of what `old` had, unless there is one: an apply that was killed recorded it."""
    if old not in recorded:
        return recorded
    rest = {name: value for name, value in recorded.items() if name != old}
    return {new: recorded[old], **rest}


def _links(recorded: Mapping[str, Value], old: str, new: str) -> Mapping[str, Value]:
    """The attachments of the program or map that was called `old` under its new name."""
    for link in [link for link in recorded if owner_of(link) == old]:
        recorded = _key(recorded, link, of_program(link, new))
    return recorded


def _name(recorded: tuple[str, ...], old: str, new: str) -> tuple[str, ...]:
    return tuple(sorted({*recorded, new} - {old})) if old in recorded else recorded
