"""Reads the `moved:` of a spec, and checks that each entry names what the spec declares now. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from provisioner.model.errors import Problems, did_you_mean
from provisioner.model.moved import Move
from provisioner.model.spec import Spec
from provisioner.model.tree import MappingNode, ScalarNode, SequenceNode, SpecNode


def read_moved(node: SpecNode | None) -> tuple[Move, ...]:
    """The moves in order; the schema reports those of a wrong form."""
    if not isinstance(node, SequenceNode):
        return ()
    return tuple(
        Move(old.text, new.text, item.where)
        for item in node.items
        if isinstance(item, MappingNode)
        if isinstance(old := item.get("from"), ScalarNode) and isinstance(new := item.get("to"), ScalarNode)
        if old.text and new.text
    )


def check(spec: Spec, problems: Problems) -> None:
    """Add the problems of moves that can be seen without a host."""
    names = set(_names(spec))
    first: dict[str, Move] = {}
    for move in spec.moved:
        earlier = first.setdefault(move.old, move)
        if earlier is not move:
            what = f"`{move.old}` is moved twice (first at {earlier.where})"
            problems.add(what, move.where, "remove one of the two", move.old, id="duplicate-key")
        if move.old in names:
            what = f"`{move.old}` is moved to `{move.new}`, but the spec still declares it"
            problems.add(what, move.where, "remove or rename its declaration", move.old, id="moved-declared")
        if move.new not in names:
            what = f"`{move.new}` is not declared: a map, the pin of a program, or an object"
            hint = did_you_mean(move.new, names, "write its name as the spec declares it")
            problems.missing(what, move.where, hint, move.new, id="moved-unknown")


def _names(spec: Spec) -> Iterator[str]:
    yield from (*spec.maps, *spec.outer_maps, *spec.objects)
    yield from (program.pin for each in spec.objects.values() for program in (*each.programs, *each.left_out))
