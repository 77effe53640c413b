"""The results of a run as tables in Markdown, for the page of the documentation."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from benchmarks.aims import Aim, bpftool_seconds, growth, tutorial_seconds
from benchmarks.data import Case
from benchmarks.suite import CREATE, EVERY_VERB, NO_CHANGES, Measured, StartUp


def page(results: Mapping[Case, Measured], start: StartUp, aims: Sequence[Aim]) -> Iterator[str]:
    """Lines of Markdown: what each verb takes, how far that is from the limits, growth, start-up, aims."""
    cases = list(results.values())
    yield f"Linux {os.uname().release}, {os.uname().machine}, {os.cpu_count()} cores."
    yield from ("", "Wall time in seconds, and how often that of the C limit:", "")
    yield from _by_verb(cases, _wall)
    yield from ("", "CPU time in seconds, and peak memory in MB:", "")
    yield from _by_verb(
        cases, lambda measured, verb: f"{_seconds(measured.verbs[verb].cpu)}, {measured.verbs[verb].peak:.0f}"
    )
    yield from ("", "Creating, compared with the alternatives:", "")
    yield from _table(
        ("", "ours s", "C limit s", "tutorials s", "times ours", "bpftool s", "times ours", "graces", "window ms"),
        map(_creating, cases),
    )
    yield from ("", "Inside one process, in seconds, compared with the C limit:", "")
    yield from _table(
        ("", "load", "write", "C", "ratio", "read and compare", "C", "ratio", "verify", "ratio"), map(_inside, cases)
    )
    yield from ("", "Growth, creating hash maps from CSV:", "")
    yield from _table(("entries", "us an entry", "bytes an entry"), growth(results))
    yield from ("", "Start-up:", "")
    yield from _table(("", "wall s", "CPU s"), _start(start))
    yield from ("", "Aims:", "")
    yield from _table(("aim", "measured", "wanted", ""), map(_aim, aims))


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    for row in (head, ["---", *["---:"] * (len(head) - 1)], *rows):
        yield f"| {' | '.join(row)} |"


def _by_verb(cases: Sequence[Measured], cell: Callable[[Measured, str], str]) -> Iterator[str]:
    names = [verb.name for verb in EVERY_VERB]
    rows = (
        [measured.case.name, *(cell(measured, name) if name in measured.verbs else "" for name in names)]
        for measured in cases
    )
    yield from _table(("", *names), rows)


def _wall(measured: Measured, verb: str) -> str:
    wall, limit = measured.verbs[verb].wall, measured.limits[verb].median_of("seconds")
    return f"{_seconds(wall)} ({wall / limit:.1f})" if limit > 0.001 else _seconds(wall)


def _creating(measured: Measured) -> list[str]:
    create = measured.verbs[CREATE.name]
    tutorial, bpftool = tutorial_seconds(measured), bpftool_seconds(measured)
    return [
        measured.case.name,
        _seconds(create.wall),
        _seconds(measured.limits[CREATE.name].median_of("seconds")),
        _seconds(tutorial),
        f"{tutorial / create.wall:.1f}",
        _seconds(bpftool),
        f"{bpftool / create.wall:.1f}",
        f"{create.median_of('result', 'grace_periods'):.0f}",
        f"{create.median_of('result', 'window_seconds') * 1000:.0f}",
    ]


def _inside(measured: Measured) -> list[str]:
    inside = measured.inside.median_of
    write, read = (
        measured.limits[CREATE.name].median_of("seconds"),
        measured.limits[NO_CHANGES.name].median_of("seconds"),
    )
    return [
        measured.case.name,
        _seconds(inside("load")),
        *(_seconds(inside("steps")), _seconds(write), f"{inside('steps') / write:.1f}"),
        *(_seconds(inside("observe")), _seconds(read), f"{inside('observe') / read:.1f}"),
        *(_seconds(inside("verify")), f"{inside('verify') / read:.2f}"),
    ]


def _start(start: StartUp) -> Iterator[list[str]]:
    for name, series in (
        ("`python -c pass`", start.bare),
        ("`provisioner --version`", start.version),
        ("plan of `examples/standalone.yaml`, no changes", start.plan),
    ):
        yield [name, f"{series.wall:.3f}", f"{series.cpu:.3f}"]


def _aim(aim: Aim) -> list[str]:
    sign = "at least" if aim.at_least else "at most"
    return [aim.what, f"{aim.value:.2f} {aim.unit}", f"{sign} {aim.limit:g}", "met" if aim.met else "missed"]


def _seconds(number: float) -> str:
    return f"{number:.1f}" if number >= 10 else f"{number:.2f}"
