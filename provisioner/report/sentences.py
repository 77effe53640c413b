"""A plan in sentences: what every report for people says in the same words. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from msgspec.structs import astuple

from provisioner.model.pins import INNER_PINS
from provisioner.model.words import plural, size
from provisioner.planning.counts import Counts, Summary
from provisioner.report.model import Against, Children, Kind, Outcome, ReportPlan, Verb

GRACE_PERIOD_MS: Final = 10
"""What an RCU grace period takes on a machine that is not idle: 8 to 15 ms."""

BIG: Final = 16 << 20
"""Bytes of kernel memory from which on they are told."""

NO_CHANGES: Final = "No changes. The live state is what the spec asks for."

_TARGETS_SHOWN: Final = 5

REST: Final = "Only what is targeted was applied: a plan without --target shows what else differs."

_UNITS: Final = (("day", 86400), ("hour", 3600), ("minute", 60), ("second", 1))


def against(found: Against) -> str:
    """Whose state it is, and how old."""
    return f"Against a snapshot of {found.host} (Linux {found.kernel}), taken {found.taken}, {_age(found.age_seconds)}."


def _age(seconds: int) -> str:
    """`3 hours old`, in the largest unit that is not zero."""
    if seconds < 0:
        return "by a clock that is ahead of this one"
    count, unit = next(((seconds // size, name) for name, size in _UNITS if seconds >= size), (0, "second"))
    return f"{plural(count, unit)} old"


def summary(plan: ReportPlan) -> Iterator[str]:
    """What will be done, in counts, and how long publishing waits."""
    if not plan.changed:
        yield _unchanged(plan)
        return
    yield differences(plan.summary) or _only_pins(plan)
    if plan.grace_periods:
        waits = plural(plan.grace_periods, "RCU grace period")
        yield f"Publishing waits for {waits}, about {_time(plan.grace_periods * GRACE_PERIOD_MS / 1000)}."
    yield from _memory(plan)


def partial(plan: ReportPlan) -> Iterator[str]:
    """What a plan is limited to; nothing for one of the whole spec."""
    if plan.targets:
        more = len(plan.targets) - _TARGETS_SHOWN
        named = ", ".join(plan.targets[:_TARGETS_SHOWN]) + (f" and {more:,} more" if more > 0 else "")
        yield f"This plan is partial: --target limits it to {named}."


def _unchanged(plan: ReportPlan) -> str:
    if plan.destroy:
        return f"Nothing to destroy: {plan.pin_root} is not there."
    return "No changes to what is targeted." if plan.targets else NO_CHANGES


def _memory(plan: ReportPlan) -> Iterator[str]:
    needed, freed = plan.memory.needed, plan.memory.freed
    if needed >= BIG:
        back = f"; about {size(freed)} is given back once it is verified" if freed else ""
        yield f"It needs about {size(needed)} of kernel memory{back}."


def _only_pins(plan: ReportPlan) -> str:
    """What to say of a plan that changes no map."""
    if not plan.nodes:
        return "Only the project's own record changes."
    unpinned = [node for node in plan.nodes if node.verb is Verb.DELETE and node.label != INNER_PINS]
    return f"{plural(len(unpinned), 'pin')} to remove." if len(unpinned) == len(plan.nodes) else "Only pins change."


def _time(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"


def differences(summary: Summary) -> str:
    """`1 outer map to create, 2 to change. Inner maps: 3 to delete. ...`: only what is not zero."""
    found = []
    outer = _verbs(summary.outer_maps)
    if outer:
        (count, verb), *rest = outer
        found.append(", ".join([f"{plural(count, 'outer map')} to {verb}", *(f"{n:,} to {word}" for n, word in rest)]))
    entries = summary.entries
    edits = [(entries.insert, "insert"), (entries.update, "update"), (entries.delete, "delete")]
    for title, verbs in (
        ("Maps", _verbs(summary.maps)),
        ("Inner maps", _verbs(summary.inner_maps)),
        ("Entries", [(count, word) for count, word in edits if count]),
        ("Programs", _verbs(summary.programs, "load")),
    ):
        if verbs:
            found.append(f"{title}: " + ", ".join(f"{count:,} to {word}" for count, word in verbs))
    return "".join(f"{sentence}. " for sentence in found).rstrip()


def _verbs(counts: Counts, create: str = "create") -> list[tuple[int, str]]:
    every = [
        (counts.create, create),
        (counts.update, "change"),
        (counts.replace, "replace"),
        (counts.delete, "delete"),
    ]
    return [(count, word) for count, word in every if count]


def outcome(plan: ReportPlan, end: Outcome) -> Iterator[str]:
    """How it ended: what was done, or what is live although it failed."""
    took = (
        f"in {end.seconds:.2f} s, {plural(end.grace_periods, 'grace period')}, "
        f"fds {end.fds_before} before and {end.fds_after} after."
    )
    match end.status:
        case "unchanged":
            yield _unchanged(plan)
        case "applied":
            did = ", ".join(done(plan.summary)) or ("pins" if plan.nodes else "the project's own record")
            yield f"{'Destroyed' if plan.destroy else 'Applied'}: {did} {took}"
        case "refused":
            yield "Refused: nothing was changed."
        case "rolled_back":
            yield f"Rolled back: what had become visible was taken back, {took}"
        case _:
            state = "Interrupted" if end.status == "interrupted" else "Failed"
            if end.live:
                yield f"{state} {took} This is live:"
                yield from (f"  - {line}" for line in end.live)
            else:
                yield f"{state}: nothing of it is live, {took}"


def window(end: Outcome) -> Iterator[str]:
    """How far apart slots became visible; nothing where none did."""
    if end.window_seconds:
        yield f"All new slots became visible within {_time(end.window_seconds)}, the last grace period included."


def grace(paid: int, planned: int) -> str:
    """The grace periods of an apply on its way: those waited for, and those that the plan says are to come."""
    return f"grace periods: {paid} waited for, {max(planned - paid, 0)} to come"


def done(summary: Summary) -> Iterator[str]:
    words = {"create": "created", "update": "changed", "replace": "replaced", "delete": "deleted", "insert": "inserted"}
    for counts, one, many in (
        (summary.outer_maps, "outer map", "outer maps"),
        (summary.inner_maps, "inner map", "inner maps"),
        (summary.maps, "map", "maps"),
        (summary.entries, "entry", "entries"),
        (summary.programs, "program", "programs"),
    ):
        for name, word in words.items():
            count = getattr(counts, name, 0)
            if count:
                yield f"{plural(count, one, many)} {word}"


def more(children: Children) -> str:
    """What a cut list says of its rest."""
    return f"{left_out(children, children.omitted)}; --full shows them"


def left_out(children: Children, count: int) -> str:
    """`... and 4 more entries`: how much of a list is not shown."""
    what = ("entry", "entries") if children.kind is Kind.ENTRY else ("inner map", "inner maps")
    return f"... and {count:,} more {what[count != 1]}"


COUNTED: Final = ("create", "change", "replace", "delete", "as is")
"""What a row of `counts` counts, in its order."""


def counts(summary: Summary) -> Iterator[tuple[str, list[str]]]:
    """How much of each kind of thing, and a text for each of `COUNTED`: empty for none, and no row without any."""
    entries = summary.entries
    rows: tuple[tuple[str, Iterable[int]], ...] = (
        ("outer maps", astuple(summary.outer_maps)),
        ("inner maps", astuple(summary.inner_maps)),
        ("maps", astuple(summary.maps)),
        ("entries", (entries.insert, entries.update, 0, entries.delete, entries.unchanged)),
        ("programs", astuple(summary.programs)),
    )
    for title, numbers in rows:
        cells = [f"{number:,}" if number else "" for number in numbers]
        if any(cells):
            yield title, cells
