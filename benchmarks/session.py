"""What the applies of a session cost: one entry, many small changes, a thousand entries, a hundred inner maps.

`python -m benchmarks.session [ROUNDS] [CASE]`, as root. It prints the table in docs/benchmarks.md: medians of the
rounds, of CPU time in user space and in the kernel, so that other work on the machine and the waits for grace periods
count less. C makes the same changes with the bytes ready in memory: entries one a call, inner maps by batch.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any, Final

import numpy as np

import provisioner
from benchmarks.contenders import Contenders
from benchmarks.data import Case, write_spec
from benchmarks.measure import Series, run

_CASE: Final = Case(10_000, 100)
_ROOT: Final = "edge"
_INSIDE: Final = "PROVISIONER_SESSION"
_MANY: Final = 100


def main(arguments: Sequence[str]) -> None:
    if os.environ.get(_INSIDE):
        _measure_here(arguments[0], arguments[1], int(arguments[2]), int(arguments[3]))
        return
    rounds = int(arguments[0]) if arguments else 5
    name = arguments[1] if arguments[1:] else _CASE.name
    slots, entries = (int(part.replace(",", "")) for part in name.split()[0].split("x"))
    case = Case(slots, entries)
    print("|  | one entry ms | changes a second | 1,000 entries ms | C ms | ratio | 100 inner maps ms | C ms | ratio |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |")
    with tempfile.TemporaryDirectory(prefix="pins-", dir="/sys/fs/bpf") as pins, tempfile.TemporaryDirectory() as data:
        print(_row(case, Path(data), Path(pins), rounds), flush=True)


def _row(case: Case, folder: Path, pins: Path, rounds: int) -> str:
    contenders, update, replace, ours = Contenders(folder, pins), Series(), Series(), Series()
    spec = write_spec(case, folder, "base", replace=False)
    command = [sys.executable, "-m", "benchmarks.session", str(spec), str(pins / _ROOT)]
    for _ in range(rounds):
        contenders.reference(case, "create")
        update.add(contenders.reference(case, "update", str(max(1, 1000 // case.entries))))
        replace.add(contenders.reference(case, "replace", str(min(_MANY, case.slots))))
        contenders.reference(case, "destroy")
        ours.add(run(["env", f"{_INSIDE}=1", *command, str(case.slots), str(case.entries)]))
    one, rate, thousand, maps = (ours.median_of(name) for name in ("one", "rate", "thousand", "maps"))
    c_update, c_replace = update.median_of("seconds"), replace.median_of("seconds")
    cells = (
        f"{one * 1000:.1f}",
        f"{rate:,.0f}",
        f"{thousand * 1000:.1f}",
        f"{c_update * 1000:.1f}",
        f"{thousand / c_update:.1f}",
        f"{maps * 1000:.0f}",
        f"{c_replace * 1000:.0f}",
        f"{maps / c_replace:.1f}",
    )
    return f"| {case.name} | {' | '.join(cells)} |"


def _measure_here(spec: str, root: str, slots: int, entries: int) -> None:
    """Apply a spec, change it by a session, and destroy it; prints the medians, in seconds of CPU time."""
    project = provisioner.load([spec], pin_root=root)
    project.apply()
    declared = next(iter(project.desired.maps.values()))
    outer, outer_keys = declared.name, [row.tobytes() for row in declared.slots.keys]
    keys = [declared.entries.slot(number)[0] for number in range(slots)]
    count = max(1, 1000 // entries)
    table = np.zeros(count * entries, [("outer", "V4"), ("key", "V4"), ("value", "u8")])
    table["outer"] = np.repeat(np.frombuffer(b"".join(outer_keys[:count]), "V4"), entries)
    table["key"] = np.concatenate(keys[:count]).view("V4").ravel()
    with project.session(provisioner.Overrides(approve_deletes=True), interval=None, is_applied=True) as session:

        def one(turn: int) -> None:
            session.set((outer, outer_keys[turn % slots], keys[turn % slots][0].tobytes()), turn)
            session.apply()

        def many(turn: int) -> None:
            for number in range(_MANY):
                session.set((outer, outer_keys[0], keys[0][number % entries].tobytes()), turn)
            session.apply()

        def thousand(turn: int) -> None:
            table["value"] = turn
            session.put(outer, table)
            session.apply()

        def maps(turn: int) -> None:
            for number in range(min(_MANY, slots)):
                contents = np.zeros(entries, [("key", "V4"), ("value", "u8")])
                contents["key"], contents["value"] = keys[number].view("V4").ravel(), turn
                session.set((outer, outer_keys[number]), contents)
            session.apply()

        figures = {
            "one": _median(one, 200),
            "rate": _MANY / _median(many, 20),
            "thousand": _median(thousand, 20),
            "maps": _median(maps, 5),
        }
    project.destroy()
    print(json.dumps(figures))


def _median(change: Callable[[int], None], times: int) -> float:
    taken: list[Any] = []
    for turn in range(times):
        started = time.process_time()
        change(turn + 1000 * times)
        taken.append(time.process_time() - started)
    return float(median(taken))


if __name__ == "__main__":
    main(sys.argv[1:])
