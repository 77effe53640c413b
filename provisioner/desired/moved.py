"""The `moved:` of a spec with outer keys in the kernel's bytes: which slot is now which. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from msgspec.structs import replace

from provisioner.codec.display import format_value
from provisioner.model.address import key_bytes, parse, shown
from provisioner.model.desired import DesiredMap, DesiredState
from provisioner.model.entry_table import within
from provisioner.model.errors import InputError, Problems
from provisioner.model.moved import Move, SlotMove
from provisioner.model.types import Bytes, Type


def with_moves(desired: DesiredState, moves: Iterable[Move], problems: Problems) -> DesiredState:
    """`desired` with the moves of names, of slots and of the pin root. Raises InputError with all problems."""
    names, slots, roots = [], list[SlotMove](), []
    for move in moves:
        if move.is_root:
            roots.append(move)
            continue
        if not move.is_slot:
            names.append(move)
            continue
        try:
            slot = _slot(desired, move, problems)
        except InputError as error:
            problems.extend(replace(problem, where=move.where) for problem in error.problems)
            continue
        if slot is not None:
            slots.append(slot)
    _once(slots, problems)
    problems.raise_if_any()
    return replace(desired, moved=tuple(names), moved_slots=tuple(slots), moved_roots=tuple(roots))


def require_root(desired: DesiredState) -> None:
    """Raise InputError where a pin root is moved to one that is not the project's."""
    problems = Problems()
    for move in desired.moved_roots:
        if move.new != desired.pin_root:
            what = f"`{move.new}` is not the pin root of the project, which is `{desired.pin_root}`"
            problems.add(what, move.where, "write the pin root as `to`", move.new, id="moved-unknown")
    problems.raise_if_any()


def _slot(desired: DesiredState, move: Move, problems: Problems) -> SlotMove | None:
    """The move of a slot with its keys; None with a Problem."""
    old, new = parse(move.old, desired), parse(move.new, desired)
    declared = desired.maps.get(new.name)
    if declared is None or declared.outer is None or len(old.keys) != 1 or len(new.keys) != 1:
        return None  # reported by the language
    kind = declared.outer.key
    from_, to = (shown(replace(each, name=new.name), desired) for each in (old, new))
    before, after = key_bytes(old.keys[0], kind, from_), key_bytes(new.keys[0], kind, to)
    if _has(declared, before):
        what = f"`{from_}` is moved to `{to}`, but the spec still declares it"
        problems.add(what, move.where, "remove its declaration", from_, id="moved-declared")
    if not within(before.reshape(1, -1), kind.number_order, declared.outer.owned).all():
        what, hint = f"slot `{from_}` is not in `owned_keys` of the map", "move slots that the spec owns"
        problems.add(what, move.where, hint, from_, id="moved-mismatch")
    if not _has(declared, after):
        what, hint = f"slot `{to}` is not declared", "declare it under `inner_maps`, or correct `to`"
        problems.missing(what, move.where, hint, to, id="moved-unknown")
    named = replace(move, old=_address(declared, kind, before), new=_address(declared, kind, after))
    return SlotMove(named, declared.name, before.tobytes(), after.tobytes())


def _has(declared: DesiredMap, key: Bytes) -> bool:
    return bool((declared.slots.keys == key).all(axis=1).any())


def _address(declared: DesiredMap, kind: Type, key: Bytes) -> str:
    """The address of a slot as output names it."""
    return f"{declared.name}[{format_value(kind.conceal(kind.decode(key.reshape(1, -1))[0]))}]"


def _once(slots: Iterable[SlotMove], problems: Problems) -> None:
    """Add a problem for each slot that is moved twice, or that two slots are moved to."""
    first: dict[tuple[str, bool, bytes], Move] = {}
    for slot in slots:
        for is_new, key, address in ((False, slot.old, slot.move.old), (True, slot.new, slot.move.new)):
            earlier = first.setdefault((slot.map, is_new, key), slot.move)
            if earlier is not slot.move:
                what = f"`{address}` is in `moved` twice (first at {earlier.where})"
                problems.add(what, slot.move.where, "remove one of the two", address, id="duplicate-key")
