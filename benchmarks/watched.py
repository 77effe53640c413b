"""What a watch does when one line of a large table changes: the CPU time until the change is live.

`python -m benchmarks.watched [ROUNDS] [SLOTS]`, as root, on a host with a bpffs at `/sys/fs/bpf`: inner maps of 100
entries. It prints the line in docs/benchmarks.md.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median
from typing import Final

from benchmarks.aims import Aim
from benchmarks.data import Case, table_of, write_spec
from benchmarks.idle import cpu_of, started, until_applied
from benchmarks.measure import as_installed, run

_CASE: Final = Case(10_000, 100)


def main(arguments: Sequence[str]) -> None:
    rounds, slots = (*map(int, arguments), *(3, _CASE.slots)[len(arguments) :])
    case = Case(slots, 100)
    with (
        tempfile.TemporaryDirectory(prefix="pins-", dir="/sys/fs/bpf") as pins,
        tempfile.TemporaryDirectory() as folder,
    ):
        as_installed(folder)
        print("\n".join(table(measure(Path(folder), Path(pins), rounds, case), case)))


def measure(folder: Path, bpffs: Path, rounds: int, case: Case = _CASE) -> float:
    """The median CPU time in seconds, from the change of the table until it is live."""
    spec, root = write_spec(case, folder, "base"), bpffs / "watched"
    live = table_of(spec, case, "base")
    before, after = live.read_bytes(), table_of(write_spec(case, folder, "one"), case, "one").read_bytes()
    process = started(spec, root)
    try:
        taken: list[float] = []
        for turn in range(2 * rounds):
            used, new = cpu_of(process.pid), live.with_suffix(".new")
            new.write_bytes(before if turn % 2 else after)
            os.replace(new, live)
            until_applied(process)
            taken.append(cpu_of(process.pid) - used)
    finally:
        process.terminate()
        process.communicate()
        run([sys.executable, "-m", "provisioner", "destroy", str(spec), "--yes", "--pin-root", str(root)])
    return median(taken)


def table(seconds: float, case: Case = _CASE) -> Iterator[str]:
    """The lines of the table."""
    yield "| rows of the CSV | one changed, CPU s |"
    yield "| ---: | ---: |"
    yield f"| {case.total:,} | {seconds:.2f} |"


def aims(seconds: float) -> Iterator[Aim]:
    """The cost of a change follows the change, and the file that has to be read for it."""
    yield Aim(f"watch: one line of a CSV of {_CASE.total:,} rows changed, CPU time", seconds, 0.4, "s")


if __name__ == "__main__":
    main(sys.argv[1:])
