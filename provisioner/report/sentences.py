"""The sentences that every report for people has in common. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Final

from msgspec.structs import astuple

from provisioner.model.pins import INNER_PINS
from provisioner.model.words import plural, size
from provisioner.planning.counts import Counts, Summary
from provisioner.report.model import Against, Children, Kind, Outcome, ReportPlan, Verb

GRACE_PERIOD_MS: Final = 10
"""An RCU grace period on a busy machine takes 8 to 15 ms."""

BIG: Final = 16 << 20
"""Bytes of kernel memory above which a plan mentions them."""

NO_CHANGES: Final = "No changes. The live state matches the spec."

_TARGETS_SHOWN: Final = 5

REST: Final = "Only the targets were applied. A plan without --target shows all other differences."

_UNITS: Final = (("day", 86400), ("hour", 3600), ("minute", 60), ("second", 1))


def against(snapshot: Against) -> str:
    """The snapshot that a plan compares with."""
    age = _age(snapshot.age_seconds)
    return f"Compared with a snapshot of {snapshot.host} (Linux {snapshot.kernel}), taken {snapshot.taken}, {age}."


def _age(seconds: int) -> str:
    """`3 hours old`, in the largest unit that is not zero."""
    if seconds < 0:
        return "in the future by this host's clock"
    count, unit = next(((seconds // size, name) for name, size in _UNITS if seconds >= size), (0, "second"))
    return f"{plural(count, unit)} old"


def summary(plan: ReportPlan) -> Iterator[str]:
    """The counts of changes, and how long publishing waits."""
    if not plan.changed:
        yield _unchanged(plan)
        return
    yield differences(plan.summary) or _only_pins(plan)
    if plan.grace_periods:
        waits = plural(plan.grace_periods, "RCU grace period")
        yield f"Publishing waits for {waits}, about {_time(plan.grace_periods * GRACE_PERIOD_MS / 1000)}."
    yield from _memory(plan)


def partial(plan: ReportPlan) -> Iterator[str]:
    """The targets of a plan; nothing for a plan of the whole spec."""
    if plan.targets:
        more = len(plan.targets) - _TARGETS_SHOWN
        named = ", ".join(plan.targets[:_TARGETS_SHOWN]) + (f" and {more:,} more" if more > 0 else "")
        yield f"This plan is partial: --target limits it to {named}."


def _unchanged(plan: ReportPlan) -> str:
    if plan.destroy:
        gone = "none of the targets is live" if plan.targets else f"{plan.pin_root} does not exist"
        return f"Nothing to destroy: {gone}."
    return "No changes to the targets." if plan.targets else NO_CHANGES


def _memory(plan: ReportPlan) -> Iterator[str]:
    needed, freed = plan.memory.needed, plan.memory.freed
    if needed >= BIG:
        back = f"; about {size(freed)} is freed after verification" if freed else ""
        yield f"Needs about {size(needed)} of kernel memory{back}."


def _only_pins(plan: ReportPlan) -> str:
    """The summary of a plan that changes no map."""
    if not plan.nodes:
        return "Only the project record changes."
    if any(node.kind is Kind.OBJECT for node in plan.nodes):
        return "Only variables change."
    if all(node.kind is Kind.MOVE for node in plan.nodes):
        return f"{plural(len(plan.nodes), 'address', 'addresses')} to move."
    unpinned = [node for node in plan.nodes if node.verb is Verb.DELETE and node.label != INNER_PINS]
    return f"{plural(len(unpinned), 'pin')} to remove." if len(unpinned) == len(plan.nodes) else "Only pins change."


def _smaller(plan: ReportPlan) -> str:
    """What was applied, where no map or program changed."""
    if any(node.kind is Kind.OBJECT for node in plan.nodes):
        return "variables"
    if plan.nodes and all(node.kind is Kind.MOVE for node in plan.nodes):
        return f"{plural(len(plan.nodes), 'address', 'addresses')} moved"
    return "pins" if plan.nodes else "the project record"


def _time(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"


def differences(summary: Summary) -> str:
    """`1 outer map to create, 2 to change. Inner maps: 3 to delete. ...`: only what is not zero."""
    sentences = []
    outer = _verbs(summary.outer_maps)
    if outer:
        (count, verb), *rest = outer
        sentences.append(
            ", ".join([f"{plural(count, 'outer map')} to {verb}", *(f"{n:,} to {word}" for n, word in rest)])
        )
    entries = summary.entries
    edits = [(entries.insert, "insert"), (entries.update, "update"), (entries.delete, "delete")]
    for title, verbs in (
        ("Maps", _verbs(summary.maps)),
        ("Inner maps", _verbs(summary.inner_maps)),
        ("Entries", [(count, word) for count, word in edits if count]),
        ("Programs", _verbs(summary.programs, "load")),
    ):
        if verbs:
            sentences.append(f"{title}: " + ", ".join(f"{count:,} to {word}" for count, word in verbs))
    return "".join(f"{sentence}. " for sentence in sentences).rstrip()


def _verbs(counts: Counts, create: str = "create") -> list[tuple[int, str]]:
    every = [
        (counts.create, create),
        (counts.update, "change"),
        (counts.replace, "replace"),
        (counts.delete, "delete"),
    ]
    return [(count, word) for count, word in every if count]


def outcome(plan: ReportPlan, end: Outcome) -> Iterator[str]:
    """The result: what was done, or what is live after a failure."""
    took = f"in {end.seconds:.2f} s, {plural(end.grace_periods, 'grace period')}."
    match end.status:
        case "unchanged":
            yield _unchanged(plan)
        case "applied":
            did = ", ".join(done(plan.summary)) or _smaller(plan)
            yield f"{'Destroyed' if plan.destroy else 'Applied'}: {did} {took}"
        case "refused":
            yield "Refused: nothing was changed."
        case "rolled_back":
            yield f"Rolled back: all visible changes were reverted, {took}"
        case _:
            state = "Interrupted" if end.status == "interrupted" else "Failed"
            if end.live:
                yield f"{state} {took} Changes that are live:"
                yield from (f"  - {line}" for line in end.live)
            else:
                yield f"{state}: no change is live, {took}"


def details(end: Outcome) -> Iterator[str]:
    """Figures for -v: open fds, and how far apart slots became visible."""
    yield f"Open fds: {end.fds_before} before, {end.fds_after} after."
    if end.window_seconds:
        yield f"All new slots became visible within {_time(end.window_seconds)}, including the last grace period."


def done(summary: Summary) -> Iterator[str]:
    """`1 outer map created`: each count that is not zero."""
    words = {"create": "created", "update": "changed", "replace": "replaced", "delete": "deleted", "insert": "inserted"}
    for counts, singular, many in (
        (summary.outer_maps, "outer map", "outer maps"),
        (summary.inner_maps, "inner map", "inner maps"),
        (summary.maps, "map", "maps"),
        (summary.entries, "entry", "entries"),
        (summary.programs, "program", "programs"),
    ):
        for name, word in words.items():
            count = getattr(counts, name, 0)
            if count:
                yield f"{plural(count, singular, many)} {word}"


def more(children: Children) -> str:
    """The last line of a list that was cut."""
    return f"{left_out(children, children.omitted)}; --full shows them"


def left_out(children: Children, count: int) -> str:
    """`... and 4 more entries`."""
    what = ("entry", "entries") if children.kind is Kind.ENTRY else ("inner map", "inner maps")
    return f"... and {count:,} more {what[count != 1]}"


COUNTED: Final = ("create", "change", "replace", "delete", "unchanged")
"""The columns of `counts`."""


def counts(summary: Summary) -> Iterator[tuple[str, list[str]]]:
    """A row for each kind of thing: its name, and a text for each of `COUNTED`, empty for zero. No empty rows."""
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
