"""What many outer maps cost: a plan without changes, and the grace periods that an apply waits for.

`python -m benchmarks.outer_maps [ROUNDS] [FEW] [MANY]`, as root, on a host with a bpffs at `/sys/fs/bpf`. It prints the
table in docs/benchmarks.md.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from benchmarks.aims import Aim
from benchmarks.measure import Series, as_installed, run

_SIZES: Final = (300, 3_000)
_SLOTS: Final = 8

_HEAD: Final = """\
version: 1
name: benchmark
inner_templates: {inner: {type: hash, key: u32, value: u32, max_entries: 8}}
outer_maps:
"""


@dataclass(frozen=True, slots=True)
class OuterMaps:
    """A number of outer maps: their plans without changes, and the grace periods of the apply that made them."""

    number: int
    plan: Series
    grace_periods: int


def main(arguments: Sequence[str]) -> None:
    rounds, *sizes = [int(word) for word in arguments] or [3]
    with (
        tempfile.TemporaryDirectory(prefix="pins-", dir="/sys/fs/bpf") as pins,
        tempfile.TemporaryDirectory() as folder,
    ):
        as_installed(folder)
        print("\n".join(table(measure(Path(folder), Path(pins), rounds, sizes or _SIZES))))


def measure(folder: Path, bpffs: Path, rounds: int, sizes: Sequence[int] = _SIZES) -> list[OuterMaps]:
    """Apply, plan and destroy each number of outer maps of eight slots."""
    return [_measured(folder, bpffs, rounds, number) for number in sizes]


def _measured(folder: Path, bpffs: Path, rounds: int, number: int) -> OuterMaps:
    spec, root = folder / f"outer-{number}.yaml", bpffs / f"outer-{number}"
    slots = ", ".join(f"{slot}: {{entries: {{1: {slot}}}}}" for slot in range(_SLOTS))
    line = f"{{type: hash_of_maps, key: u32, max_entries: {_SLOTS}, inner: inner, inner_maps: {{{slots}}}}}"
    spec.write_text(_HEAD + "".join(f"  map_{at}: {line}\n" for at in range(number)), "ascii")
    ours = [sys.executable, "-m", "provisioner"]
    where = [str(spec), "--pin-root", str(root)]
    applied = run([*ours, "apply", *where, "--yes", "--format", "json"])
    plans = Series()
    try:
        for _ in range(rounds):
            plans.add(run([*ours, "plan", *where]))
    finally:
        run([*ours, "destroy", *where, "--yes"])
    return OuterMaps(number, plans, int(applied.output["result"]["grace_periods"]))


def table(measured: Sequence[OuterMaps]) -> Iterator[str]:
    """The lines of the table."""
    yield "| outer maps | plan without changes, CPU s | grace periods of apply |"
    yield "| ---: | ---: | ---: |"
    for each in measured:
        yield f"| {each.number:,} | {each.plan.cpu:.2f} | {each.grace_periods} |"


def aims(measured: Sequence[OuterMaps]) -> Iterator[Aim]:
    """Ten times as many maps take little more than ten times as long; independent maps share grace periods."""
    few, many = measured
    growth = many.plan.cpu / few.plan.cpu
    yield Aim(f"plan without changes, {many.number:,} outer maps / {few.number:,}, CPU time", growth, 10.5)
    yield Aim(f"{few.number:,} outer maps of {_SLOTS} slots: grace periods", few.grace_periods, 5, "")


if __name__ == "__main__":
    main(sys.argv[1:])
