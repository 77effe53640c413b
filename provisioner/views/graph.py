"""Programs, outer maps and inner maps as a graph of the spec or of the live state. Pure.

Many inner maps are one box with their number, and so are many maps, objects or programs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray

from provisioner.model.desired import DesiredMap, DesiredState
from provisioner.model.observed import ObservedMap, ObservedState
from provisioner.model.words import plural, visible
from provisioner.report.graph import Arrow, Box, BoxKind, Graph
from provisioner.views.attachments import live_places, wanted_places
from provisioner.views.map_nodes import slot_labels, what_it_is

MOST: Final = 10
"""Inner maps of one outer map that have their own boxes."""

MOST_OF_A_KIND: Final = 20
"""Outer maps that have their own boxes; the same for maps, objects and programs. If there are more, all are one box."""

_FOLDED: Final = {
    BoxKind.OBJECT: "objects",
    BoxKind.PROGRAM: "programs",
    BoxKind.OUTER_MAP: "outer maps",
    BoxKind.MAP: "maps",
}

Describe = Callable[[int], tuple[str, str, tuple[str, ...]]]
"""The id, the name (empty for the key of its slot) and the further lines of the inner map in a slot."""


class _Drawing:
    """Boxes and arrows, each once."""

    def __init__(self, title: str) -> None:
        self._title = visible(title)
        self._boxes: dict[str, Box] = {}
        self._arrows: dict[Arrow, None] = {}
        self._slots: dict[str, int] = {}

    def box(self, number: str, kind: BoxKind, *lines: str) -> None:
        self._boxes.setdefault(number, Box(number, kind, tuple(visible(line) for line in lines if line)))

    def arrow(self, source: str, target: str, label: str = "") -> None:
        self._arrows[Arrow(source, target, visible(label))] = None

    def done(self) -> Graph:
        for kind, words in _FOLDED.items():
            alike = [box.id for box in self._boxes.values() if box.kind is kind]
            if len(alike) > MOST_OF_A_KIND:
                self._fold(kind, words, set(alike))
        return Graph(self._title, tuple(self._boxes.values()), tuple(self._arrows))

    def _fold(self, kind: BoxKind, words: str, alike: set[str]) -> None:
        """One box in place of those in `alike`, without the inner maps of these."""
        inner = (
            {arrow.target for arrow in self._arrows if arrow.source in alike} if kind is BoxKind.OUTER_MAP else set()
        )
        folded = f"all {words}"
        slots = sum(self._slots.get(name, 0) for name in alike)
        lines = (f"{len(alike):,} {words}", *([plural(slots, "slot")] if slots else []))
        boxes = {name: box for name, box in self._boxes.items() if name not in alike | inner}
        self._boxes = {**boxes, folded: Box(folded, kind, lines)}
        arrows: dict[Arrow, None] = {}
        for arrow in self._arrows:
            if arrow.target in inner:
                continue
            if arrow.source in alike or arrow.target in alike:
                source, target = (folded if name in alike else name for name in (arrow.source, arrow.target))
                arrows[Arrow(source, target)] = None
            else:
                arrows[arrow] = None
        self._arrows = arrows

    def inner_maps(
        self,
        desired: DesiredMap,
        keys: NDArray[np.uint8],
        identity: NDArray[np.int64],
        describe: Describe,
        entries: NDArray[np.int64] | None = None,
    ) -> None:
        """The inner maps of an outer map. `identity`, shape (m,), is equal for slots with the same inner map.

        `entries`, shape (m,), are the numbers of entries, if they are known.
        """
        self._slots[f"map {desired.name}"] = len(keys)
        _, first, number, counts = np.unique(identity, return_index=True, return_inverse=True, return_counts=True)
        order = np.argsort(first)
        alone = [at for at in order.tolist() if len(order) <= MOST or counts[at] > 1]
        for at in alone[:MOST]:
            slots = np.flatnonzero(number == at)
            label = _keys(desired, keys[slots])
            name, title, lines = describe(int(slots[0]))
            self.box(name, BoxKind.INNER_MAP, title or label, *lines)
            self.arrow(f"map {desired.name}", name, label if title or len(slots) > 1 else "")
        shown = set(alone[:MOST])
        rest = np.flatnonzero(~np.isin(number, list(shown))) if shown else np.arange(len(keys))
        if len(rest):
            name, others = f"rest of {desired.name}", [at for at in order.tolist() if at not in shown]
            held = "" if entries is None else plural(int(entries[first[others]].sum()), "entry", "entries")
            self.box(name, BoxKind.INNER_MAPS, plural(len(others), "inner map"), held)
            self.arrow(f"map {desired.name}", name, f"{plural(len(rest), 'slot')}: {_keys(desired, keys[rest])}")


def _keys(desired: DesiredMap, keys: NDArray[np.uint8]) -> str:
    """`[42]`, `[1] [2]`, or `[0] ... [9999]`."""
    few = keys if len(keys) <= 3 else keys[[0, -1]]
    labels = [label for label, _ in slot_labels(desired, few)]
    return (" " if len(keys) <= 3 else " ... ").join(labels)


def of_spec(desired: DesiredState) -> Graph:
    """The graph of a spec. Only the object knows which maps a program uses, so arrows go through the object."""
    drawing = _Drawing(f"{desired.project}, spec")
    for bpf_object in desired.objects.values():
        drawing.box(f"object {bpf_object.name}", BoxKind.OBJECT, bpf_object.name, bpf_object.file.rpartition("/")[2])
        for program in bpf_object.programs:
            drawing.box(f"program {program.pin}", BoxKind.PROGRAM, program.name, *wanted_places(program))
            drawing.arrow(f"program {program.pin}", f"object {bpf_object.name}")
        for attached in bpf_object.attached_maps:
            drawing.box(f"map {attached.name}", BoxKind.MAP, attached.name, *wanted_places(attached))
            drawing.arrow(f"object {bpf_object.name}", f"map {attached.name}")
    for desired_map in desired.maps.values():
        outer = desired_map.outer
        drawing.box(
            f"map {desired_map.name}",
            BoxKind.MAP if outer is None else BoxKind.OUTER_MAP,
            desired_map.name,
            what_it_is(desired_map),
        )
        for owner in desired_map.objects:
            drawing.arrow(f"object {owner}", f"map {desired_map.name}")
        if outer is not None:
            shared = desired_map.slots.shared.astype(np.int64)
            identity = np.where(shared >= 0, shared, np.arange(len(shared)) + len(outer.shared_names))
            drawing.inner_maps(
                desired_map, desired_map.slots.keys, identity, _wanted(desired_map), desired_map.entries.counts
            )
    return drawing.done()


def _wanted(desired: DesiredMap) -> Describe:
    def describe(slot: int) -> tuple[str, str, tuple[str, ...]]:
        assert desired.outer is not None
        lines = (plural(int(desired.entries.counts[slot]), "entry", "entries"),)
        share = int(desired.slots.shared[slot])
        if share < 0:
            return f"slot {slot} of {desired.name}", "", lines
        name = desired.outer.shared_names[share]
        return f"shared {name}", f"shared {name}", lines

    return describe


def of_live(desired: DesiredState, observed: ObservedState) -> Graph:
    """The graph of the live state: programs with the maps that they use by the kernel."""
    drawing = _Drawing(f"{desired.project}, live at {desired.pin_root}")
    known = {live.id: name for name, live in {**observed.object_maps, **observed.maps}.items()}
    owners = {program.pin: program for each in desired.objects.values() for program in each.programs}
    for pin, program in observed.programs.items():
        places = live_places(observed, pin, owners.get(pin))
        drawing.box(f"program {pin}", BoxKind.PROGRAM, pin, f"id {program.id}", *places)
        for number in program.map_ids:
            if number in known:
                drawing.arrow(f"program {pin}", f"map {known[number]}")
    for name, live in {**observed.object_maps, **observed.maps}.items():
        desired_map = desired.maps.get(name)
        kind = BoxKind.OUTER_MAP if live.shape.is_outer else BoxKind.MAP
        text = what_it_is(desired_map) if desired_map is not None else live.shape.map_type.word
        attached = live_places(observed, name, None) if observed.links_of(name) else ()
        drawing.box(f"map {name}", kind, name, text, f"id {live.id}", *attached)
        if desired_map is not None and desired_map.outer is not None and live.shape.is_outer:
            drawing.inner_maps(desired_map, live.slots.keys, live.slots.inner_ids.astype(np.int64), _found(live))
    return drawing.done()


def _found(live: ObservedMap) -> Describe:
    def describe(slot: int) -> tuple[str, str, tuple[str, ...]]:
        number = int(live.slots.inner_ids[slot])
        return f"inner {number}", "", (f"id {number}",)

    return describe
