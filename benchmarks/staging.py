"""What creating, filling and publishing inner maps costs: by programs in the kernel, and by system calls, beside C.

`python -m benchmarks.staging [ROUNDS] [CASE...]`, as root, on a host with a bpffs at /sys/fs/bpf. It prints the table
in docs/benchmarks.md: medians of the rounds. CPU time is in user space and in the kernel, so that other work on the
machine counts less; the wall time shows that two threads stage.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import provisioner
from benchmarks import table
from benchmarks.contenders import Contenders
from benchmarks.data import Case, write_spec
from benchmarks.measure import Series, run
from provisioner.apply import Options
from provisioner.apply.run import apply_plan
from provisioner.kernel import locking, programs

_CASES: Final = (
    Case(1_000, 100),
    Case(10_000, 100),
    Case(10_000, 100, "array"),
    Case(10_000, 100, "lpm_trie"),
    Case(10_000, 10),
    Case(1, 1_000_000),
)

_HEAD: Final = ("", "C s", "system calls s", "ratio", "programs s", "ratio", "wall: C s", "programs s", "ratio")
_ROOT: Final = "edge"
_INSIDE: Final = "PROVISIONER_STAGING"


def main(arguments: Sequence[str]) -> None:
    if os.environ.get(_INSIDE):
        _measure_here(arguments[0], arguments[1])
        return
    table.show(_HEAD, _CASES, _row, arguments)


def _row(case: Case, folder: Path, pins: Path, rounds: int) -> str:
    contenders, limit, ours = Contenders(folder, pins), Series(), Series()
    spec = write_spec(case, folder, "base", replace=False)
    command = [sys.executable, "-m", "benchmarks.staging", str(spec), str(pins / _ROOT)]
    for _ in range(rounds):
        limit.add(contenders.reference(case, "create"))
        contenders.reference(case, "destroy")
        ours.add(run(["env", f"{_INSIDE}=1", "OPENBLAS_NUM_THREADS=1", *command]))
    wall = limit.median_of("seconds")
    calls, by_programs, elapsed = (ours.median_of(name) for name in ("calls", "programs", "wall"))
    cells = (
        f"{limit.cpu:.3f}",
        *(f"{calls:.3f}", f"{calls / limit.cpu:.2f}", f"{by_programs:.3f}", f"{by_programs / limit.cpu:.2f}"),
        *(f"{wall:.3f}", f"{elapsed:.3f}", f"{elapsed / wall:.2f}"),
    )
    return f"| {case.name} | {' | '.join(cells)} |"


def _measure_here(spec: str, root: str) -> None:
    """Do the steps of an apply both ways, without the comparison after it; prints the seconds."""
    project = provisioner.load([spec], pin_root=root)
    seconds: dict[str, float] = {}
    for name, switch in (("calls", "off"), ("programs", "")):
        os.environ[programs.SWITCH] = switch
        plan = project.plan()
        with locking.lock(Path(plan.desired.pin_root), 0, create=True):
            started, elapsed = time.process_time(), time.perf_counter()
            apply_plan(plan, Options(), tuple)
            seconds[name] = time.process_time() - started
            seconds["wall"] = time.perf_counter() - elapsed
        project.destroy()
    print(json.dumps(seconds))


if __name__ == "__main__":
    main(sys.argv[1:])
