"""What a schema cannot express about attachments: hooks with room for one program, and the order at others. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import msgspec

from provisioner.attach.perf_event import PerfEvent, cpu_numbers, is_list
from provisioner.attach.tcx import Tcx
from provisioner.model.attachment import Attachment
from provisioner.model.errors import Problems, did_you_mean
from provisioner.model.location import Location
from provisioner.model.spec import Program, Spec

Hook = tuple[str, str]
"""The interface and the direction of a tcx hook."""


class _Ordered(msgspec.Struct, frozen=True):
    """A program at a tcx hook, by its address and its pin."""

    address: str
    pin: str
    attach: Tcx

    @property
    def hook(self) -> Hook:
        return self.attach.interface, self.attach.direction


def check(spec: Spec, problems: Problems) -> None:
    """Report programs that would be attached where another one is, and orders that cannot be."""
    taken: dict[str, tuple[str, Location]] = {}
    ordered: dict[tuple[Hook, str], _Ordered] = {}
    for address, program, attachment in _all(spec):
        _room(attachment, address, taken, problems)
        if isinstance(attachment, PerfEvent):
            _samples(attachment, address, problems)
        if isinstance(attachment, Tcx):
            each = _Ordered(address, program.pin, attachment)
            ordered[each.hook, program.pin] = each
    for declared in spec.objects.values():
        for program in declared.programs:
            _once(program, f"{declared.name}.{program.name}", problems)
    for each in ordered.values():
        _order(each, {pin: other for (hook, pin), other in ordered.items() if hook == each.hook}, problems)


def _all(spec: Spec) -> Iterator[tuple[str, Program, Attachment]]:
    """Each attachment with the address of its program."""
    for declared in spec.objects.values():
        for program in declared.programs:
            for attachment in program.attachments:
                yield f"{declared.name}.{program.name}", program, attachment


def _once(program: Program, address: str, problems: Problems) -> None:
    """Report hooks that a program names twice."""
    named: dict[str, Attachment] = {}
    for attachment in program.attachments:
        first = named.setdefault(attachment.hook, attachment)
        if first is not attachment and (not attachment.room_for_one or first.where == attachment.where):
            what = f"the program is attached to `{attachment.hook}` twice (first at {first.where})"
            problems.add(what, attachment.where, "remove one of the two", address, id="duplicate-key")


def _samples(attach: PerfEvent, address: str, problems: Problems) -> None:
    """Report an event that takes no samples, or that no CPU has."""
    if attach.rates != 1:
        what = "one of `sample_period` and `sample_freq` must be written"
        problem_id = "conflicting-fields" if attach.rates else "missing-field"
        problems.add(what, attach.where, "write how often the program runs", address, id=problem_id)
    if is_list(attach.cpus) and not cpu_numbers(attach.cpus):
        what = f"`{attach.cpus}` names no CPU: a range ends before it begins"
        problems.add(what, attach.where, "write `first-last`", address, id="out-of-range")


def _room(attach: Attachment, address: str, taken: dict[str, tuple[str, Location]], problems: Problems) -> None:
    place = attach.room_for_one or _end(attach)
    if not place:
        return
    first, where = taken.setdefault(place, (address, attach.where))
    if where != attach.where:
        what = f"{place} has room for one program, which is `{first}` ({where})"
        problems.add(what, attach.where, attach.instead, address, id="hook-occupied")


def _end(attach: Attachment) -> str:
    """The first or last place at a hook."""
    is_end = isinstance(attach, Tcx) and attach.order is not None and not attach.order.name
    return attach.describe() if is_end else ""


def _order(each: _Ordered, at_hook: Mapping[str, _Ordered], problems: Problems) -> None:
    """Report an order that cannot be; `at_hook` are the programs at the same hook, by their pins."""
    neighbour, where = each.attach.order, each.attach.where
    if each.attach.has_two_orders:
        what = "only one of `before`, `after` and `order` can be written"
        problems.add(what, where, "remove the others", each.address, id="conflicting-fields")
    if neighbour is None or not neighbour.name or neighbour.is_foreign:
        return
    others = at_hook.keys() - {each.pin}
    if neighbour.name not in others:
        what = f"`{neighbour.name}` is not another program that the spec attaches to this hook"
        hint = did_you_mean(neighbour.name, others) or "write the pin of a program, or the path of a pin"
        problems.add(what, where, hint, each.address, id="unknown-reference")
    elif _is_circle(each.pin, at_hook):
        both = f"`{each.pin}` and `{neighbour.name}`"
        what = f"{both} are attached beside each other: none can be the first to be attached"
        problems.add(what, where, "write the order at one of them", each.address, id="circular-reference")


def _is_circle(pin: str, at_hook: Mapping[str, _Ordered]) -> bool:
    """Whether a program comes back to itself by the programs that are named."""
    seen: list[str] = []
    while pin in at_hook and pin not in seen:
        seen.append(pin)
        order = at_hook[pin].attach.order
        pin = "" if order is None else order.name
    return pin == seen[0]
