"""What the comparison after an apply costs: by digests, and by reading everything, beside C that reads everything.

`python -m benchmarks.verification [ROUNDS] [CASE...]`, as root. It prints the table in docs/benchmarks.md: medians of
the rounds, of CPU time in user space and in the kernel, so that other work on the machine counts less.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Final

import provisioner
from benchmarks import table
from benchmarks.contenders import Contenders
from benchmarks.data import Case, write_spec
from benchmarks.measure import Series, run

_CASES: Final = (
    Case(1_000, 100),
    Case(10_000, 100),
    Case(10_000, 100, "array"),
    Case(10_000, 100, outer="array_of_maps"),
    Case(1, 1_000_000),
)

_HEAD: Final = ("", "C reads", "reading", "ratio", "digests", "ratio")
_ROOT: Final = "edge"
_REPEAT: Final = 3
_INSIDE: Final = "PROVISIONER_VERIFICATION"


def main(arguments: Sequence[str]) -> None:
    if os.environ.get(_INSIDE):
        _measure_here(arguments[0], arguments[1])
        return
    table.show(_HEAD, _CASES, _row, arguments)


def _row(case: Case, folder: Path, pins: Path, rounds: int) -> str:
    contenders, limit, ours = Contenders(folder, pins), Series(), Series()
    spec = write_spec(case, folder, "base", replace=False)
    command = [sys.executable, "-m", "benchmarks.verification", str(spec), str(pins / _ROOT)]
    for _ in range(rounds):
        contenders.reference(case, "create")
        limit.add(contenders.reference(case, "read"))
        contenders.reference(case, "destroy")
        ours.add(run(["env", f"{_INSIDE}=1", *command]))
    read, digests = ours.median_of("reading"), ours.median_of("digests")
    cells = (
        f"{limit.cpu:.3f}",
        f"{read:.3f}",
        f"{read / limit.cpu:.2f}",
        f"{digests:.3f}",
        f"{digests / limit.cpu:.2f}",
    )
    return f"| {case.name} | {' | '.join(cells)} |"


def _measure_here(spec: str, root: str) -> None:
    """Apply a spec, compare it both ways in turn, and destroy it; prints the medians."""
    project = provisioner.load([spec], pin_root=root)
    project.apply()
    seconds: dict[bool, list[float]] = {False: [], True: []}
    for _ in range(_REPEAT):
        for digests, taken in seconds.items():
            started = time.process_time()
            if project.plan(digests=digests).steps:
                raise SystemExit("the plan has changes")
            taken.append(time.process_time() - started)
    project.destroy()
    print(json.dumps({"reading": median(seconds[False]), "digests": median(seconds[True])}))


if __name__ == "__main__":
    main(sys.argv[1:])
