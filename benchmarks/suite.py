"""What is measured: each case by all contenders in turn, so that what slows the machine slows them alike."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from benchmarks.contenders import BPFTOOL_SLOTS, TUTORIAL_SLOTS, Contenders, sample_of
from benchmarks.data import Case, Variant, table_of, write_spec
from benchmarks.measure import Sample, Series, run

ROOT: Final = Path(__file__).parent.parent
PROVISIONER: Final = (sys.executable, "-m", "provisioner")


@dataclass(frozen=True, slots=True)
class Verb:
    """One thing that users do: a command and the spec it is done to; `limit` is the same of `c/reference.c`."""

    name: str
    command: tuple[str, ...]
    variant: Variant
    replace: bool
    limit: tuple[str, ...]


_APPLY: Final = ("apply", "--yes")
CREATE: Final = Verb("create", _APPLY, "base", False, ("create",))
NO_CHANGES: Final = Verb("plan without changes", ("plan",), "base", False, ("read",))
ONE_ENTRY: Final = Verb("one entry changed", _APPLY, "one", False, ("read",))
ONE_MAP: Final = Verb("one inner map replaced", _APPLY, "base", True, ("replace", "1"))
ALL_MAPS: Final = Verb("all inner maps replaced", _APPLY, "all", True, ("replace",))
DESTROY: Final = Verb("destroy", ("destroy", "--yes"), "base", False, ("destroy",))
EVERY_VERB: Final = (CREATE, NO_CHANGES, ONE_ENTRY, ONE_MAP, ALL_MAPS, DESTROY)
"""In this order each finds live what the one before left."""
BASIC_VERBS: Final = (CREATE, NO_CHANGES, DESTROY)


@dataclass(frozen=True, slots=True)
class Task:
    """A case, what is done with it, and how many rounds of it there are at most."""

    case: Case
    verbs: tuple[Verb, ...] = EVERY_VERB
    rounds: int = sys.maxsize


QUICK: Final = (
    Task(Case(1_000, 100)),
    Task(Case(10_000, 100)),
    Task(Case(10_000, 100, "lpm_trie"), (CREATE, NO_CHANGES, DESTROY)),
    Task(Case(1_000, 100, source="yaml"), BASIC_VERBS),
)

FULL: Final = (
    Task(Case(100, 100)),
    Task(Case(1_000, 100)),
    Task(Case(10_000, 100)),
    Task(Case(10_000, 100, "array")),
    Task(Case(10_000, 100, "lpm_trie")),
    Task(Case(10_000, 100, outer="array_of_maps")),
    Task(Case(100, 10_000)),
    Task(Case(10_000, 10)),
    Task(Case(100_000, 10)),
    Task(Case(1, 1_000_000)),
    Task(Case(10_000, 100, source="ndjson"), BASIC_VERBS),
    Task(Case(10_000, 100, source="parquet"), BASIC_VERBS),
    Task(Case(10_000, 100, source="yaml"), BASIC_VERBS),
    Task(Case(10_000, 1_000), rounds=1),
)
"""Where inner maps are many, all verbs; where only the source of the entries is another, those that it can change."""


@dataclass(slots=True)
class Measured:
    """Samples of one case: the provisioner and the C limit by verb; its parts (`inside`); the slow ways.

    `tutorial_scale` and `bpftool_scale` say how often the part that was measured goes into the whole.
    """

    case: Case
    verbs: dict[str, Series] = field(default_factory=dict)
    limits: dict[str, Series] = field(default_factory=dict)
    inside: Series = field(default_factory=Series)
    reading: Series = field(default_factory=Series)
    tutorial: Series = field(default_factory=Series)
    bpftool: Series = field(default_factory=Series)
    tutorial_scale: float = 1.0
    bpftool_scale: float = 1.0


@dataclass(slots=True)
class StartUp:
    """Whole processes: a bare interpreter, `--version`, and a plan of the example without changes."""

    bare: Series = field(default_factory=Series)
    version: Series = field(default_factory=Series)
    plan: Series = field(default_factory=Series)


def measure_case(task: Task, folder: Path, bpffs: Path, repeat: int, say: Callable[[str], None]) -> Measured:
    """All verbs of one case, `repeat` times over, interleaved with the contenders."""
    case = task.case
    say(f"{case.name}: writing its data")
    specs = {verb.name: write_spec(case, folder, verb.variant, replace=verb.replace) for verb in task.verbs}
    contenders = Contenders(folder, bpffs)
    slow, slower = sample_of(case, TUTORIAL_SLOTS), sample_of(case, BPFTOOL_SLOTS)
    measured = Measured(case, tutorial_scale=case.total / slow.total, bpftool_scale=case.total / slower.total)
    repeat = min(repeat, task.rounds)
    for number in range(repeat):
        say(f"{case.name}: round {number + 1} of {repeat}")
        for name, sample in _verbs(task, specs):
            measured.verbs.setdefault(name, Series()).add(sample)
            _settle(case)
        for verb in task.verbs:
            measured.limits.setdefault(verb.name, Series()).add(contenders.reference(case, *verb.limit))
        _settle(case)
        measured.inside.add(run([sys.executable, "-m", "benchmarks.inside", str(specs[CREATE.name])]))
        measured.reading.add(_read_files(case, specs[CREATE.name]))
        _settle(case)
        measured.tutorial.add(contenders.tutorial(slow))
        measured.bpftool.add(contenders.bpftool(slower))
        _settle(case)
    for path in folder.glob("*x*-*.*"):
        path.unlink()
    return measured


def _verbs(task: Task, specs: dict[str, Path]) -> Iterator[tuple[str, Sample]]:
    for verb in task.verbs:
        yield verb.name, run([*PROVISIONER, *verb.command, "--format", "json", str(specs[verb.name])])


def _read_files(case: Case, spec: Path) -> Sample:
    """Reading the input once: what even the fastest program would have to do."""
    table = table_of(spec, case, CREATE.variant)
    return run(["cat", str(spec), *([str(table)] if table.exists() else [])])


def _settle(case: Case) -> None:
    """The kernel frees maps after the fact, on another core: give it the time, or the next in turn pays for it."""
    time.sleep(0.2 + case.slots / 50_000)


def measure_start(bpffs: Path, repeat: int) -> StartUp:
    """Start-up and a plan of `examples/standalone.yaml` without changes."""
    times = StartUp()
    files = (str(ROOT / "examples" / "standalone.yaml"), "--pin-root", str(bpffs / "example"))
    run([*PROVISIONER, *_APPLY, *files])
    for _ in range(repeat):
        times.bare.add(run([sys.executable, "-c", "pass"]))
        times.version.add(run([*PROVISIONER, "--version"]))
        times.plan.add(run([*PROVISIONER, "plan", *files]))
    run([*PROVISIONER, "destroy", "--yes", *files])
    return times
