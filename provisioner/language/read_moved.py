"""Reads the `moved:` of a spec, and checks that each entry names what the spec declares now. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import PurePath

from msgspec.structs import replace

from provisioner.model.address import parse
from provisioner.model.errors import InputError, Problems, did_you_mean
from provisioner.model.moved import Move
from provisioner.model.spec import Spec
from provisioner.model.tree import MappingNode, ScalarNode, SequenceNode, SpecNode
from provisioner.model.type_expr import is_sensitive
from provisioner.model.words import HIDDEN


def read_moved(node: SpecNode | None) -> tuple[Move, ...]:
    """The moves in order; the schema reports those of a wrong form."""
    if not isinstance(node, SequenceNode):
        return ()
    return tuple(
        Move(_normal(old.text), _normal(new.text), item.where)
        for item in node.items
        if isinstance(item, MappingNode)
        if isinstance(old := item.get("from"), ScalarNode) and isinstance(new := item.get("to"), ScalarNode)
        if old.text and new.text
    )


def _normal(text: str) -> str:
    return text.rstrip("/") if text.startswith("/") else text


def check(spec: Spec, problems: Problems) -> None:
    """Add the problems of moves that can be seen without a host."""
    names = set(_names(spec))
    first: dict[str, Move] = {}
    for move in spec.moved:
        earlier = first.setdefault(move.old, move)
        if earlier is not move:
            old = _shown(move.old, spec)
            what = f"`{old}` is moved twice (first at {earlier.where})"
            problems.add(what, move.where, "remove one of the two", old, id="duplicate-key")
        if move.is_root:
            _root(move, problems)
            continue
        if move.is_slot:
            _slot(move, spec, problems)
            continue
        if move.old in names:
            what = f"`{move.old}` is moved to `{move.new}`, but the spec still declares it"
            problems.add(what, move.where, "remove or rename its declaration", move.old, id="moved-declared")
        if move.new not in names:
            what = f"`{move.new}` is not declared: a map, the pin of a program, an attached map, or an object"
            hint = did_you_mean(move.new, names, "write its name as the spec declares it")
            problems.missing(what, move.where, hint, move.new, id="moved-unknown")


def _root(move: Move, problems: Problems) -> None:
    """A pin root moves to another place; whether `to` is that of the spec is checked once the command line is known."""
    old, new = PurePath(move.old), PurePath(move.new)
    if not (old.is_absolute() and new.is_absolute()):
        what, hint = f"`{move.old}` cannot be moved to `{move.new}`", "write two paths of pin roots, or two names"
        problems.add(what, move.where, hint, move.new, id="moved-mismatch")
    elif old.is_relative_to(new) or new.is_relative_to(old):
        what = f"`{move.old}` cannot be moved to `{move.new}`: one is inside the other"
        problems.add(what, move.where, "write two different directories", move.new, id="moved-mismatch")


def _slot(move: Move, spec: Spec, problems: Problems) -> None:
    """A slot moves within its map, which can have a new name itself; its keys are checked once they are encoded."""
    try:
        old, new = parse(move.old), parse(move.new)
    except InputError as error:
        problems.extend(
            replace(problem, where=move.where, address=_shown(problem.address, spec)) for problem in error.problems
        )
        return
    from_, to = _shown(move.old, spec), _shown(move.new, spec)
    earlier = {each.old for each in spec.moved if each.new == new.name}
    if len(old.keys) != 1 or len(new.keys) != 1 or old.name not in {new.name, *earlier}:
        what, hint = f"`{from_}` cannot be moved to `{to}`", "write two slots of one outer map"
        problems.add(what, move.where, hint, to, id="moved-mismatch")
    elif new.name not in spec.outer_maps:
        what, hint = f"outer map `{new.name}` is not declared", did_you_mean(new.name, spec.outer_maps)
        problems.missing(what, move.where, hint, to, id="moved-unknown")


def _shown(text: str, spec: Spec) -> str:
    """The address of a slot or a map, without a key that is sensitive, or that can be, where no map has its name."""
    name, bracket, _ = text.partition("[")
    outers = [spec.outer_maps[name]] if name in spec.outer_maps else spec.outer_maps.values()
    return f"{name}[{HIDDEN}]" if bracket and any(is_sensitive(one.fields.key, spec.types) for one in outers) else text


def _names(spec: Spec) -> Iterator[str]:
    yield from (*spec.maps, *spec.outer_maps, *spec.objects)
    for each in spec.objects.values():
        yield from (program.pin for program in (*each.programs, *each.left_out))
        yield from (name for name, settings in each.maps.items() if settings.attach is not None)
